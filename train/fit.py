"""The one training loop of every supervised recipe, and the evaluation that goes with it.

>>> from train.tasks import TASKS
>>> _ = torch.manual_seed(0)
>>> x = torch.randn(64, 4)
>>> data = Batches(x, (x[:, 0] > 0).long(), batch_size=16, seed=0)
>>> model = torch.nn.Linear(4, 2)
>>> fit(model, data, TASKS["multiclass"], torch.optim.Adam(model.parameters(), lr=0.1), epochs=10)
>>> evaluate(model, data, TASKS["multiclass"]).scores["accuracy"] > 0.95
True
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from edge_runtime.errors import BadData
from train.checkpoint import random_states, set_random_states
from train.devices import current, threads
from train.tasks import Task

if TYPE_CHECKING:
    from train.draft import Draft

Log = Callable[[Mapping[str, Any]], None]


class Resumable(Protocol):
    """Batches that can say where they are, and go on from there."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Gives (inputs, targets); a new pass each time."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Where the pass is after the last batch that was given."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Makes the next pass the rest of the one that `state` is from."""
        ...


class Batches:
    """Tensors in memory as batches, shuffled anew each pass by a generator of their own.

    `augment` changes a batch of inputs; it gets the same generator, so that a seed fixes it too.

    What a recipe trains on lies in memory, as rows, as a frozen backbone's features (5 kB a picture) or as uint8 pixels
    (FashionMNIST's 60,000: 141 MB), and a batch is one indexing: nothing that workers could do sooner. They decode the
    pictures before the first epoch (`train.loading`).
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
        self.order, self.given = torch.arange(0), 0  # of the pass that is on: all rows, and how many were given
        self.goes_on = False

    def __len__(self) -> int:
        return math.ceil(len(self.inputs) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if not self.goes_on:
            self.order, self.given = torch.randperm(len(self.inputs), generator=self.generator), 0
        self.goes_on = False
        while self.given < len(self.order):
            rows = self.order[self.given : self.given + self.batch_size]
            self.given += len(rows)
            inputs = self.inputs[rows]
            yield (self.augment(inputs, self.generator) if self.augment else inputs), self.targets[rows]

    def state_dict(self) -> dict[str, Any]:
        """The order of this pass, how much of it was given, and the generator."""
        return {"order": self.order, "given": self.given, "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Makes the next pass the rest of the one that `state` is from."""
        self.order, self.given, self.goes_on = state["order"], state["given"], True
        self.generator.set_state(state["generator"])


def one_thread() -> contextlib.AbstractContextManager[None]:
    """Small layers on one thread: a second one costs more than it saves, most on a busy machine."""
    return threads(1)


@dataclass(frozen=True)
class Evaluation:
    """The mean loss of `n` samples, their `scores` by the task's table, and of classes the confusion matrix."""

    loss: float
    n: int
    scores: Mapping[str, Any]  # a number, or None where the samples do not give it
    confusion: Sequence[Sequence[float]]

    @property
    def correct(self) -> int:
        """How many samples' classes were answered rightly."""
        return int(sum(row[place] for place, row in enumerate(self.confusion)))


