"""How right answers are: one judgement a task, each with n and a 95 % interval, and what was answered is kept.

Shares have Wilson intervals; what is no share (macro-F1, MAE, RMSE) is drawn again from its samples.

>>> found = judged("multiclass", [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1], ["pizza", "steak"])
>>> found["metric"], found["correct"], found["n"], found["per_class"]["steak"]["correct"]
('top-1', 2, 3, 1)
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from edge_runtime.measure import mean_interval, quantile, wilson

REPEATS = 1000
SEED = 0
Values = Sequence[Sequence[float]]


def judged(task: str, values: Values, truth: Sequence[Any], labels: Sequence[str]) -> dict[str, Any]:
    """The judgement of a task.

    Args:
        task: the spec's.
        values: a row of outputs a sample.
        truth: a class number a sample; of a regression or multilabel task a row of numbers.
        labels: their ids, in the order of the outputs.
    """
    return JUDGES[task](values, truth, labels)


def classes(values: Values, truth: Sequence[int], labels: Sequence[str]) -> dict[str, Any]:
    """Top-1, top-5, macro-F1 and each class; `probabilities` are the predicted labels' own."""
    ranked = [sorted(range(len(row)), key=lambda index: -row[index]) for row in values]
    predictions = [row[0] for row in ranked]
    right = sum(a == b for a, b in zip(predictions, truth, strict=True))
    found = _share(right, len(truth))
    per_class = {}
    for index, label in enumerate(labels):
        count = sum(true == index for true in truth)
        hits = sum(said == true == index for said, true in zip(predictions, truth, strict=True))
        per_class[label] = _share(hits, count) if count else {"value": None, "correct": 0, "n": 0, "interval": None}
    pairs = list(zip(predictions, truth, strict=True))
    return {
        "metric": "top-1",
        **found,
        "top5": _top5(ranked, truth),
        "macro_f1": _drawn(pairs, lambda drawn: macro_f1(drawn, len(labels))),
        "per_class": per_class,
        "predictions": predictions,
        "labels": list(truth),
        "probabilities": [round(max(row), 4) for row in values],
    }


def binary(values: Values, truth: Sequence[int], labels: Sequence[str]) -> dict[str, Any]:
    """One probability, of the second label, as two."""
    return classes([(1 - row[0], row[0]) for row in values], truth, labels)


def several(values: Values, truth: Sequence[Sequence[float]], labels: Sequence[str]) -> dict[str, Any]:
    """Any number of labels: macro-F1 over the labels, the share of samples with every label right, each label."""
    said = [[int(value >= 0.5) for value in row] for row in values]
    true = [[int(value) for value in row] for row in truth]
    rows = list(zip(said, true, strict=True))
    whole = sum(a == b for a, b in rows)
    per_class = {
        label: _share(sum(a[index] == b[index] for a, b in rows), len(rows)) for index, label in enumerate(labels)
    }
    return {
        "metric": "macro-F1",
        **_drawn(rows, lambda drawn: _label_f1(drawn, len(labels))),
        "n": len(rows),
        "all_labels_right": _share(whole, len(rows)),
        "per_class": per_class,
        "predictions": said,
        "labels": true,
    }


def numbers(values: Values, truth: Sequence[Sequence[float]], labels: Sequence[str]) -> dict[str, Any]:
    """MAE and RMSE, in the output's unit, over all outputs."""
    del labels
    errors = [[abs(a - b) for a, b in zip(row, true, strict=True)] for row, true in zip(values, truth, strict=True)]
    return {
        "metric": "MAE",
        **_drawn(errors, lambda drawn: statistics.fmean(value for row in drawn for value in row)),
        "n": len(errors),
        "rmse": _drawn(
            errors, lambda drawn: math.sqrt(statistics.fmean(value * value for row in drawn for value in row))
        ),
        "predictions": [[round(value, 6) for value in row] for row in values],
        "labels": [list(row) for row in truth],
    }


def returns(found: Sequence[float], bounds: tuple[float, float]) -> dict[str, Any]:
    """The mean episodic return of a policy; `bounds` are the least and the most that an episode can give."""
    low, high = mean_interval(found, bounds)
    return {
        "metric": "episodic return",
        "value": statistics.fmean(found),
        "n": len(found),
        "interval": [low, high],
        "returns": list(found),
    }


def macro_f1(pairs: Sequence[tuple[int, int]], count: int) -> float:
    """The mean over classes of 2 TP / (2 TP + FP + FN), 0 for one that neither was said nor was true.

    >>> macro_f1([(0, 0), (1, 1), (1, 0)], 2)
    0.6666666666666666
    """
    said, true, both = [0] * count, [0] * count, [0] * count
    for one, other in pairs:
        said[one] += 1
        true[other] += 1
        both[one] += one == other
    return statistics.fmean(2 * b / max(1, s + t) for b, s, t in zip(both, said, true, strict=True))


def _label_f1(rows: Sequence[tuple[Sequence[int], Sequence[int]]], count: int) -> float:
    scores = []
    for index in range(count):
        both = sum(a[index] and b[index] for a, b in rows)
        scores.append(2 * both / max(1, sum(a[index] + b[index] for a, b in rows)))
    return statistics.fmean(scores)


def _top5(ranked: Sequence[Sequence[int]], truth: Sequence[int]) -> dict[str, Any] | None:
    """None below six classes, where it is always right."""
    if not ranked or len(ranked[0]) <= 5:
        return None
    return _share(sum(true in row[:5] for row, true in zip(ranked, truth, strict=True)), len(truth))


def _share(right: int, n: int) -> dict[str, Any]:
    return {"value": right / n, "correct": right, "n": n, "interval": list(wilson(right, n))}


def _drawn(samples: Sequence[Any], score: Callable[[Sequence[Any]], float]) -> dict[str, Any]:
    """A score with its 95 % interval: samples drawn again, with replacement, seeded.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile intervals).
    """
    draw = random.Random(SEED)
    repeats = max(100, min(REPEATS, 2_000_000 // len(samples)))  # ten thousand rows need not take a minute
    boots = [score(draw.choices(samples, k=len(samples))) for _ in range(repeats)]
    return {"value": score(samples), "interval": [quantile(boots, 0.025), quantile(boots, 0.975)]}


JUDGES: dict[str, Callable[[Values, Sequence[Any], Sequence[str]], dict[str, Any]]] = {
    "binary": binary,
    "multiclass": classes,
    "multilabel": several,
    "regression": numbers,
}
