"""Whether `compare` tells the truth: an artifact against itself, and against itself with a busy wait of 5 % of p50.

`python -m benchmarks.aa_study [BUNDLE:ARTIFACT]` (`make aa`) makes 200 comparisons of the first kind (at most 10 may
say *different*) and 100 of the second (at least 90 must be found), at most 5 s each, beside a neighbour that it starts
itself: bursts of work on one core, a third of the time. Without an artifact it takes a model of its own, see
`benchmarks.aa_model`. One record a finished comparison; what is on record of the same code, artifact and machine is
not made again. About 25 minutes; the rows are a record of their own; exits 1 where one does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import math
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks import aa_model, budget, paired, results
from benchmarks.compare import golden_inputs, races
from benchmarks.environment import host
from benchmarks.paired import Row
from benchmarks.verdicts import CANNOT_TELL, B, latency_verdict, rounds_needed
from edge_runtime import worker
from edge_runtime.bundle import Bundle, open_bundle
from edge_runtime.errors import BadRequest, LokmaError
from train.provenance import code_sha256, commit

STUDY, SAME, SLOWED = "aa", "same", "slowed"
COMPARISONS = {SAME: 200, SLOWED: 100}
MAX_DIFFERENT, MIN_FOUND, MAX_SECONDS = 10, 90, 5.0
SECONDS, SLOWER = 4.6, 0.05
CODE = ("benchmarks.aa_study", "benchmarks.compare", "benchmarks.forks", "benchmarks.fork_server",
        "benchmarks.verdicts", "edge_runtime.measure")  # fmt: skip
# Works for a random time of at most 60 ms, then sleeps for twice as long on average.
NEIGHBOUR = """
import random, sys, threading, time
draw = random.Random(0)
threading.Thread(target=lambda: (sys.stdin.read(), __import__("os")._exit(0)), daemon=True).start()
while True:
    end = time.monotonic() + draw.uniform(0, 0.06)
    while time.monotonic() < end:
        pass
    time.sleep(draw.uniform(0, 0.12))
"""
SAID = "bursts on one core, a third of the time"
# `edge_runtime.worker`, with a wait after each answer that its latency counts.
WORKER = """
import sys, time
from edge_runtime import load, worker
predictor, wait_ns = load(sys.argv[1], sys.argv[2], int(sys.argv[3])), int(sys.argv[4])
def predict(given):
    answer = predictor.predict(given)
    end = time.perf_counter_ns() + wait_ns
    while time.perf_counter_ns() < end:
        pass
    return answer.values, {}
worker.serve(0, 0, predictor.session.versions, predict)
"""


def study(
    bundle: Bundle, artifact: str, threads: int, counts: Mapping[str, int], minutes: float = math.inf
) -> list[Row]:
    """Makes what is not on record yet, until the time is up, and returns the rows."""
    end = time.monotonic() + 60 * minutes
    path, key = results.folder() / f"{host()['fingerprint']}.jsonl", _key(bundle, artifact, threads)
    done = _on_record(key)
    with golden_inputs(bundle) as inputs, neighbour():
        shrink(inputs)
        while any(len(done[kind]) < counts[kind] for kind in counts) and time.monotonic() < end:
            for kind, count in counts.items():
                # two of the same for one that is slowed, so that both see the same hours
                for _ in range(max(1, count // min(counts.values()))):
                    if len(done[kind]) < count:
                        # p50 beside the same neighbour: of the last comparison of the artifact with itself
                        wait_ns = round(SLOWER * _p50_ns(done[SAME][-1])) if kind == SLOWED else 0
                        found = compared(bundle, artifact, threads, inputs, wait_ns)
                        results.append([_record(bundle, key, {"kind": kind}, comparison=found)], path)
                        done[kind].append(found)
                        _progress(done, counts)
    told = rows(done)
    results.append([_record(bundle, key, {"run": uuid.uuid4().hex}, rows=told)], path)
    return told


def compared(bundle: Bundle, artifact: str, threads: int, inputs: Sequence[Any], wait_ns: int) -> dict[str, Any]:
    """One comparison: its verdict, quads (ns, a list a round), B's wait, and its seconds."""
    began = time.monotonic()
    commands = [command_of(bundle, artifact, threads, wait) for wait in (0, wait_ns)]
    a, b = (functools.partial(worker.Worker, command, None) for command in commands)
    rounds = races(a, b, inputs, SECONDS, threads)
    return {**latency_verdict(rounds), "wait_ns": wait_ns, "seconds": time.monotonic() - began, "rounds_ns": rounds}


def command_of(bundle: Bundle, artifact: str, threads: int, wait_ns: int) -> list[str]:
    """What starts a process of one side, which waits so long after each answer."""
    return [sys.executable, "-c", WORKER, str(bundle.source.path.absolute()), artifact, str(threads), str(wait_ns)]


