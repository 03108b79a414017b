"""What of the server's budget takes minutes or another environment: each a command, each one record.

`python -m benchmarks.serving_studies NAME`, NAME of `STUDIES`: `soak` (ten minutes at twice the capacity; a minute a
record, so that it goes on where it was cut off), `kill` (a Ray replica, then what stands in front, killed under
load), `fuzz` (10,000 cases of schemathesis), `crowd` (10,000 connections that say nothing), `kserve` (the SDK's client,
after `make client-kserve`), `triton` (NVIDIA's). It prints its rows and exits 1 where one does not hold;
`benchmarks.serving_budget` reads the newest record of each and says its age.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import budget, results
from benchmarks.cloud import protocol
from benchmarks.cloud.connections import most_connections
from benchmarks.cloud.load import Came, http_request, offered, silent
from benchmarks.environment import busy, host
from benchmarks.paired import Row, row
from edge_runtime import examples, load
from edge_runtime.bundle import open_bundle
from edge_runtime.errors import EngineError, Missing
from edge_runtime.measure import quantile
from train.provenance import commit

FOOD = Path("bundles") / "foodvision-mini"
KSERVE = Path(".venv-kserve") / "bin" / "python"
RIVALS = Path(__file__).resolve().parent / "cloud" / "rivals"
MINUTES, OVERLOAD, DEADLINE_MS, REJECTED_MS, GROWTH = 10, 2, 30_000, 50, 1.05
CASES, CROWD, ALL_BACK_S = 10_000, 10_000, 30
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
Found = tuple[list[Row], dict[str, Any]]


def bundle_path() -> str:
    """The food bundle where it was made, else the digits that lokma ships."""
    return str(FOOD.resolve()) if (FOOD / "manifest.json").is_file() else str(examples.path("digits.zip"))


@contextlib.contextmanager
def served(*arguments: str, core: int | None = None) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """`lokma serve` in a process of its own: its port, and itself.

    Raises:
        EngineError: it does not start.
    """
    words = [sys.executable, "-m", "edge_runtime.cli", "serve", *arguments, "--port", "0", "--json"]
    pin = [] if core is None else ["taskset", "-c", str(core)]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_OVERRIDE_RESOURCES": '{"CPU": 8}'}
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    running = subprocess.Popen([*pin, *words], env=environment, **pipes)
    try:
        assert running.stdout is not None
        line = next((line for line in running.stdout if line.startswith('{"url"')), None)
        if line is None:
            raise EngineError("lokma serve does not start")
        yield int(json.loads(line)["url"].rsplit(":", 1)[1]), running
    finally:
        running.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(60)
        running.kill()
        running.communicate()


def one_request(path: str) -> bytes:
    """A request of one seeded sample, binary."""
    bundle = open_bundle(path)
    takes = bundle.spec.inputs[0]
    pixels = np.random.default_rng(7).integers(0, 256, takes.sample_shape, np.uint8).tobytes()
    return http_request(f"/v2/models/{bundle.name}/infer", *protocol.write_request(pixels, 1, takes, binary=True))


def soak() -> Found:
    """Twice what the server can answer, minute by minute: who is refused is so at once, who is taken in time."""
    path, cores = bundle_path(), sorted(os.sched_getaffinity(0))
    before = _minutes_of_this_commit()
    run, done = (before[0]["scenario"]["run"], [one["minute"] for one in before]) if before else (uuid.uuid4().hex, [])
    with served(path, "--artifact", "onnx-fp32", "--threads", "1", core=cores[0]) as (port, running):
        os.sched_setaffinity(0, {cores[-1]})
        request = one_request(path)
        capacity = 1e9 / offered(port, [request], 16, 5).ns_per_answer
        while len(done) < MINUTES:
            minute = asyncio.run(_overloaded(port, request, OVERLOAD * capacity, 60.0))
            minute["rss_bytes"] = _rss(running.pid)
            minute["process"] = running.pid
            done.append(minute)
            _append("soak-minute", [], {"minute": minute}, run=run, capacity=capacity)
            sys.stderr.write(json.dumps(minute) + "\n")
        os.sched_setaffinity(0, set(cores))
    last = [one for one in done if one["process"] == done[-1]["process"]]
    grown = last[-1]["rss_bytes"] / last[0]["rss_bytes"]
    failed = sum(one["failed"] for one in done)
    late, slow = (max(one[key] for one in done) for key in ("accepted_max_ms", "rejected_max_ms"))
    taken, refused = (sum(one[key] for one in done) for key in ("accepted", "rejected"))
    n = taken + refused
    return [
        row("soak: requests neither answered nor refused", failed, 0, failed == 0, n, f"{MINUTES} minutes"),
        row("soak: RSS at the end against the first minute", grown, GROWTH, grown <= GROWTH, len(last)),
        row("soak: slowest refusal, ms", slow, REJECTED_MS, refused > 0 and slow < REJECTED_MS, refused),
        row("soak: slowest answer, ms", late, DEADLINE_MS, late <= DEADLINE_MS, taken),
    ], {"minutes": done}


def _minutes_of_this_commit() -> list[dict[str, Any]]:
    """The minutes of the newest run of this commit, on this machine, that has not ended."""
    here, now = host()["fingerprint"], commit()
    found = [
        entry
        for entry in results.read().records
        if entry["scenario"].get("study") == "soak-minute"
        and entry["host"].get("fingerprint") == here
        and entry.get("commit") == now
    ]
    run = [entry for entry in found if entry["scenario"]["run"] == found[-1]["scenario"]["run"]]
    return [{**entry, **entry["samples"]} for entry in run] if 0 < len(run) < MINUTES else []


async def _overloaded(port: int, request: bytes, rate: float, seconds: float) -> dict[str, Any]:
    """Requests at a fixed rate, whatever comes back; a connection that is free is taken again."""
    free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    times: dict[bytes, list[float]] = {b"200": [], b"503": []}
    failed = 0

    def idle() -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A free connection, without those that the server has ended because they were idle for long."""
        while free:
            line = free.pop()
            if not line[0].at_eof():
                return line
            line[1].close()
        return None

    async def one() -> None:
        nonlocal failed
        try:
            line = idle() or await asyncio.open_connection("127.0.0.1", port)
            start = time.perf_counter()
            line[1].write(request)
            head = await line[0].readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            await line[0].readexactly(int(length[1]) if length else 0)
            spent = (time.perf_counter() - start) * 1000
        except (OSError, asyncio.IncompleteReadError):
            failed += 1
            return
        status = head[9:12]
        if status in times:
            times[status].append(spent)
            free.append(line)
        else:
            failed += 1

    begun = time.perf_counter()
    tasks: set[asyncio.Task[None]] = set()
    sent = 0
    while time.perf_counter() - begun < seconds:
        due = int((time.perf_counter() - begun) * rate)
        for _ in range(due - sent):
            task = asyncio.create_task(one())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        sent = due
        await asyncio.sleep(0.002)
    await asyncio.gather(*tasks)
    for _, writer in free:
        writer.close()
    said: dict[str, Any] = {"rate": rate, "failed": failed}
    for status, name in ((b"200", "accepted"), (b"503", "rejected")):
        found = times[status] or [0.0]
        said[name] = len(times[status])
        said |= {f"{name}_p50_ms": quantile(found, 0.5), f"{name}_p99_ms": quantile(found, 0.99)}
        said[f"{name}_max_ms"] = max(found)
    return said


