"""What an artifact gained and lost, in words that follow from numbers: parity and accuracy.

>>> accuracy_verdict(Flips(changed=0, n=150, lost=0, gained=0, labelled=150))["answer"]
'inconclusive'
>>> accuracy_verdict(Flips(changed=0, n=299, lost=0, gained=0, labelled=150))["answer"]
'pass'
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edge_runtime.measure import drop_bound
from edge_runtime.predictor import Predictor
from export.terms import MAX_DROP

MOST_SAMPLES = 100_000
PARITY = {"fp32": 1e-4}  # max|a-b| / max|b| a sample; int8 has no bound of its own, its accuracy is judged


def outputs_of(predictor: Predictor, inputs: np.ndarray) -> np.ndarray:
    """An artifact's outputs on tensors in the user's units, one at a time: float32 (n, outputs)."""
    name, out = predictor.spec.inputs[0].name, predictor.spec.outputs[0].name
    rows = [np.asarray(predictor.session.run({name: sample[None]})[out], np.float32).ravel() for sample in inputs]
    return np.stack(rows)


def parity(reference: np.ndarray, outputs: np.ndarray, probabilities: bool = True) -> dict[str, Any]:
    """How far outputs are from the eager model's: the worst sample's relative error, and the same best label.

    Args:
        reference: the eager model's outputs, (n, k).
        outputs: the artifact's.
        probabilities: False for Q-values and numbers, which may lie near 0, where an error relative to the
            sample itself says nothing: there the outputs' root mean square is the least scale.
    """
    scale = np.abs(reference).max(axis=1)
    if not probabilities:
        scale = np.maximum(scale, np.sqrt(np.mean(np.square(reference))))
    relative = np.abs(outputs - reference).max(axis=1) / scale
    same = int((outputs.argmax(axis=1) == reference.argmax(axis=1)).sum())
    return {"max_relative": float(relative.max()), "same_top1": same, "n": len(reference)}


@dataclass(frozen=True)
class Flips:
    """How an artifact's best labels differ from fp32's, sample by sample.

    `changed` of all `n`; of the `labelled` among them `lost` were right in fp32 and are wrong now, `gained` the
    other way round, and `changed_labelled` differ at all.
    """

    changed: int
    n: int
    lost: int
    gained: int
    labelled: int
    changed_labelled: int = 0


def flips_of(mine: np.ndarray, theirs: np.ndarray, labels: np.ndarray) -> Flips:
    """Compares best labels (n,) of an artifact with those of fp32; the first `len(labels)` samples have a label."""
    differs, known = mine != theirs, len(labels)
    lost, gained = (
        (right[:known] == labels) & (wrong[:known] != labels) for right, wrong in ((theirs, mine), (mine, theirs))
    )
    counts = (int(part.sum()) for part in (differs, lost, gained, differs[:known]))
    changed, all_lost, all_gained, changed_labelled = counts
    return Flips(changed, len(mine), all_lost, all_gained, known, changed_labelled)


def confidence(looks: int) -> float:
    """Of each one-sided bound, so that as many looks at the same samples err together in at most 5 % (Bonferroni)."""
    return 1 - 0.05 / looks


def accuracy_verdict(flips: Flips, max_drop: float = MAX_DROP / 100, looks: int = 1) -> dict[str, Any]:
    """Whether the answers are as good as fp32's, to within `max_drop` of the accuracy: paired non-inferiority.

    Two ways to a pass, each at 95 %, or at 97.5 % a look where two are allowed. Accuracy cannot drop by more than
    the share of answers that change, so an upper bound of that share will do, and needs no labels. On the labelled
    samples alone, what was lost less what was gained: there an answer that was wrong before and is wrong now does
    not count. A drop just above the allowed one thus passes in at most one case of ten, and of twenty where both
    ways rest on the same changes.

    What a pool of two kinds of pictures proves is about such a pool: of pictures drawn like these, test side and
    others in the shares they have here, at most that share changes its answer. It holds for pictures like the test
    side's alone where those change no more often than the others. The others usually show more close calls, and
    `changed_labelled` of `labelled` beside `changed` of `n` lets a reader see it.

    Args:
        flips: the counts.
        max_drop: the share of the samples that may be lost.
        looks: how often these samples may judge this artifact: 2 where `mixed.mend` makes another one of it when
            the first falls short, so that each look pays for both.

    Returns:
        `answer` (pass, fail or inconclusive), `reason`, `max_drop`, and the counts.
    """
    changed, n = flips.changed, flips.n
    sure = confidence(looks)
    bound, each = drop_bound(changed, n, sure), (1 + sure) / 2  # two bounds of half the error hold together
    least = _least(flips.lost, flips.labelled, each) - _most(flips.gained, flips.labelled, each)
    most = _most(flips.lost, flips.labelled, each) - _least(flips.gained, flips.labelled, each)
    said = "95 %" if looks == 1 else f"{100 * sure:g} % a look, {looks} looks allowed"
    lost = f"lost {flips.lost} and gained {flips.gained} of {flips.labelled}"
    if bound <= max_drop:
        answer, reason = "pass", f"{changed} of {n} answers changed, so at most {bound:.2%} can be lost ({said})"
    elif most <= max_drop:
        answer, reason = "pass", f"{lost}: {_at_most(most, said)}"
    elif least > max_drop:
        answer, reason = "fail", f"{lost}: at least {least:.1%} are lost ({said})"
    else:
        answer, reason = "inconclusive", f"{changed} of {n} answers changed: {_more(changed, n, max_drop, sure)}"
    return {"answer": answer, "reason": reason, "max_drop": max_drop, **asdict(flips)}


def _most(count: int, n: int, sure: float) -> float:
    return drop_bound(count, n, sure)


def _least(count: int, n: int, sure: float) -> float:
    return 1 - drop_bound(n - count, n, sure)


def _at_most(share: float, said: str) -> str:
    return f"at most {share:.2%} are lost ({said})" if share > 0 else f"more are gained than lost ({said})"


def return_verdict(interval: Sequence[float], threshold: float) -> dict[str, Any]:
    """Whether a policy keeps its reward threshold: the lower 95 % bound of its mean return is not below it."""
    low, high = interval
    answer = "pass" if low >= threshold else "fail" if high < threshold else "inconclusive"
    return {
        "answer": answer,
        "reason": f"mean return {low:.1f} to {high:.1f} (95 %), threshold {threshold:.0f}",
    }


def _more(changed: int, n: int, max_drop: float, sure: float) -> str:
    """How many more samples would show a pass, if changes stay as rare as they were."""

    def passes(total: int) -> bool:
        return drop_bound(round(changed / n * total), total, sure) <= max_drop

    if changed / n >= max_drop or not passes(MOST_SAMPLES):
        return "no number of samples with changes as frequent shows a pass; more labelled ones may"
    total = n + 1 + bisect.bisect_left(range(n + 1, MOST_SAMPLES), True, key=passes)
    return f"{total - n} more samples with changes as rare would show a pass"
