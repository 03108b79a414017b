"""The server's budget: how much of a core's inference reaches its clients, and what the way there costs.

`python -m benchmarks.serving_budget [--json]` starts the servers on one core and asks them from another, in turns
(about six minutes), appends one record, prints each row and exits 1 where one does not hold. LitServe pins other
versions of what we use: give a Python that has it, `--litserve ../litserve/bin/python`, and it is compared too. What
takes longer is read from the newest records of `benchmarks.serving_studies`, with their age. `--recorded` measures
nothing and reads the newest record of everything.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import budget, paired, results, serving_studies
from benchmarks.cloud import protocol
from benchmarks.cloud.load import Came, header, http_request, offered
from benchmarks.environment import busy
from benchmarks.paired import MIN_PAIRS, Row, Samples, ratio_row, row
from edge_runtime import load
from edge_runtime.bundle import open_bundle
from edge_runtime.errors import EngineError, Missing
from edge_runtime.measure import quantile
from train.data import image_data

BUNDLE, ARTIFACT = Path("bundles") / "foodvision-mini", "onnx-fp32"
CLIENTS, WINDOW_S, MEASURE_S = 16, 1.0, 300.0
RIVALS = Path(__file__).resolve().parent / "cloud" / "rivals"
PICTURES, LARGE = 650, 8  # answers are compared in larger batches too than the one that is fastest here
PATH = "/v2/models/{name}/infer"
# A process that runs the same session on the server's core: rows a run and seconds in, nanoseconds a row out.
BARE = """
import sys, time
from edge_runtime import load
session = load(sys.argv[1], sys.argv[2], 1).session
pixels = open(sys.argv[3], "rb").read()
for line in sys.stdin:
    rows, seconds = line.split()
    tensor, count, start = pixels * int(rows), 0, time.perf_counter_ns()
    while count == 0 or time.perf_counter_ns() - start < float(seconds) * 1e9:
        session.run({"pixels": tensor})
        count += int(rows)
    print((time.perf_counter_ns() - start) / count, flush=True)
"""


@dataclass(frozen=True)
class Systems:
    """What takes turns: the servers' ports and processes, the bare session, and the largest batch."""

    ports: dict[str, int]
    running: dict[str, subprocess.Popen[str]]
    bare: Callable[[int, float], float]
    batch: int

    def only(self, name: str | None) -> None:
        """Lets one server run, or none: LitServe's workers look for requests all the time, with 7 % of the core."""
        for one, process in self.running.items():
            os.killpg(process.pid, signal.SIGCONT if one == name else signal.SIGSTOP)


