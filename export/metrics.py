"""How the answers of each task are judged: against the truth with an interval, and int8 against fp32 in pairs.

A row of `METRICS` turns outputs (n, k) into answers once; everything else works on those.

>>> truth = np.array([[1.0], [2.0], [4.0]] * 20)
>>> METRICS["regression"].measure(truth + 0.5, truth)["text"]
'MAE 0.5 (0.5 to 0.5, 60 rows), R² 0.839'
>>> METRICS["regression"].verdict(truth + 0.501, truth + 0.5, truth, 0.01)["answer"]
'pass'
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_runtime.measure import mean_interval, wilson
from export.verdict import accuracy_verdict, flips_of, parity

Answers = Callable[[np.ndarray], np.ndarray]
YES = 0.5  # the probability from which the runtime answers a label: `Prediction.label`
FEWEST = 30  # rows, below which a normal interval of a mean says nothing


@dataclass(frozen=True)
class Metric:
    """A row.

    `answers` gives what is judged: class numbers (n,), yes or no a label (n, labels), or the numbers themselves
    (n, outputs). `measure(answers, truth)` is an artifact's `accuracy` in the manifest, and
    `verdict(mine, theirs, truth, max_drop, looks)` the word for an artifact's answers beside those of fp32. `truth` is
    class numbers (n,), or (n, k) of 0 and 1 or of numbers. `sides` are the values whose relative error is the
    parity: of a single probability both it and its opposite, so that one near 0 needs no more digits than one near 1.
    """

    answers: Answers
    measure: Callable[[np.ndarray, np.ndarray], dict[str, Any]]
    verdict: Callable[..., dict[str, Any]]
    sides: Answers = lambda outputs: outputs


def agreement(task: str, reference: np.ndarray, outputs: np.ndarray) -> dict[str, Any]:
    """Parity with the eager model's outputs (n, k); `same_top1` counts samples with all the same answers.

    A regression has no label that could change: there every sample counts as the same, and the error speaks. A
    policy's answer is its best action.
    """
    if task not in METRICS:
        return parity(reference, outputs, probabilities=False)
    metric = METRICS[task]
    found = parity(metric.sides(reference), metric.sides(outputs), probabilities=task != "regression")
    mine, theirs = metric.answers(outputs), metric.answers(reference)
    same = len(reference) if task == "regression" else int((mine == theirs).reshape(len(mine), -1).all(1).sum())
    return {**found, "same_top1": same}


def _share(answers: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    right, n = int((answers == truth.reshape(len(truth))).sum()), len(truth)
    low, high = wilson(right, n)
    text = f"{right / n:.1%} ({right} of {n}; {low:.1%} to {high:.1%})"
    return {"metric": "top-1", "value": right / n, "correct": right, "n": n, "interval": [low, high], "text": text}


def _share_verdict(
    mine: np.ndarray, theirs: np.ndarray, truth: np.ndarray, max_drop: float, looks: int = 1
) -> dict[str, Any]:
    """Truth may be shorter than the answers: the first samples are the labelled ones."""
    return accuracy_verdict(flips_of(mine, theirs, truth.reshape(len(truth))), max_drop, looks)


def _micro_f1(answers: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    yes, said_or_true = _f1_sums(answers, truth)
    f1, n = _f1(yes, said_or_true), len(truth)
    interval = _around(f1, (2 * yes - f1 * said_or_true) / max(said_or_true.mean(), 1e-9))
    text = f"micro-F1 {f1:.3f} ({_between(interval)}{n} rows)"
    return {"metric": "micro-F1", "value": f1, "n": n, "interval": interval, "text": text}


def _micro_f1_verdict(
    mine: np.ndarray, theirs: np.ndarray, truth: np.ndarray, max_drop: float, looks: int = 1
) -> dict[str, Any]:
    """Paired non-inferiority of the micro-F1, in the same points as accuracy.

    F1 is a ratio of sums over rows, so the drop is, to first order, a mean over rows of what each contributes
    (linearisation; Cochran, Sampling Techniques, 3rd ed., section 6.3). Rare changes are the rule, and a normal
    interval is too narrow for those: with no row changed it has no width. So one more row is counted in which every
    label is lost. With 0, 1, 2, 5 rows lost of many the bound is then within 3 % of Clopper and Pearson's exact one.
    The interval's ends are bounds at 97.5 % each, which is what two looks need.
    """
    assert looks <= 2
    n, labels = truth.shape
    (yes, both), (base_yes, base_both) = _f1_sums(mine, truth), _f1_sums(theirs, truth)
    f1, base = _f1(yes, both), _f1(base_yes, base_both)
    scale = max(base_both.mean(), 1e-9)
    contributions = ((2 * base_yes - base * base_both) - (2 * yes - base * both)) / scale
    worst = labels * (2 - base) / scale  # a lost label: one right yes less, and one yes less that was said
    drop = base - f1
    change = int((mine != theirs).any(1).sum())
    low, high = _widened(contributions, worst)
    return _said(drop, low, high, max_drop, n, f"{change} of {n} rows changed, micro-F1 {f1:.3f} against {base:.3f}",
                 "points", changed=change)  # fmt: skip


def _mae(answers: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    errors = np.abs(answers.astype(np.float64) - truth).mean(1)
    spread = float(np.square(truth - truth.mean(0, dtype=np.float64)).sum())
    r2 = 1 - float(np.square(answers.astype(np.float64) - truth).sum()) / spread if spread else None
    interval, n = _around(float(errors.mean()), errors - errors.mean()), len(truth)
    said = "" if r2 is None else f", R² {r2:.3f}"
    text = f"MAE {errors.mean():.4g} ({_between(interval)}{n} rows){said}"
    return {"metric": "MAE", "value": float(errors.mean()), "r2": r2, "n": n, "interval": interval, "text": text}


def _mae_verdict(
    mine: np.ndarray, theirs: np.ndarray, truth: np.ndarray, max_drop: float, looks: int = 1
) -> dict[str, Any]:
    """Paired non-inferiority of the mean absolute error, as a share of fp32's.

    Nearly every answer changes a little, and what counts is the mean of the paired differences of errors: each is
    at most as large as the answer's own change, so their mean is normal from 30 rows on. A bootstrap of the same
    pairs gives the same interval, with a seed that would decide the close cases. Its ends are bounds at 97.5 % each.
    """
    assert looks <= 2
    errors, base = (np.abs(one.astype(np.float64) - truth).mean(1) for one in (mine, theirs))
    scale = float(base.mean())
    n = len(truth)
    text = f"MAE {errors.mean():.4g} against {base.mean():.4g}"
    if not scale or n < FEWEST:
        why = f"fewer than {FEWEST} rows" if scale else "fp32 has no error that could be compared with"
        same = bool((mine == theirs).all())
        return {"answer": "pass" if same else "inconclusive", "max_drop": max_drop, "n": n, "difference": None,
                "interval": None, "reason": f"{text}: {'every answer is the same' if same else why}"}  # fmt: skip
    difference = (errors - base) / scale
    low, high = mean_interval(difference.tolist())
    return _said(float(difference.mean()), low, high, max_drop, n, text, "% of it")


def _said(
    drop: float, low: float, high: float, max_drop: float, n: int, text: str, unit: str, **more: Any
) -> dict[str, Any]:
    """The verdict's entry for a loss with its 95 % interval, all as shares; above 0 is worse."""
    answer = "pass" if high <= max_drop else "fail" if low > max_drop else "inconclusive"
    lost = f"lost {100 * drop:.2f} {unit} ({100 * low:.2f} to {100 * high:.2f}, 95 %; allowed {100 * max_drop:g})"
    found = {"max_drop": max_drop, "n": n, "difference": drop, "interval": [low, high]}
    return {"answer": answer, "reason": f"{text}: {lost}", **found, **more}


