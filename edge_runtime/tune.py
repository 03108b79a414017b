"""Which artifact of a bundle, with how many threads, is the fastest on this device: measured, and remembered.

Every candidate runs in its own process, on the bundle's golden inputs. A qualifying round, one process at a
time, drops what is clearly slower; the few that are left are measured in shuffled rounds of short blocks until
the intervals of their ratios to the best separate. What does not repeat its golden cases here, or did not keep
its accuracy at export, is shown but never chosen. `load` takes the choice until the processor, an engine's
version or an artifact changes.

>>> from edge_runtime import examples
>>> tune(examples.path("cartpole.zip"), seconds=5).artifact                              # doctest: +SKIP
'xnnpack-fp32'
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import random
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_runtime import engines, host, tuned, worker
from edge_runtime.bundle import Artifact, Bundle, Golden
from edge_runtime.check import difference, open_whole
from edge_runtime.errors import BadRequest, EngineError, GateFailed, Missing
from edge_runtime.measure import quantile, quantile_interval, ratio_interval
from edge_runtime.tuned import remembered

__all__ = ["Tuned", "remembered", "tune"]
log = logging.getLogger(__name__)
AT_ONCE = 4  # processes alive together: a Pi with 512 MB holds no more
CLEARLY_SLOWER = 1.3
SAME = 1.02  # rivals within it are not told apart any longer; the one with fewer threads is taken
BLOCK_NS = 100_000_000
PATIENCE_S = 60.0  # what takes longer to load, or for one golden case or block, hangs or is of no use here
FIRST_LOOK = 10  # rounds; each look after comes half as many later, as a look at the intervals costs time too


@dataclass(frozen=True)
class Tuned:
    """The choice, and `evidence` as it was written: every candidate, why not, host, versions, hashes, flags."""

    artifact: str
    threads: int
    evidence: Mapping[str, Any]


@dataclass
class Candidate:
    """An artifact with a thread count, and what was seen of it.

    `ok` is False where it failed here, None where it may not be chosen for another reason.
    """

    artifact: Artifact
    threads: int
    ok: bool | None = True
    why_not: str = ""
    n: int = 0
    blocks: list[float] = field(default_factory=list)  # the median ns of each block

    @property
    def median(self) -> float:
        """Of the blocks, in ns."""
        return statistics.median(self.blocks)

    def evidence(self) -> dict[str, Any]:
        """As it is written and shown."""
        return {
            "artifact": self.artifact.id,
            **{key: getattr(self, key) for key in ("threads", "ok", "why_not", "n")},
            "p50_ns": quantile(self.blocks, 0.5) if self.blocks else None,
            "interval_ns": quantile_interval(self.blocks, 0.5) if self.blocks else None,
            "blocks_ns": self.blocks,
        }


def tune(bundle: Bundle | str | Path, seconds: float = 60) -> Tuned:
    """Measures for at most about `seconds`, chooses, and writes the choice with its evidence to `LOKMA_HOME`.

    Raises:
        BadInput, BadBundle: as opening the bundle does.
        BadRequest: `seconds` is not above 0, or `LOKMA_HOME` cannot be written.
        Missing: no engine here can run any of its artifacts.
        GateFailed: none that runs here may be chosen; nothing is written.
    """
    bundle = bundle if isinstance(bundle, Bundle) else open_whole(bundle)
    if not 0 < seconds < math.inf:
        raise BadRequest(f"tuning takes a number of seconds above 0; got {seconds}")
    candidates, goldens = _grid(bundle), bundle.golden()
    if not goldens:
        raise GateFailed(f"{bundle.source.path} has no golden case, so nothing can be proved or measured")
    started = time.monotonic()
    flags = host.busy(min(1.0, seconds / 20))
    with tempfile.TemporaryDirectory(prefix="lokma-tune-") as folder:
        inputs = [_input(golden, Path(folder) / str(index)) for index, golden in enumerate(goldens)]
        _qualify(bundle, candidates, goldens, inputs, started + seconds / 2)
        finalists = _finalists(bundle, candidates)
        _compete(bundle, finalists, inputs, started + seconds)
    chosen = _choose(finalists)
    evidence = {
        "choice": {"artifact": chosen.artifact.id, "threads": chosen.threads},
        "candidates": [candidate.evidence() for candidate in candidates],
        "bundle": {"name": bundle.name, "version": bundle.version},
        "flags": flags,
        "seconds": round(time.monotonic() - started, 1),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **tuned.identity(bundle),
    }
    tuned.remember(bundle, evidence)
    return Tuned(chosen.artifact.id, chosen.threads, evidence)


def _grid(bundle: Bundle) -> list[Candidate]:
    """Each artifact that can run here, with 1, 2, 4 and all cores; the usual count first, as time may run out."""
    here = [artifact for artifact in bundle.artifacts if engines.available(artifact.engine)]
    if not here:
        raise Missing(f"nothing here can run {bundle.source.path}; `lokma doctor` says what to install")
    cores = min(host.usable_cores(), engines.MAX_THREADS)
    counts = sorted({min(count, cores) for count in (1, 2, 4, cores)})
    counts.sort(key=lambda count: count != engines.default_threads())
    rows = [(artifact, threads, _bar(artifact)) for threads in counts for artifact in here]
    return [Candidate(artifact, threads, None if bar else True, bar) for artifact, threads, bar in rows]


def _bar(artifact: Artifact) -> str:
    """Why its export's verdict keeps it from being chosen; empty where it does not."""
    verdict = artifact.details.get("verdict")
    if verdict is None:  # the reference itself
        return ""
    accuracy = verdict.get("accuracy") if isinstance(verdict, dict) else None
    answer = accuracy.get("answer") if isinstance(accuracy, dict) else None
    return "" if answer == "pass" else f"its accuracy verdict is {answer or 'missing'}"


