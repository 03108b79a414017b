"""`lokma compare A B`: which is more often right, which is faster, or *cannot tell*, and how many more would.

Both answer the same inputs, each in a process of its own, one after the other in the order ABBA BAAB: what the
machine does to both, and what it costs to run after the other, cancels. Up to 16 rounds, each with processes of its
own on the same cores (`benchmarks.forks`): two processes of one file already differ. Decided at alpha = 0.02.

>>> compare("bundles/food:onnx-fp32", "bundles/food:onnx-int8")["latency"]["answer"]      # doctest: +SKIP
'B'
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.forks import Popen, forks
from benchmarks.verdicts import Quad, accuracy_verdict, latency_verdict, sentences, verdict
from edge_runtime import engines, worker
from edge_runtime.bundle import Bundle, open_bundle
from edge_runtime.errors import BadRequest, LokmaError

__all__ = ["compare", "race", "races", "sentences", "verdict"]

BLOCK_NS, MAX_QUADS, WARM_UP = 1_500_000, 4000, 10
LEAST_ROUNDS, ROUNDS = 6, 16
CLOSING = 0.08  # the share of a round that ending its processes takes
Start = Callable[[Popen], worker.Worker]
MIN_ID = 8  # letters of a record's id


def compare(
    a: str, b: str, threads: int | None = None, seconds: float = 20, data: Path | None = None, accuracy: bool = True
) -> dict[str, Any]:
    """Compares two artifacts, or two records.

    Args:
        a: `BUNDLE:ARTIFACT`, or the id of a record (its first 8 letters are enough).
        b: likewise; `:ARTIFACT` is another of the same bundle.
        threads: of both; None takes the cores here, at most 4.
        seconds: how long times are taken.
        data: pictures of the user's own, as `lokma bench --data`.
        accuracy: whether they answer the evaluation data too.

    Returns:
        `accuracy` and `latency` as `benchmarks.verdicts` gives them.

    Raises:
        BadRequest: one names neither; the two answer different questions; no such artifact; seconds not above 0.
        BadBundle, BadInput, EngineError, Missing: as opening and running them does.
    """
    if not 0 < seconds < 86_400 or (threads is not None and threads < 1):
        raise BadRequest(f"a comparison takes seconds and threads above 0; got {seconds:g} and {threads}")
    if ":" not in a and ":" not in b:
        return verdict(_record(a), _record(b))
    bundles = [_artifact(a, None)]
    bundles.append(_artifact(b, bundles[0][0]))
    (one, first), (other, second) = bundles
    labels = [[label.id for label in bundle.spec.labels] for bundle in (one, other)]
    if one.spec.task != other.spec.task or labels[0] != labels[1]:
        raise BadRequest(f"{a} and {b} answer different questions: their tasks or labels are not the same")
    count = threads or engines.default_threads()
    with golden_inputs(one) as inputs:
        found: dict[str, Any] = {}
        starts = [functools.partial(worker.device, bundle.source.path, artifact, count, None)
                  for bundle, artifact in ((one, first), (other, second))]  # fmt: skip
        found["latency"] = latency_verdict(races(starts[0], starts[1], inputs, seconds, count))
        if accuracy:
            with starts[0](subprocess.Popen) as left, starts[1](subprocess.Popen) as right:
                found["accuracy"] = _answers(one, (left, right), data)
    return {"a": a, "b": b, "threads": count, **found}


def races(a: Start, b: Start, inputs: Sequence[Any], seconds: float, threads: int) -> list[list[Quad]]:
    """Rounds of quads, each in processes of its own, which share the same cores.

    Args:
        a: starts a process of one side, by what it is given.
        b: and of the other; who is started first changes from round to round.
        inputs: taken in turn; both sides of a quad answer the same.
        seconds: when to be done, from now on; a round takes an even share of it, and starting counts. Only the time
            decides how many rounds there are, `LEAST_ROUNDS` to `ROUNDS`, never what they show.
        threads: of each: so many cores are theirs.
    """
    end, longest = time.monotonic() + seconds, 0.0
    rounds: list[list[Quad]] = []
    with forks() as popen:
        while len(rounds) < ROUNDS:
            began, number = time.monotonic(), len(rounds)
            if number >= LEAST_ROUNDS and end - began < longest:
                break
            share = (end - began) / (ROUNDS - number)
            with contextlib.ExitStack() as stack:
                with pinned(threads):  # a process keeps the cores that it was started on
                    sides = [stack.enter_context(start(popen)) for start in ((a, b) if number % 2 == 0 else (b, a))]
                for child in sides:
                    child.ready()
                left, right = sides if number % 2 == 0 else sides[::-1]
                rounds.append(race(left, right, inputs, share * (1 - CLOSING) - (time.monotonic() - began)))
            longest = max(longest, time.monotonic() - began)
    return rounds


@contextlib.contextmanager
def pinned(count: int) -> Iterator[None]:
    """Processes that are started inside get `count` cores of those that this one has, the last ones."""
    if not hasattr(os, "sched_setaffinity"):  # macOS, Windows
        yield
        return
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(mine)[-count:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


def race(a: worker.Worker, b: worker.Worker, inputs: Sequence[Any], seconds: float) -> list[Quad]:
    """Answers in the order A B B A, B A A B, until the time is up.

    An answer is one input's; where that takes far less than 1.5 ms, it is the median of a short block of them.

    Args:
        a: a started worker.
        b: the other.
        inputs: taken in turn; both sides of a quad answer the same.
        seconds: how long, from now on; at least one quad is taken.

    Returns:
        The times (ns) of A, B, B, A: the first and the last of A, as of B, in the order in which they came.
    """
    end = time.monotonic() + seconds
    usual = min(statistics.median(_times(child, [inputs[0]] * WARM_UP)) for child in (a, b))
    size = max(1, min(200, round(BLOCK_NS / usual)))
    turns = itertools.cycle(inputs)
    quads: list[Quad] = []
    while len(quads) < MAX_QUADS:
        asked = [next(turns)] * size
        for first, second in ((a, b), (b, a)):
            times = [statistics.median(_times(child, asked)) for child in (first, second, second, first)]
            outer, inner = (times[0], times[3]), (times[1], times[2])
            (a1, a2), (b1, b2) = (outer, inner) if first is a else (inner, outer)
            quads.append((a1, b1, b2, a2))
        if time.monotonic() >= end:
            return quads
    return quads


def _times(child: worker.Worker, asked: Sequence[Any]) -> list[int]:
    return [answer["total_ns"] for answer in child.ask(asked)]


@contextlib.contextmanager
def golden_inputs(bundle: Bundle) -> Any:
    """The inputs of a bundle's golden cases, as workers take them: rows, or paths of pictures."""
    goldens = bundle.golden()
    if not goldens:
        raise BadRequest(f"{bundle.source.path} has no golden case to be timed on; export it again")
    with tempfile.TemporaryDirectory(prefix="lokma-compare-") as folder:
        found = []
        for index, golden in enumerate(goldens):
            given: Any = golden.input
            if isinstance(given, bytes):
                path = Path(folder) / str(index)
                path.write_bytes(given)
                given = str(path)
            found.append(given)
        yield found


