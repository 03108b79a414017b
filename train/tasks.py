"""What a task trains on and is judged by, as a table: loss, last activation, metrics.

Losses and metrics are sums over samples: a mean of batch means would weigh a small last batch too much. `counts`
are such sums too, and `scores` reads from them what no mean over samples gives: F1, R2. Each is a line or
two here, and tests hold it against scikit-learn's; a library of metrics would bring states of its own for it.

>>> import torch
>>> right = TASKS["multiclass"].metric(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0]))
>>> float(right)
1.0
>>> task = TASKS["multilabel"]
>>> task.scores(task.counts(torch.tensor([[1.0, 1.0], [-1.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])))
{'accuracy': 0.75, 'micro_f1': 0.8, 'macro_f1': 0.8333333333333333}
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Task:
    """A row: `loss` and `metric` take raw outputs and targets and give sums over the samples.

    `activation` names what export puts behind the model. `counts` are float64 sums that add up over batches, and
    `scores` reads them; a score is None where the samples do not give it. `misfit` says why such targets cannot be
    learned by such outputs, "" where they can.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    metric: Callable[[Tensor, Tensor], Tensor]
    metric_name: str
    activation: str
    counts: Callable[[Tensor, Tensor], Tensor]
    scores: Callable[[Tensor], dict[str, float | None]]
    misfit: Callable[[Tensor, Tensor], str]


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets, reduction="sum")


def _binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    per_value = functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
    return per_value.flatten(1).mean(1).sum()


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().flatten(1).mean(1).sum()


def _right_class(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(1) == targets).sum()


def _right_labels(outputs: Tensor, targets: Tensor) -> Tensor:
    return ((outputs > 0) == (targets > 0.5)).flatten(1).float().mean(1).sum()


def _absolute_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).abs().flatten(1).mean(1).sum()


def confusion(outputs: Tensor, targets: Tensor) -> Tensor:
    """The confusion matrix (classes, classes) of raw outputs: a row a true class, a column an answer."""
    classes = outputs.shape[1]
    cells = targets * classes + outputs.argmax(1)
    return torch.bincount(cells, minlength=classes * classes).reshape(classes, classes).double()


def _label_counts(outputs: Tensor, targets: Tensor) -> Tensor:
    """Rightly yes, wrongly yes, wrongly no, rightly no: (4, labels)."""
    said, true = outputs > 0, targets > 0.5
    return torch.stack([(said & true).sum(0), (said & ~true).sum(0), (~said & true).sum(0), (~said & ~true).sum(0)]
                       ).double()  # fmt: skip


def _errors(outputs: Tensor, targets: Tensor) -> Tensor:
    """Samples, and the sums of |error|, error², target and target²: (5, outputs)."""
    outputs, targets = outputs.double(), targets.double()
    error = outputs - targets
    rows = [torch.ones_like(error), error.abs(), error.square(), targets, targets.square()]
    return torch.stack([row.sum(0) for row in rows])


def _class_scores(matrix: Tensor) -> dict[str, float | None]:
    right, said, true = matrix.diagonal(), matrix.sum(0), matrix.sum(1)
    f1 = _f1(right, said - right, true - right)
    return {"accuracy": float(right.sum() / matrix.sum()), "macro_f1": float(f1.mean())}


def _label_scores(counts: Tensor) -> dict[str, float | None]:
    yes, wrong_yes, wrong_no, no = counts
    micro = _f1(yes.sum(), wrong_yes.sum(), wrong_no.sum())
    accuracy = float((yes + no).sum() / counts.sum())
    return {"accuracy": accuracy, "micro_f1": float(micro), "macro_f1": float(_f1(yes, wrong_yes, wrong_no).mean())}


def _binary_scores(counts: Tensor) -> dict[str, float | None]:
    scores = _label_scores(counts)
    return {"accuracy": scores["accuracy"], "f1": scores["micro_f1"]}


def _number_scores(sums: Tensor) -> dict[str, float | None]:
    """MAE, and R2 as the mean over the outputs; R2 is None where all targets are equal: it would divide by 0."""
    n, absolute, squared, targets, targets_squared = sums
    spread = targets_squared - targets.square() / n
    r2 = 1 - squared / spread
    known = bool((spread > 1e-12 * targets_squared).all())
    return {"mae": float((absolute / n).mean()), "r2": float(r2.mean()) if known else None}


def _f1(yes: Tensor, wrong_yes: Tensor, wrong_no: Tensor) -> Tensor:
    """2 TP / (2 TP + FP + FN), and 0 where a label neither was true nor was said, as scikit-learn has it."""
    return 2 * yes / (2 * yes + wrong_yes + wrong_no).clamp(min=1)


def _no_class(outputs: Tensor, targets: Tensor) -> str:
    if targets.dtype != torch.int64 or targets.ndim != 1:
        return f"targets are {targets.dtype} {tuple(targets.shape)}; class numbers are int64 (n,)"
    beyond = targets[(targets < 0) | (targets >= outputs.shape[1])]
    return f"label {int(beyond[0])} is beyond the head, which has {outputs.shape[1]} outputs" if len(beyond) else ""


def _no_labels(outputs: Tensor, targets: Tensor) -> str:
    odd = targets[(targets < 0) | (targets > 1)]
    return _no_numbers(outputs, targets) or (f"target {float(odd[0])} is neither 0 nor 1" if len(odd) else "")


def _no_numbers(outputs: Tensor, targets: Tensor) -> str:
    if outputs.shape == targets.shape:
        return ""
    # torch would broadcast (n,) against (n, 1) to (n, n), and learn nothing
    return f"targets are {tuple(targets.shape)}, and the head gives {tuple(outputs.shape)}"


TASKS: dict[str, Task] = {
    "binary": Task(
        loss=_binary_cross_entropy, metric=_right_labels, metric_name="accuracy", activation="sigmoid",
        counts=_label_counts, scores=_binary_scores, misfit=_no_labels,
    ),
    "multiclass": Task(
        loss=_cross_entropy, metric=_right_class, metric_name="accuracy", activation="softmax",
        counts=confusion, scores=_class_scores, misfit=_no_class,
    ),
    "multilabel": Task(
        loss=_binary_cross_entropy, metric=_right_labels, metric_name="accuracy", activation="sigmoid",
        counts=_label_counts, scores=_label_scores, misfit=_no_labels,
    ),
    "regression": Task(
        loss=_squared_error, metric=_absolute_error, metric_name="absolute_error", activation="identity",
        counts=_errors, scores=_number_scores, misfit=_no_numbers,
    ),
}  # fmt: skip
