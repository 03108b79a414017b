"""Which model file keeps an accuracy and a rate on this device: the answer of one run, by a rule that the page prints.

An answer never mixes runs: only within one were the systems interleaved on the same machine.

>>> from benchmarks import results
>>> run = runs(results.read().records).of("foodvision-mini")[0]                         # doctest: +SKIP
>>> answer(run, Question(floor=0.95, fps=30)).chosen.system                             # doctest: +SKIP
'onnx-int8'
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks import report
from mobile_demo.dashboard.runs import NOT_WHOLE, Measurement, Run


@dataclass(frozen=True)
class Question:
    """What is asked for: the share of right answers, and frames a second."""

    floor: float = 0.95
    fps: float = 30.0


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
class Gate:
    """One model file before the two demands; `why` is a key of the catalogue, `ratio` is against the chosen one."""

    one: Measurement
    share: float | None
    accurate: bool
    fast: bool
    why: str = ""
    ratio: Ratio | None = None

    @property
    def keeps(self) -> bool:
        """Whether it meets both."""
        return self.accurate and self.fast


@dataclass(frozen=True)
class Answer:
    """What one run says to the question; `verdict` is a catalogue key, the gates that keep stand first."""

    run: Run
    question: Question
    verdict: str
    gates: tuple[Gate, ...] = ()
    against: Ratio | None = None
    noise: Ratio | None = None

    @property
    def chosen(self) -> Measurement | None:
        """The file that keeps both demands with the lowest median time."""
        return self.gates[0].one if self.gates and self.gates[0].keeps else None


def ratio(one: Measurement, other: Measurement, name: str = "time to answer") -> Ratio | None:
    """A figure of one system over that of another of the same run, as `benchmarks.report.ratios` has it.

    None where the two were not measured in the same blocks, or the figure was not measured.
    """
    try:
        found = report.ratios(one.record, other.record)[name]
    except (*NOT_WHOLE, ZeroDivisionError):
        return None
    return Ratio(*found) if len(found) == 3 else Ratio(found[0], found[0], found[0])


def noise(one: Measurement) -> Ratio | None:
    """The A/A ratio: the later passes against the earlier ones; None where there was one pass."""
    try:
        return Ratio(*report.same_against_itself(one.record))
    except NOT_WHOLE:
        return None


def share(one: Measurement, base: Measurement | None) -> float | None:
    """What the floor is held against: the share of right answers, or, for a return, its share of eager torch's."""
    if one.accuracy is None:
        return None
    if one.accuracy.right is not None:
        return one.accuracy.value
    known = base.accuracy if base else None
    return one.accuracy.value / known.value if known and known.value else None


def answer(run: Run, question: Question) -> Answer:
    """The run's answer: the fastest model file that keeps both demands, and why each other one was not taken.

    A rate of N a second is kept where nine in ten answers (p90) come within 1/N s. Two files differ only where the
    interval of their paired ratio lies above that of a system against itself in the same run.
    """
    gates = [_gate(one, run.baseline, question) for one in run.device]
    kept, failed = [gate for gate in gates if gate.keeps], [gate for gate in gates if not gate.keeps]
    if not kept:
        return Answer(run, question, "none" if gates else "nothing", tuple(failed))
    chosen, base = kept[0].one, run.baseline  # the systems of a run stand in the order of their medians
    own = noise(base or chosen)
    others = [_behind(gate, chosen, own.high if own else 1.0) for gate in kept[1:]]
    unclear = {gate.why for gate in others} - {"why_slower"}
    verdict = "tie" if unclear == {"why_close"} else "unordered" if unclear else "keeps"
    against = ratio(chosen, base) if base else None
    return Answer(run, question, verdict, (kept[0], *others, *failed), against, own)


def _gate(one: Measurement, base: Measurement | None, question: Question) -> Gate:
    reached = share(one, base)
    accurate, fast = reached is not None and reached >= question.floor, one.p90_ns * question.fps <= 1e9
    why = {(True, True): "", (True, False): "why_slow", (False, True): "why_under", (False, False): "why_both"}
    return Gate(one, reached, accurate, fast, "why_unmeasured" if reached is None else why[accurate, fast])


def _behind(gate: Gate, chosen: Measurement, restless: float) -> Gate:
    """A file that keeps both demands too; slower only where that is more than the machine's own variation."""
    found = ratio(gate.one, chosen)
    why = "why_unpaired" if found is None else "why_close" if found.low <= max(1.0, restless) else "why_slower"
    return replace(gate, why=why, ratio=found)
