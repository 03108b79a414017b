"""The one training loop of every supervised recipe, and the evaluation that goes with it.

>>> from train.tasks import TASKS
>>> _ = torch.manual_seed(0)
>>> x = torch.randn(64, 4)
>>> data = Batches(x, (x[:, 0] > 0).long(), batch_size=16, seed=0)
>>> model = torch.nn.Linear(4, 2)
>>> fit(model, data, TASKS["multiclass"], torch.optim.Adam(model.parameters(), lr=0.1), epochs=10)
>>> evaluate(model, data, TASKS["multiclass"]).metric > 0.95
True
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from edge_runtime.errors import BadData
from train.tasks import Task

Log = Callable[[Mapping[str, Any]], None]


class Batches:
    """Tensors in memory as batches, shuffled anew each pass by a generator of their own.

    `augment` changes a batch of inputs; it gets the same generator, so that a seed fixes it too.
    """

    def __init__(
        self,
        inputs: Tensor,
        targets: Tensor,
        batch_size: int,
        seed: int,
        augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    ) -> None:
        self.inputs, self.targets, self.batch_size, self.augment = inputs, targets, batch_size, augment
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return math.ceil(len(self.inputs) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.inputs), generator=self.generator)
        for rows in order.split(self.batch_size):
            inputs = self.inputs[rows]
            yield (self.augment(inputs, self.generator) if self.augment else inputs), self.targets[rows]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Small layers on one thread: a second one costs more than it saves, most on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Evaluation:
    """Sums over `n` samples, and their means; `scores` are those of the task's table, such as F1 or R2."""

    loss_sum: float
    metric_sum: float
    n: int
    scores: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """Mean loss of a sample."""
        return self.loss_sum / self.n

    @property
    def metric(self) -> float:
        """Mean metric of a sample: the accuracy, or the absolute error."""
        return self.metric_sum / self.n


def fit(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    task: Task,
    optimizer: Optimizer,
    epochs: int,
    schedule: LRScheduler | None = None,
    log: Log | None = None,
) -> None:
    """Trains `model` in place.

    Args:
        model: takes the inputs of a batch, gives raw outputs.
        batches: gives (inputs, targets) and can be iterated once an epoch.
        task: a row of `TASKS`.
        optimizer: holds the parameters to train.
        epochs: passes over the batches.
        schedule: stepped after every batch.
        log: called after each epoch with epoch, epochs, loss, the metric and seconds.

    Raises:
        BadData: the loss is no longer a number, or a target does not fit the model's outputs, as a label beyond its
            head; the message names the epoch and the batch.
    """
    start = time.perf_counter()
    for epoch in range(1, epochs + 1):
        model.train()
        loss_sum, metric_sum, n = 0.0, 0.0, 0
        for number, (inputs, targets) in enumerate(batches, 1):
            outputs = model(inputs)
            if epoch == 1:  # in which every sample comes once
                _refuse_misfit(outputs, targets, task, f"epoch 1, batch {number}")
            loss = task.loss(outputs, targets)
            if not torch.isfinite(loss):
                raise BadData(
                    f"the loss is {float(loss.detach())} in epoch {epoch}, batch {number}; "
                    "look at that batch, or lower the learning rate"
                )
            optimizer.zero_grad()
            (loss / len(targets)).backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
            loss_sum += float(loss.detach())
            metric_sum += float(task.metric(outputs.detach(), targets))
            n += len(targets)
        if log is not None:
            seconds = round(time.perf_counter() - start, 3)
            scores = {"loss": loss_sum / n, task.metric_name: metric_sum / n}
            log({"epoch": epoch, "epochs": epochs, **scores, "seconds": seconds})
    model.eval()


def evaluate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], task: Task) -> Evaluation:
    """Loss, metric and scores of `model` in eval mode, from sums over all samples.

    Raises:
        BadData: a target does not fit the model's outputs; the message names the batch.
    """
    model.eval()
    loss_sum, metric_sum, n = 0.0, 0.0, 0
    counts = torch.zeros((), dtype=torch.float64)
    with torch.inference_mode():
        for number, (inputs, targets) in enumerate(batches, 1):
            outputs = model(inputs)
            _refuse_misfit(outputs, targets, task, f"batch {number}")
            loss_sum += float(task.loss(outputs, targets))
            metric_sum += float(task.metric(outputs, targets))
            counts = counts + task.counts(outputs, targets).cpu()
            n += len(targets)
    return Evaluation(loss_sum, metric_sum, n, task.scores(counts) if n else {})


def _refuse_misfit(outputs: Tensor, targets: Tensor, task: Task, where: str) -> None:
    problem = task.misfit(outputs, targets)
    if problem:
        raise BadData(f"{problem} ({where})")