def _answers(bundle: Bundle, children: Sequence[worker.Worker], data: Path | None) -> dict[str, Any]:
    from benchmarks.evaluation import work_of

    if bundle.spec.task not in ("binary", "multiclass"):
        return {"answer": "cannot tell", "reason": f"a {bundle.spec.task} model has no answer that is right or wrong",
                "n": 0, "more": None}  # fmt: skip
    try:
        work = work_of(bundle, data)
    except LokmaError as error:
        return {"answer": "cannot tell", "reason": str(error), "n": 0, "more": None}
    right = []
    for child in children:
        rows = [answer["values"] for answer in child.ask(work.inputs)]
        said = [max(range(len(row)), key=row.__getitem__) if len(row) > 1 else int(row[0] >= 0.5) for row in rows]
        right.append([answer == true for answer, true in zip(said, work.labels, strict=True)])
    return accuracy_verdict(*right)


def _artifact(given: str, same: Bundle | None) -> tuple[Bundle, str]:
    path, _, artifact = given.rpartition(":")
    if not path and same is None:
        raise BadRequest(f"{given!r} names no bundle; give BUNDLE:ARTIFACT, such as bundles/food:onnx-int8")
    bundle = open_bundle(path) if path else same
    assert bundle is not None
    known = [one.id for one in bundle.artifacts]
    if artifact not in known:
        raise BadRequest(f"{bundle.source.path} has no artifact {artifact!r}; it has {', '.join(known)}")
    return bundle, artifact


def _record(given: str) -> dict[str, Any]:
    store = results.connect()
    found = store.sql("SELECT id FROM records WHERE starts_with(id, ?)", [given]) if len(given) >= MIN_ID else []
    if len(found) != 1:
        raise BadRequest(
            f"{given!r} is neither BUNDLE:ARTIFACT nor the id of one record of {store.place} ({MIN_ID} letters or more)"
        )
    return store.record(found[0]["id"])