@contextlib.contextmanager
def systems(scratch: Path, pixels: bytes, litserve: Path | None) -> Iterator[Systems]:
    """Starts everything on the first core, and keeps this process on the last.

    Raises:
        Missing: this machine has one core.
        EngineError: a server does not start.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Missing("the server's budget needs two cores: one for the server, one for its clients")
    bundle = open_bundle(str(BUNDLE.resolve()))
    assert bundle.spec.image is not None
    model, side = BUNDLE.resolve() / bundle.artifact(ARTIFACT).file, bundle.spec.image.crop
    (scratch / "pixels").write_bytes(pixels)
    with contextlib.ExitStack() as stack:

        def started(*command: Any) -> subprocess.Popen[str]:
            words = ["taskset", "-c", str(cores[0]), *map(str, command)]
            pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            running = subprocess.Popen(words, text=True, start_new_session=True, **pipes)
            stack.callback(_stop, running)
            return running

        serve = ("-m", "edge_runtime.cli", "serve", BUNDLE.resolve(), "--artifact", ARTIFACT, "--threads", 1)
        ours = started(sys.executable, *serve, "--port", 0, "--json")
        assert ours.stdout is not None
        said = json.loads(ours.stdout.readline() or "{}")
        if "url" not in said:
            raise EngineError("lokma serve does not start")
        batch = said["models"][0]["max_batch"]
        ports = {"lokma": int(said["url"].rsplit(":", 1)[1]), "plain FastAPI": _free_port()}
        plain = started(sys.executable, RIVALS / "plain_fastapi.py", model, ports["plain FastAPI"], side)
        running = {"lokma": ours, "plain FastAPI": plain}
        if litserve is not None:
            ports["LitServe"] = _free_port()
            command = (litserve, RIVALS / "litserve_server.py", model, ports["LitServe"], side, batch)
            running["LitServe"] = started(*command)
        child = started(sys.executable, "-c", BARE, BUNDLE.resolve(), ARTIFACT, scratch / "pixels")
        for port in ports.values():
            _await(port)
        os.sched_setaffinity(0, {cores[-1]})
        stack.callback(os.sched_setaffinity, 0, set(cores))
        yield Systems(ports, running, functools.partial(_asked, child), batch)


def _stop(running: subprocess.Popen[str]) -> None:
    """Ends a server and the processes that it started: LitServe's outlive it."""
    for pipe in (running.stdin, running.stdout):
        if pipe is not None:
            pipe.close()
    running.terminate()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGCONT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        running.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def _asked(child: subprocess.Popen[str], rows: int, seconds: float) -> float:
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(f"{rows} {seconds}\n")
    child.stdin.flush()
    line = child.stdout.readline()
    if not line:
        raise EngineError("the bare session's process ended")
    return float(line)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _await(port: int, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise EngineError(f"nothing listens on port {port} after {seconds:g} s") from error
            time.sleep(0.2)


def measured(found: Systems, requests: Mapping[str, bytes], rounds: int, window: float) -> tuple[list[Row], Samples]:
    """Throughput, p99 and the cost of the way, all systems in turns; each is asked in its own form."""
    latencies: dict[str, list[int]] = {}

    def under_load(name: str, form: str) -> float:
        found.only(name)
        came: Came = offered(found.ports[name], [requests[form]], CLIENTS, window)
        latencies.setdefault(form, []).extend(came.latency_ns)
        return came.ns_per_answer

    def alone() -> float:
        found.only("lokma")
        came = offered(found.ports["lokma"], [requests["lokma"]], 1, window / 2)
        return quantile([float(ns) for ns in came.latency_ns], 0.5)

    def bare(rows: int, seconds: float) -> float:
        found.only(None)
        return found.bare(rows, seconds)

    turns: dict[str, Callable[[], float]] = {
        **{name: functools.partial(under_load, name, name) for name in found.ports},
        "bare, batched": functools.partial(bare, found.batch, window),
        "one client": alone,
        "bare, one": functools.partial(bare, 1, window / 2),
        "JSON": functools.partial(under_load, "lokma", "JSON"),
    }
    flags = busy()
    samples = paired.rounds(turns, rounds or MIN_PAIRS, 0 if rounds else MEASURE_S)
    ours, at = samples["lokma"], f"{CLIENTS} clients, batches up to {found.batch}"
    rows = [
        ratio_row(f"time per answer, {at}, against the bare session", 1 / 0.80, ours, samples["bare, batched"], flags),
        ratio_row("the same with JSON tensors", None, samples["JSON"], samples["bare, batched"], flags),
    ]
    for name, bound in (("plain FastAPI", 1.0), ("LitServe", 1 / 1.1)):
        if name not in found.ports:
            rows.append(row(f"time per answer against {name}", None, bound, None, 0, "not measured: not installed"))
            continue
        rows.append(ratio_row(f"time per answer against {name}", bound, ours, samples[name], flags))
        mine, theirs = (quantile([float(ns) for ns in latencies[one]], 0.99) for one in ("lokma", name))
        note = f"{mine / 1e6:.0f} ms against {theirs / 1e6:.0f} ms"
        holds = None if flags or len(ours) < MIN_PAIRS else mine <= theirs
        rows.append(row(f"p99 against {name}", mine / theirs, 1.0, holds, len(latencies[name]), note))
    rows.append(_way(samples))
    return rows, samples


def _way(samples: Samples) -> Row:
    """What a request costs above its inference, with one client."""
    bare = quantile(samples["bare, one"], 0.5)
    above = [(one - two) / 1e6 for one, two in zip(samples["one client"], samples["bare, one"], strict=True)]
    bound, value = max(1.5, 0.15 * bare / 1e6), quantile(above, 0.5)
    noisy = paired.is_noisy(samples["one client"]) or paired.is_noisy(samples["bare, one"]) or len(above) < MIN_PAIRS
    note = f"of {bare / 1e6:.1f} ms" + "; too noisy, run it again" * noisy
    return row("ms above bare inference, 1 client", value, bound, None if noisy else value <= bound, len(above), note)


def answers(servers: Sequence[tuple[str, int, int]], name: str, count: int) -> list[Row]:
    """The servers' answers to food pictures against edge_runtime's.

    Args:
        servers: what a row calls it, its port, and how many clients ask at once; a single one has to be equal bitwise.
        name: the model's.
        count: of pictures.
    """
    from edge_runtime.preprocess import open_picture, to_pixels

    predictor = load(str(BUNDLE.resolve()), ARTIFACT, 1)
    takes, gives, image = predictor.spec.inputs[0], predictor.spec.outputs[0], predictor.spec.image
    assert image is not None
    tensors = [to_pixels(open_picture(path, image), image) for path in _pictures(count)]
    wanted = [predictor.session.run({takes.name: tensor})[gives.name].tobytes() for tensor in tensors]
    theirs, n = np.array([np.frombuffer(one, np.float32) for one in wanted]), len(wanted)
    bodies = (protocol.write_request(tensor, 1, takes, binary=True) for tensor in tensors)
    requests = [http_request(PATH.format(name=name), *one) for one in bodies]
    rows = []
    for title, port, clients in servers:
        got, batched = [b""] * n, 0
        for index, head, body in offered(port, requests, clients).bodies:
            length = header(head, protocol.HEAD_LENGTH.encode()) or b"0"
            got[index] = bytes(protocol.read_response(body, length.decode(), gives))
            batched += json.loads(body[: int(length)])["parameters"]["batch"] > 1
        mine, note = np.array([np.frombuffer(one, np.float32) for one in got]), f"{batched} ran in a batch of 2 or more"
        same = int((mine.argmax(1) == theirs.argmax(1)).sum())
        rows.append(row(f"{title}: same best label as edge_runtime", same, n, same == n, n, note))
        if clients == 1:
            equal = sum(one == two for one, two in zip(got, wanted, strict=True))
            rows.append(row(f"{title}: equal to the bit", equal, n, equal == n, n))
        else:
            far = float(np.abs(mine - theirs).max())
            rows.append(row(f"{title}: largest difference of a probability", far, 1e-5, far <= 1e-5, n))
    return rows


def _pictures(count: int) -> list[Path]:
    """The test pictures of FoodVision Mini and of the ten classes at hand."""
    return [example.path for name in ("foodvision-mini", "food10") for example in image_data(name).test][:count]


def run(scratch: Path, litserve: Path | None, rounds: int, window: float) -> Iterator[Row]:
    """What it measures; a run of fewer rounds than the budget asks is not recorded."""
    bundle = open_bundle(str(BUNDLE.resolve()))
    takes = bundle.spec.inputs[0]
    pixels = np.random.default_rng(7).integers(0, 256, takes.sample_shape, np.uint8).tobytes()
    path = PATH.format(name=bundle.name)
    binary = http_request(path, *protocol.write_request(pixels, 1, takes, binary=True))
    base64_ = json.dumps({"pixels": base64.b64encode(pixels).decode()}).encode()
    requests = {
        "lokma": binary,
        "plain FastAPI": binary,
        "JSON": http_request(path, *protocol.write_request(pixels, 1, takes, binary=False)),
        "LitServe": http_request("/predict", base64_, {"Content-Type": "application/json"}),
    }
    with systems(scratch, pixels, litserve) as found:
        large = ("--artifact", ARTIFACT, "--threads", "1", "--max-batch", str(LARGE))
        with serving_studies.served(str(BUNDLE.resolve()), *large) as (port, _):
            ours = found.ports["lokma"]
            servers = [("alone", ours, 1), (f"with {CLIENTS} clients", ours, CLIENTS)]
            servers.append((f"with {CLIENTS} clients, batches up to {LARGE}", port, CLIENTS))
            rows = answers(servers, bundle.name, 20 if rounds else PICTURES)
        yield from rows
        timed, samples = measured(found, requests, rounds, window)
        yield from timed
    if not rounds:
        _record(bundle, found, [*rows, *timed], samples)


def recorded(records: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The rows of the newest record of this budget, with its commit and time; [] where there is none."""
    newest = [one for one in records if one["kind"] == "budget" and one["scenario"].get("budget") == "serving"][-1:]
    return [row for entry in newest for row in budget.with_age(entry)]


def _record(bundle: Any, found: Systems, rows: Sequence[Row], samples: Samples) -> None:
    scenario = {"budget": "serving", "run": uuid.uuid4().hex, "clients": CLIENTS, "batch": found.batch, "threads": 1}
    about = {"name": bundle.name, "version": bundle.version}
    artifact = {"id": ARTIFACT, "sha256": bundle.artifact(ARTIFACT).sha256}
    budget.keep(budget.record(scenario, rows, bundle=about, artifact=artifact, target="cloud", samples=samples))


def _studies() -> Iterator[Row]:
    """The newest rows of the studies, read when they are asked for."""
    yield from serving_studies.recorded(results.read().records)


def main(argv: list[str]) -> int:
    """Prints the rows."""
    parser = budget.parser("serving_budget", __doc__)
    parser.add_argument("--litserve", type=Path, metavar="PYTHON", help="a Python that has litserve and onnxruntime")
    parser.add_argument("--recorded", action="store_true", help="measure nothing: print what was measured last")
    parser.add_argument("--rounds", type=int, default=0, help="so few rounds prove the code and no bound; no record")
    args = parser.parse_args(argv)

    def work() -> bool:
        with tempfile.TemporaryDirectory(prefix="lokma-serving-") as scratch:
            measure = functools.partial(run, Path(scratch), args.litserve, args.rounds, WINDOW_S)
            rows = recorded(results.read().records) if args.recorded else measure()
            return budget.show(itertools.chain(rows, _studies()), args.json)

    return budget.answered("serving_budget", work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