def _input(golden: Golden, path: Path) -> Any:
    """What a worker is asked: a row, or the path of a picture."""
    if not isinstance(golden.input, bytes):
        return golden.input
    path.write_bytes(golden.input)
    return str(path)


def _start(bundle: Bundle, candidate: Candidate) -> worker.Worker:
    return worker.device(bundle.source.path, candidate.artifact.id, candidate.threads, PATIENCE_S)


def _qualify(
    bundle: Bundle, candidates: Sequence[Candidate], goldens: Sequence[Golden], inputs: Sequence[Any], until: float
) -> None:
    """One process at a time: every golden case, then one block. The first candidate is measured in any case."""
    for number, candidate in enumerate(candidates):
        if number and time.monotonic() > until:
            candidate.ok, candidate.why_not = None, candidate.why_not or "the time was up"
            continue
        log.info(
            "trying %d of %d: %s, %d threads", number + 1, len(candidates), candidate.artifact.id, candidate.threads
        )
        try:
            with _start(bundle, candidate) as child:
                for golden, given in zip(goldens, inputs, strict=True):
                    (answer,) = child.ask([given])
                    difference(candidate.artifact, golden, answer["values"])
                _block(child, candidate, inputs, answer["ns"]["inference"])
        except EngineError as error:
            candidate.ok, candidate.why_not = False, str(error)


def _block(child: worker.Worker, candidate: Candidate, inputs: Sequence[Any], usual_ns: float) -> None:
    size = max(1, min(200, round(BLOCK_NS / max(1.0, usual_ns))))
    answers = child.ask([inputs[(candidate.n + index) % len(inputs)] for index in range(size)])
    candidate.n += size
    candidate.blocks.append(statistics.median(answer["ns"]["inference"] for answer in answers))


def _finalists(bundle: Bundle, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The fastest few of those that may be chosen."""
    able = sorted((one for one in candidates if one.ok), key=lambda one: one.median)
    if not able:
        whys = "; ".join(f"{one.artifact.id} with {one.threads} threads: {one.why_not}" for one in candidates)
        raise GateFailed(f"no artifact of {bundle.source.path} may be chosen here: {whys}")
    for rank, one in enumerate(able):
        ratio = one.median / able[0].median
        if ratio > CLEARLY_SLOWER or rank >= AT_ONCE:
            one.why_not = f"{ratio:.2f}x the time of the fastest in the qualifying round"
    return [one for one in able if not one.why_not]


def _compete(bundle: Bundle, finalists: Sequence[Candidate], inputs: Sequence[Any], until: float) -> None:
    """Shuffled rounds, one block of each; who is told apart from the best leaves, until nobody is in doubt."""
    racing, order, look = list(finalists), random.Random(0), FIRST_LOOK
    with contextlib.ExitStack() as stack:
        children = {id(one): stack.enter_context(_start(bundle, one)) for one in racing}
        usual = {id(one): one.median for one in racing}
        for one in racing:
            one.blocks, one.n = [], 0  # those of the qualifying round were of another minute
            for given in inputs:
                children[id(one)].ask([given])
        for turn in itertools.count(1):
            for one in order.sample(racing, len(racing)):
                _block(children[id(one)], one, inputs, usual[id(one)])
            log.info("round %d, still in the race: %d", turn, len(racing))
            if turn >= look:
                look += max(1, look // 2)
                best = min(racing, key=lambda one: one.median)
                ratios = [(one, _ratio(one, best)) for one in racing if one is not best]
                for one, (_, low, _) in ratios:
                    if low > 1:
                        racing.remove(one)
                        children[id(one)].close()
                if all(low > 1 or 1 / SAME < low <= high < SAME for _, (_, low, high) in ratios):
                    return
            if time.monotonic() > until:
                return


def _ratio(one: Candidate, other: Candidate) -> tuple[float, float, float]:
    """The ratio of their times with its interval, on the rounds that both took part in."""
    rounds = min(len(one.blocks), len(other.blocks))
    ratio, low, high = ratio_interval(one.blocks[:rounds], other.blocks[:rounds], repeats=400)
    return ratio, low, high


def _choose(finalists: Sequence[Candidate]) -> Candidate:
    """The fastest. Of those that were not told apart from it and lie within 2 %, the one with the fewest threads."""
    best = min(finalists, key=lambda one: one.median)
    open_still = [one for one in finalists if one is best or _ratio(one, best)[1] <= 1]
    chosen = min(
        (one for one in open_still if one.median <= SAME * best.median), key=lambda one: (one.threads, one.median)
    )
    for one in finalists:
        if one is not chosen:
            ratio, low, high = _ratio(one, chosen)
            doubt = ", not told apart" if low <= 1 <= high else ""
            one.why_not = f"{ratio:.2f}x the time of the choice ({low:.2f} to {high:.2f}{doubt})"
    return chosen