def _f1_sums(answers: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each row: labels rightly said, and labels said plus labels true."""
    true = truth > 0.5
    return (answers & true).sum(1).astype(float), (answers.sum(1) + true.sum(1)).astype(float)


def _f1(yes: np.ndarray, said_or_true: np.ndarray) -> float:
    return float(2 * yes.sum() / max(said_or_true.sum(), 1))


def _around(value: float, deviations: np.ndarray) -> list[float] | None:
    """The 95 % interval of a mean, from the rows' deviations; None below 30 rows, which give none."""
    if len(deviations) < FEWEST:
        return None
    low, high = mean_interval(deviations.tolist())
    return [value + low, value + high]


def _widened(losses: np.ndarray, worst: float) -> tuple[float, float]:
    """The 95 % interval of the mean loss of a row, its upper end with one more row that loses `worst`."""
    if len(losses) < FEWEST:
        return -worst, worst
    low, _ = mean_interval(losses.tolist())
    _, high = mean_interval([*losses.tolist(), worst])
    return low, high


def _between(interval: list[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.4g} to {interval[1]:.4g}, "


def _two_sided(outputs: np.ndarray) -> np.ndarray:
    return np.concatenate([1 - outputs, outputs], axis=1)


METRICS: dict[str, Metric] = {
    "binary": Metric(lambda outputs: (outputs[:, 0] >= YES).astype(np.int64), _share, _share_verdict, _two_sided),
    "multiclass": Metric(lambda outputs: outputs.argmax(1), _share, _share_verdict),
    "multilabel": Metric(lambda outputs: outputs >= YES, _micro_f1, _micro_f1_verdict, _two_sided),
    "regression": Metric(lambda outputs: outputs, _mae, _mae_verdict),
}
