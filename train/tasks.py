"""What a task trains on and is judged by, as a table: loss and metric.

Losses and metrics are sums over samples: a mean of batch means would weigh a small last batch too much.

>>> import torch
>>> right = TASKS["multiclass"].metric(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0]))
>>> float(right)
1.0
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Task:
    """A row: `loss` and `metric` take raw outputs and targets and give sums over the samples."""

    loss: Callable[[Tensor, Tensor], Tensor]
    metric: Callable[[Tensor, Tensor], Tensor]
    metric_name: str


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


TASKS: dict[str, Task] = {
    "binary": Task(_binary_cross_entropy, _right_labels, "accuracy"),
    "multiclass": Task(_cross_entropy, _right_class, "accuracy"),
    "multilabel": Task(_binary_cross_entropy, _right_labels, "accuracy"),
    "regression": Task(_squared_error, _absolute_error, "absolute_error"),
}