def _rss(pid: int) -> int:
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) * 1024  # type: ignore[index]


def kill() -> Found:
    """A Ray replica killed under load: every request is answered, and the rate comes back.

    What stands in front of the replicas is killed after it; what it holds then is lost, for Ray's proxy asks once.
    """
    path = bundle_path()
    arguments = (path, "--engine", "ray", "--artifact", "onnx-fp32", "--threads", "1", "--replicas", "2")
    rows: list[Row] = []
    samples: dict[str, Any] = {}
    with served(*arguments) as (port, _):
        request = one_request(path)
        for victim, deployment, bound in (("replica", open_bundle(path).name, 0), ("front", "Front", None)):
            usual, windows, back = _killed(port, request, deployment)
            lost, rates = sum(one.lost for one in windows), [1e9 / one.ns_per_answer for one in windows]
            answered = sum(len(one.latency_ns) for one in windows)
            said = ", ".join(f"{one:.0f}" for one in rates)
            note = f"{usual:.0f} answers a second before; then, each two seconds: {said}"
            name = f"kill -9 of a Ray {victim} under load, 8 clients"
            holds = back is not None and back <= ALL_BACK_S
            rows.append(row(f"{name}: requests lost", lost, bound, bound is None or lost <= bound, answered + lost))
            rows.append(row(f"{name}: s until 0.9 of the rate", back, ALL_BACK_S, holds, len(rates), note))
            samples |= {f"{victim}: usual": [usual], f"{victim}: rates": rates}
    return rows, samples