def rows(done: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Row]:
    """What the comparisons that were made say."""
    same, slowed = done[SAME], done[SLOWED]
    different = sum(one["answer"] != CANNOT_TELL for one in same)
    found = sum(one["answer"] == "A" for one in slowed)
    wrong = sum(one["answer"] == B for one in slowed)
    longest = max((one["seconds"] for one in (*same, *slowed)), default=0.0)
    whole = [len(done[kind]) >= count for kind, count in COMPARISONS.items()]
    widths = [one["high"] / one["low"] - 1 for one in (*same, *slowed) if one["ratio"]]
    note = f"{wrong} said B; median interval {statistics.median(widths):.1%} wide" if widths else ""
    if slowed:
        note += f", of {slowed[0]['n']} rounds; 90 % would be found with {_needed(slowed):.0f}"
    return [
        paired.row("itself: said different", different, MAX_DIFFERENT, _holds(whole[0], different <= MAX_DIFFERENT),
                   len(same)),
        paired.row("5 % slower: found", found, MIN_FOUND, _holds(whole[1], found >= MIN_FOUND), len(slowed), note),
        paired.row("seconds of the longest comparison", longest, MAX_SECONDS,
                   _holds(all(whole), longest <= MAX_SECONDS), len(same) + len(slowed)),
    ]  # fmt: skip


def _needed(slowed: Sequence[Mapping[str, Any]]) -> float:
    """The rounds with which nine of ten would have been found: the median, by the spread that each comparison saw."""
    told = [rounds_needed(one["n"], one["low"], one["high"], 1 + SLOWER) for one in slowed if one["ratio"]]
    return statistics.median(told) if told else math.nan


def _p50_ns(one: Mapping[str, Any]) -> float:
    return statistics.median(value for quads in one["rounds_ns"] for quad in quads for value in quad)


def _holds(whole: bool, holds: bool) -> bool | None:
    return holds if whole else None


def _key(bundle: Bundle, artifact: str, threads: int) -> dict[str, Any]:
    sha256 = next((one.sha256 for one in bundle.artifacts if one.id == artifact), None)
    if sha256 is None:
        known = ", ".join(one.id for one in bundle.artifacts)
        raise BadRequest(f"{bundle.source.path} has no artifact {artifact!r}; it has {known}")
    return {"id": artifact, "sha256": sha256, "threads": threads, "code": code_sha256(*CODE)}


def _on_record(key: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    done: dict[str, list[dict[str, Any]]] = {kind: [] for kind in COMPARISONS}
    path = results.folder() / f"{host()['fingerprint']}.jsonl"
    for entry in results.read(path).records if path.is_file() else ():
        said = entry["scenario"]
        if said.get("study") == STUDY and "comparison" in entry and entry["artifact"] == key:
            done[said["kind"]].append(entry["comparison"])
    return done


def _record(bundle: Bundle, key: Mapping[str, Any], scenario: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return results.record(
        kind="study",
        commit=commit(),
        bundle={"name": bundle.name, "version": bundle.version},
        artifact=dict(key),
        target="device",
        host=host(),
        scenario={"study": STUDY, "seconds": SECONDS, "neighbour": SAID, **scenario},
        latency_ns=[],
        validity={"valid": True, "flags": []},
        **fields,
    )


def shrink(inputs: Sequence[Any]) -> None:
    """Makes golden pictures as small as models take them: the network is to be compared, not JPEG."""
    from PIL import Image

    for path in inputs:
        if isinstance(path, str):  # a golden picture, copied
            with Image.open(path) as picture:
                small = picture.convert("RGB").resize((256, 256))
            small.save(path, "JPEG")


@contextlib.contextmanager
def neighbour() -> Iterator[None]:
    """Other work on this machine: bursts on one core."""
    child = subprocess.Popen([sys.executable, "-c", NEIGHBOUR], stdin=subprocess.PIPE)
    try:
        yield
    finally:
        child.kill()
        child.wait()
        assert child.stdin is not None
        child.stdin.close()


def _progress(done: Mapping[str, Sequence[Any]], counts: Mapping[str, int]) -> None:
    said = ", ".join(f"{kind} {len(done[kind])} of {count}" for kind, count in counts.items())
    sys.stderr.write(f"{said}\n")


def main(argv: list[str]) -> int:
    """Runs the study, prints its rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.aa_study", description=__doc__.splitlines()[0])
    parser.add_argument("artifact", nargs="?", help="BUNDLE:ARTIFACT (a model of the study's own)")
    parser.add_argument("--threads", type=int, default=1, help="of each (1)")
    parser.add_argument("--comparisons", type=int, help="at most so many of each kind; too few prove nothing")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so long; the same command goes on")
    args = parser.parse_args(argv)
    most = args.comparisons or max(COMPARISONS.values())
    try:
        path, _, artifact = (args.artifact or f"{aa_model.bundle()}:{aa_model.ARTIFACT}").rpartition(":")
        if not path:
            raise BadRequest(f"{args.artifact!r} names no bundle; give BUNDLE:ARTIFACT")
        counts = {kind: min(count, most) for kind, count in COMPARISONS.items()}
        found = study(open_bundle(path), artifact, args.threads, counts, args.minutes)
    except LokmaError as error:
        sys.stderr.write(f"aa_study: {error}\n")
        return error.exit_code
    return 0 if budget.show(found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
