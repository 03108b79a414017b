"""What a task trains on and is judged by, as a table: loss, last activation, metrics.

A loss is a sum over samples: a mean of batch means would weigh a small last batch too much. The metrics are
torchmetrics', whose states are such sums. They get decisions, not logits: a batch of logits that all lie between 0
and 1 it would take for probabilities.

>>> import torch
>>> outputs, targets = torch.tensor([[1.0, 1.0], [-1.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
>>> TASKS["multilabel"].judge(outputs, targets)
({'accuracy': 0.75, 'macro_f1': 0.8333333333333333, 'micro_f1': 0.8}, [])
>>> TASKS["multiclass"].judge(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0]))
({'accuracy': 0.5, 'macro_f1': 0.3333333333333333}, [[1.0, 1.0], [0.0, 0.0]])
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryConfusionMatrix,
    BinaryF1Score,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MultilabelF1Score,
)
from torchmetrics.regression import MeanAbsoluteError, NormalizedRootMeanSquaredError


@dataclass(frozen=True)
class Task:
    """A row: `loss` takes raw outputs and targets and gives a sum over the samples.

    `activation` names what export puts behind the model. `decide` makes of raw outputs and targets what metrics
    compare: `metric`, called `metric_name`, is that of an epoch, in which all processes' samples count, and `metrics`
    are all of them, for so many outputs. `misfit` says why such outputs cannot learn such targets, "" where they can.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    activation: str
    decide: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    metric: Callable[[], Metric]
    metric_name: str
    metrics: Callable[[int], MetricCollection]
    misfit: Callable[[Tensor, Tensor], str]

    def judge(self, outputs: Tensor, targets: Tensor) -> tuple[dict[str, float | None], list[list[float]]]:
        """The scores of all samples, and their confusion matrix: a row a true class, a column an answer.

        A score is None where the samples do not give it; only classes have a matrix.
        """
        metrics = self.metrics(outputs.shape[1]).set_dtype(torch.float64)
        metrics.update(*self.decide(outputs.double(), targets))
        found = metrics.compute()
        matrix = found.pop("confusion", torch.empty(0)).tolist()
        return {name: float(value.mean()) if value.isfinite().all() else None for name, value in found.items()}, matrix


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets, reduction="sum")


def _binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    per_value = functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
    return per_value.flatten(1).mean(1).sum()


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().flatten(1).mean(1).sum()


def _classes(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return outputs.argmax(1), targets


def _labels(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return (outputs > 0).long(), (targets > 0.5).long()


def _numbers(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return outputs, targets


# of one process: each evaluates all samples, and `misfit` has looked at them
HERE: dict[str, Any] = {"sync_on_compute": False, "validate_args": False}


def _binary_metrics(_: int) -> MetricCollection:
    return MetricCollection(
        {"accuracy": BinaryAccuracy(**HERE), "f1": BinaryF1Score(**HERE), "confusion": BinaryConfusionMatrix(**HERE)}
    )


def _class_metrics(classes: int) -> MetricCollection:
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(classes, average="micro", **HERE),
            "macro_f1": MulticlassF1Score(classes, average="macro", **HERE),
            "confusion": MulticlassConfusionMatrix(classes, **HERE),
        }
    )


def _label_metrics(labels: int) -> MetricCollection:
    return MetricCollection(
        {
            "accuracy": BinaryAccuracy(**HERE),
            "micro_f1": MultilabelF1Score(labels, average="micro", **HERE),
            "macro_f1": MultilabelF1Score(labels, average="macro", **HERE),
        }
    )


def _number_metrics(outputs: int) -> MetricCollection:
    """MAE, and R2 by its definition: torchmetrics' R2Score takes sums of squares below 1e-4 for 0."""
    error = NormalizedRootMeanSquaredError("std", num_outputs=outputs, sync_on_compute=False)
    return MetricCollection({"mae": MeanAbsoluteError(sync_on_compute=False), "r2": 1 - error**2})


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


_share_right = partial(BinaryAccuracy, validate_args=False)

TASKS: dict[str, Task] = {
    "binary": Task(
        loss=_binary_cross_entropy, activation="sigmoid", decide=_labels,
        metric=_share_right, metric_name="accuracy", metrics=_binary_metrics, misfit=_no_labels,
    ),
    "multiclass": Task(
        loss=_cross_entropy, activation="softmax", decide=_classes,
        metric=partial(MulticlassAccuracy, average="micro", validate_args=False), metric_name="accuracy",
        metrics=_class_metrics, misfit=_no_class,
    ),
    "multilabel": Task(
        loss=_binary_cross_entropy, activation="sigmoid", decide=_labels,
        metric=_share_right, metric_name="accuracy", metrics=_label_metrics, misfit=_no_labels,
    ),
    "regression": Task(
        loss=_squared_error, activation="identity", decide=_numbers,
        metric=MeanAbsoluteError, metric_name="mae", metrics=_number_metrics, misfit=_no_numbers,
    ),
}  # fmt: skip