def _killed(port: int, request: bytes, deployment: str) -> tuple[float, list[Came], float | None]:
    """The rate before a process of a deployment is killed, the windows after, and the seconds until it was back."""
    usual = quantile([1e9 / offered(port, [request], 8, 2).ns_per_answer for _ in range(4)][1:], 0.5)
    before = replicas(deployment)
    timer = threading.Timer(1.0, os.kill, (before[0], signal.SIGKILL))
    timer.start()
    start, windows, back = time.monotonic(), list[Came](), None
    while time.monotonic() - start < ALL_BACK_S + 1:
        windows.append(offered(port, [request], 8, 2, may_fail=True))
        here = replicas(deployment)
        whole = before[0] not in here and len(here) == len(before)
        if back is None and whole and 1e9 / windows[-1].ns_per_answer >= 0.9 * usual:
            back = time.monotonic() - start - 1
    timer.join()
    return usual, windows, back


def replicas(deployment: str) -> list[int]:
    """The processes that Ray runs a deployment in: it names a worker by it."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"ray::ServeReplica:lokma:{deployment}".encode() in file.read_bytes():
                found.append(int(file.parent.name))
    return sorted(found)


def fuzz() -> Found:
    """Schemathesis against the server's own document, seed after seed until there were enough cases."""
    digits, policy = (str(examples.path(one)) for one in ("digits.zip", "cartpole.zip"))
    cases, seed, wrong = 0, 7, ""
    with (
        tempfile.TemporaryDirectory(prefix="lokma-fuzz-") as folder,
        served(digits, policy, "--artifact", "onnx-fp32", "--max-batch", "4") as (port, running),
    ):
        while cases < CASES and not wrong:
            options = [
                "--phases",
                "fuzzing",
                "--max-examples",
                str(CASES // 6),
                "--seed",
                str(seed),
                "--checks",
                CHECKS,
            ]
            url = f"http://127.0.0.1:{port}/openapi.json"
            command = [sys.executable, "-m", "schemathesis.cli", "run", url, *options, "--checks", CHECKS]
            done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
            count = re.search(r"([\d,]+) generated", done.stdout)
            cases, seed = cases + (int(count[1].replace(",", "")) if count else 0), seed + 1
            if done.returncode or count is None or running.poll() is not None:
                wrong = done.stdout[-500:] or "schemathesis said nothing"
    holds = not wrong and cases >= CASES
    note = wrong or f"{seed - 7} seeds, the server still runs"
    return [row("schemathesis: cases without a 500", 0 if wrong else cases, CASES, holds, cases, note)], {}


def crowd() -> Found:
    """Ten thousand clients that connect and say nothing: all are sent away, and one that asks is answered throughout.

    Raises:
        Missing: this machine does not let a process open so many files.
    """
    if most_connections(CROWD) < CROWD:
        raise Missing(f"{CROWD} connections need as many open files: ulimit -n {2 * CROWD}")
    path = bundle_path()
    with served(path, "--artifact", "onnx-fp32", "--threads", "1") as (port, running):
        request, before = one_request(path), _rss(running.pid)
        came = asyncio.run(silent(port, request, CROWD))
        after = offered(port, [request], 1)
        grown = (_rss(running.pid) - before) / 1e6
    sent_away = came.statuses["503"] + came.statuses["408"]
    split = ", ".join(f"{count} by {status}" for status, count in sorted(came.statuses.items()))
    slowest, answered = max(came.latency_ns, default=0) / 1e6, len(came.latency_ns)
    name = f"{CROWD:,} open connections"
    return [
        row(f"{name}: sent away in the protocol's form", sent_away, CROWD, sent_away == CROWD, CROWD, split),
        row(f"{name}: lost requests of one that asks meanwhile", came.lost, 0, came.lost == 0 < answered, answered),
        row(f"{name}: its slowest answer, ms", slowest, None, True, answered),
        row(f"{name}: the next request is answered", len(after.latency_ns), 1, len(after.latency_ns) == 1, 1),
        row(f"{name}: MB that the server grew by", grown, None, True, 1),
    ], {"statuses": came.statuses}


def kserve() -> Found:
    """The kserve SDK's client gets edge_runtime's answers, one at a time and sixteen.

    Raises:
        Missing: its environment was not made.
    """
    if not KSERVE.is_file():
        raise Missing(f"{KSERVE} is not here: make client-kserve makes it (it needs a package index)")
    return _client("kserve's client", str(KSERVE), "kserve_client.py")


def triton() -> Found:
    """NVIDIA's tritonclient gets them too."""
    return _client("tritonclient", sys.executable, "triton_client.py")


def _client(who: str, python: str, script: str) -> Found:
    """The answers that a client which is not ours got, JSON and binary, with 1, 2, 4, 8 and 16 at once."""
    path = bundle_path()
    bundle, predictor = open_bundle(path), load(path, "onnx-fp32", 1)
    takes, gives = bundle.spec.inputs[0], bundle.spec.outputs[0]
    given = np.random.default_rng(7).integers(0, 256, (16, *takes.sample_shape), np.uint8)
    wanted = [np.frombuffer(predictor.session.run({takes.name: one[None]})[gives.name], np.float32) for one in given]
    shape = ",".join(map(str, takes.sample_shape))
    with served(path, "--artifact", "onnx-fp32", "--threads", "1") as (port, _):
        command = [python, str(RIVALS / script), f"127.0.0.1:{port}", bundle.name, takes.name, gives.name, shape]
        done = subprocess.run(command, input=given.tobytes(), capture_output=True)
    if done.returncode:
        raise EngineError(f"{who} failed: {done.stderr.decode(errors='replace')[-300:]}")
    far, exact, alone, count = 0.0, 0, 0, 0
    for line in map(json.loads, done.stdout.splitlines()):
        for answer, one in zip(line["answers"], wanted, strict=True):
            got = np.frombuffer(bytes.fromhex(answer), np.float32)
            far, count = max(far, float(np.abs(got - one).max())), count + 1
            alone += line["concurrency"] == 1
            exact += line["concurrency"] == 1 and got.tobytes() == one.tobytes()
    return [
        row(f"{who}, 1 to 16 at once: largest difference of an answer", far, 1e-5, far <= 1e-5 and count > 0, count),
        row(f"{who}, one at a time: equal to the bit", exact, alone, exact == alone > 0, alone),
    ], {}


STUDIES: Mapping[str, Callable[[], Found]] = {
    "soak": soak,
    "kill": kill,
    "fuzz": fuzz,
    "crowd": crowd,
    "kserve": kserve,
    "triton": triton,
}


def recorded(records: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The rows of each study's newest record, with its commit and time; a study that was not run says so."""
    rows: list[Row] = []
    for name in STUDIES:
        newest = [e for e in records if e["scenario"].get("study") == name and e["scenario"].get("budget") == "serving"]
        if not newest:
            how = f"not run: python -m benchmarks.serving_studies {name}"
            rows.append(row(name, None, None, None, 0, how))
            continue
        rows += budget.with_age(newest[-1])
    return rows


def _append(study: str, rows: Sequence[Row], samples: Mapping[str, Any], **scenario: Any) -> None:
    bundle = open_bundle(bundle_path())
    about = {"bundle": {"name": bundle.name, "version": bundle.version}, "artifact": {"id": "onnx-fp32"}}
    scenario = {"budget": "serving", "study": study, **scenario}
    more = {"kind": "study", "target": "cloud", "samples": dict(samples)}
    budget.keep(budget.record(scenario, rows, busy(), **about, **more))


def main(argv: list[str]) -> int:
    """Runs one study and prints its rows."""
    parser = budget.parser("serving_studies", __doc__)
    parser.add_argument("name", choices=list(STUDIES))
    args = parser.parse_args(argv)

    def work() -> bool:
        rows, samples = STUDIES[args.name]()
        _append(args.name, rows, samples)
        return budget.show(rows, args.json)

    return budget.answered("serving_studies", work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