def fit(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    task: Task,
    optimizer: Optimizer,
    epochs: int,
    schedule: LRScheduler | None = None,
    log: Log | None = None,
    draft: Draft | None = None,
    stage: str = "fit",
) -> None:
    """Trains `model` in place.

    Args:
        model: takes the inputs of a batch, gives raw outputs.
        batches: gives (inputs, targets) and can be iterated once an epoch; with a draft they are `Resumable`.
        task: a row of `TASKS`.
        optimizer: holds the parameters to train.
        epochs: passes over the batches.
        schedule: stepped after every batch.
        log: called after each epoch with epoch, epochs, loss, the metric and seconds.
        draft: the run that is written: its history gets the same rows, and its checkpoints let a fit that was cut
            off go on, to the same weights.
        stage: what its checkpoints are called; a recipe that fits twice into one draft gives each a name.

    Raises:
        BadData: the loss is no longer a number, or a target does not fit the model's outputs, as a label beyond its
            head; the message names the epoch and the batch.
    """
    compute = current()
    # pictures with their channels last: convolutions are more than twice as fast on a processor, others do not care
    model.to(memory_format=torch.channels_last)
    kept = compute.same(draft.kept(stage) if draft is not None else None)
    at = _resumed(kept, model, batches, optimizer, schedule) if kept else Progress()
    network, stepped = compute.set_up(model, optimizer)
    start = time.perf_counter() - at.seconds
    for epoch in range(at.epoch, epochs + 1):
        model.train()
        at.epoch = epoch
        for inputs, targets in batches:
            at.batch += 1
            size = len(targets)
            inputs, targets = (compute.place(one[compute.rank :: compute.world]) for one in (inputs, targets))
            with _memory_named(size, epoch, at.batch):
                outputs = network(inputs.contiguous(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs)
            if epoch == 1:  # in which every sample comes once
                _refuse_misfit(outputs, targets, task, f"epoch 1, batch {at.batch}")
            loss = task.loss(outputs, targets)
            if not torch.isfinite(loss):
                raise BadData(
                    f"the loss is {float(loss.detach())} in epoch {epoch}, batch {at.batch}; "
                    "look at that batch, or lower the learning rate"
                )
            stepped.zero_grad()
            with _memory_named(size, epoch, at.batch):
                compute.backward(loss * (compute.world / size))  # of processes the mean is taken: so it is the batch's
            stepped.step()
            if schedule is not None:
                schedule.step()
            at.loss_sum += float(loss.detach())
            at.decided.append([part.cpu() for part in task.decide(outputs.detach(), targets)])
            at.n += size
            if draft is not None and draft.due():
                at.seconds, at.decided = time.perf_counter() - start, [at.all_decided()]
                draft.keep(stage, _state(at, model, batches, optimizer, schedule))
        metric = compute.place(task.metric())
        metric.update(*map(compute.place, at.all_decided()))
        scores = {"loss": compute.total(at.loss_sum) / at.n, task.metric_name: float(metric.compute())}
        row = {"epoch": epoch, "epochs": epochs, **scores, "seconds": round(time.perf_counter() - start, 3)}
        for told in (log, draft.log if draft is not None else None):
            if told is not None:
                told(row)
        at = Progress(epoch + 1, seconds=at.seconds)
    model.eval().cpu()


@contextlib.contextmanager
def _memory_named(size: int, epoch: int, batch: int) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        where = f"epoch {epoch}, batch {batch}"
        raise BadData(
            f"{size} samples do not fit into memory in {where}; try --batch-size {max(1, size // 2)}"
        ) from error


@dataclass
class Progress:
    """Where a fit is: the epoch, and in it the batches done, what was decided in each, and sums over samples."""

    epoch: int = 1
    batch: int = 0
    loss_sum: float = 0.0
    n: int = 0
    seconds: float = 0.0
    decided: list[list[Tensor]] = field(default_factory=list)

    def all_decided(self) -> list[Tensor]:
        """Decisions and targets, each as one tensor."""
        return [torch.cat(part) for part in zip(*self.decided, strict=True)]


def _state(at: Progress, model: nn.Module, batches: Any, optimizer: Any, schedule: Any) -> dict[str, Any]:
    """All that decides the rest of a fit."""
    return {
        "progress": asdict(at),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict() if schedule is not None else None,
        "batches": batches.state_dict(),
        "random": random_states(),
    }


def _resumed(kept: Mapping[str, Any], model: nn.Module, batches: Any, optimizer: Any, schedule: Any) -> Progress:
    model.load_state_dict(kept["model"])
    optimizer.load_state_dict(kept["optimizer"])
    for parameter, state in optimizer.state.items():  # in memory as the parameter is: the last bit may depend on it
        like = {
            name: value for name, value in state.items() if torch.is_tensor(value) and value.shape == parameter.shape
        }
        state.update({name: torch.empty_like(parameter).copy_(value) for name, value in like.items()})
    if schedule is not None:
        schedule.load_state_dict(kept["schedule"])
    batches.load_state_dict(kept["batches"])
    set_random_states(kept["random"])
    return Progress(**kept["progress"])


def evaluate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], task: Task) -> Evaluation:
    """Loss and scores of `model` in eval mode, over all samples.

    Raises:
        BadData: a target does not fit the model's outputs; the message names the batch.
    """
    compute = current()
    network = compute.place(model.eval())
    loss_sum, seen = 0.0, []
    with torch.inference_mode():
        for number, (inputs, targets) in enumerate(batches, 1):
            outputs = network(compute.place(inputs)).cpu()
            _refuse_misfit(outputs, targets, task, f"batch {number}")
            loss_sum += float(task.loss(outputs, targets))
            seen.append((outputs, targets))
        outputs, targets = map(torch.cat, zip(*seen, strict=True))
        scores, confusion = task.judge(outputs, targets)
    model.cpu()
    return Evaluation(loss_sum / len(targets), len(targets), scores, confusion)


def _refuse_misfit(outputs: Tensor, targets: Tensor, task: Task, where: str) -> None:
    problem = task.misfit(outputs, targets)
    if problem:
        raise BadData(f"{problem} ({where})")
