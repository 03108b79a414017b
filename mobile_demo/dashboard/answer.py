"""Which model file should a device run: the answer of one run, by the rule that the page prints.

An answer never mixes runs: only within one were the systems interleaved on the same machine.

>>> from benchmarks import results
>>> found = runs(results.read().records)                                                # doctest: +SKIP
>>> answer(found.of("foodvision-mini")[0]).chosen.system                                # doctest: +SKIP
'xnnpack-int8'
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import report
from mobile_demo.dashboard.runs import Measurement, Run

ALLOWED_LOSS = (2, 150)  # right answers that a model file may lose against eager torch, of how many


@dataclass(frozen=True)
class Ratio:
    """One median over another, with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def may_be_one(self) -> bool:
        """Whether the two cannot be told apart."""
        return self.low <= 1 <= self.high


@dataclass(frozen=True)
class Fate:
    """Why a model file was not chosen: `why` is a key of the catalogue."""

    one: Measurement
    why: str
    ratio: Ratio | None = None


@dataclass(frozen=True)
class Answer:
    """What one run says to "which model file should this device run?"; `verdict` is a catalogue key."""

    run: Run
    verdict: str
    chosen: Measurement | None = None
    ratio: Ratio | None = None
    rival: Measurement | None = None
    noise: Ratio | None = None
    fates: tuple[Fate, ...] = ()


def ratio(one: Measurement, other: Measurement, name: str = "time to answer") -> Ratio | None:
    """A figure of one system over that of another of the same run, as `benchmarks.report.ratios` has it.

    None where the two were not measured in the same blocks, or the figure was not measured.
    """
    try:
        found = report.ratios(one.record, other.record)[name]
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return Ratio(*found) if len(found) == 3 else Ratio(found[0], found[0], found[0])


def noise(one: Measurement) -> Ratio | None:
    """The A/A ratio: the later passes against the earlier ones; None where there was one pass."""
    try:
        return Ratio(*report.same_against_itself(one.record))
    except ValueError:
        return None


def allowed_loss(n: int) -> int:
    """How many right answers fewer than eager torch a model file may give on `n` inputs."""
    return n * ALLOWED_LOSS[0] // ALLOWED_LOSS[1]


def answer(run: Run) -> Answer:
    """The run's answer: the fastest model file that keeps the accuracy, or why that cannot be told.

    The rule is what the page prints (`rule_right`, `rule_value`).
    """
    base = run.baseline
    if not run.device:
        return Answer(run, "nothing")
    if base is None or base.accuracy is None:
        return Answer(run, "no_baseline")
    own = noise(base)
    lost = {one.system: why for one in run.device if (why := _loss(one, base))}
    fates = tuple(Fate(one, lost[one.system]) for one in run.device if one.system in lost)
    kept = [one for one in run.device if one.system not in lost]
    if not kept:
        return Answer(run, "unfit", noise=own, fates=fates)
    if own is None or own.low < 1 - report.NOISE_LIMIT or own.high > 1 + report.NOISE_LIMIT:
        return Answer(run, "noisy" if own else "uncompared", noise=own, fates=fates)
    chosen, *others = kept  # the systems of a run stand in the order of their medians
    against = ratio(chosen, base)
    pairs = [(one, ratio(one, chosen)) for one in others]
    if against is None or any(pair is None for _, pair in pairs):
        return Answer(run, "uncompared", noise=own, fates=fates)
    fates += tuple(Fate(one, "why_close" if pair and pair.may_be_one else "why_slower", pair) for one, pair in pairs)
    rival = next((fate for fate in fates if fate.why == "why_close"), None)
    if rival is not None:
        return Answer(run, "tie", chosen, rival.ratio, rival.one, own, fates)
    return Answer(run, "best", chosen, against, None, own, fates)


def _loss(one: Measurement, base: Measurement) -> str:
    """The catalogue's key for why a model file does not keep the accuracy; empty where it does."""
    if one.accuracy is None or base.accuracy is None:
        return "why_unmeasured"
    if one.accuracy.right is not None and base.accuracy.right is not None:
        return "why_lost" if base.accuracy.right - one.accuracy.right > allowed_loss(one.accuracy.n) else ""
    return "why_below" if one.accuracy.value < base.accuracy.low else ""
