"""Where a training computes: one processor, a GPU, or many processes; in 32 bits or mixed precision.

    lokma train tinyvgg --device auto --precision bf16-mixed
    torchrun --nproc-per-node 2 -m edge_runtime.cli train tinyvgg          # two processes, or GPUs; also many nodes

`train.fit` is the one loop and asks `current()` for what differs: each process takes its share of every batch, and
gradients are averaged, so that many processes learn what one does, but for the order of sums. Anything but one
process on the CPU goes through Lightning Fabric, which is imported only then. CUDA and MPS were never run.

>>> with computing("cpu") as compute:
...     compute.rank, compute.world, compute.words()["device"]
(0, 1, 'cpu')
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from edge_runtime.errors import BadRequest, Missing

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")  # Lightning's names


class Compute(Protocol):
    """What `fit` needs to know of where it runs."""

    rank: int  # of this process
    world: int  # processes

    def set_up(self, model: nn.Module, optimizer: Any) -> tuple[nn.Module, Any]:
        """The model on its device and in its processes, and the optimizer that steps it."""
        ...

    def place(self, what: Any) -> Any:
        """A tensor or a network on the device."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Gradients of a loss, averaged over processes."""
        ...

    def total(self, value: float) -> float:
        """The sum over all processes."""
        ...

    def same(self, value: Any) -> Any:
        """The first process's value, in every process."""
        ...

    def words(self) -> dict[str, Any]:
        """What a record says of it."""
        ...


class Here:
    """One process on the CPU."""

    rank, world = 0, 1

    def set_up(self, model: nn.Module, optimizer: Any) -> tuple[nn.Module, Any]:
        """Both as they are."""
        return model, optimizer

    def place(self, what: Any) -> Any:
        """It is there."""
        return what

    def backward(self, loss: Tensor) -> None:
        """Gradients of a loss."""
        loss.backward()

    def total(self, value: float) -> float:
        """The value as it is."""
        return value

    def same(self, value: Any) -> Any:
        """The value as it is."""
        return value

    def words(self) -> dict[str, Any]:
        """What a record says of it."""
        return {"device": "cpu", "precision": PRECISIONS[0], "processes": 1}


class Fabric:
    """A GPU, many processes, or mixed precision, by Lightning Fabric."""

    def __init__(self, device: str, precision: str, processes: int, nodes: int) -> None:
        try:
            from lightning_fabric import Fabric as Lightning
        except ModuleNotFoundError as error:
            raise Missing(f"{device} with {precision} needs {error.name}: pip install 'lokma[train]'") from error
        asked: dict[str, Any] = {"accelerator": device, "devices": processes // nodes, "num_nodes": nodes}
        asked["precision"] = precision
        if processes > 1:
            asked["strategy"] = "ddp"
        self.fabric = Lightning(**asked)
        self.fabric.launch()
        self.device, self.precision = device, precision
        self.rank, self.world = self.fabric.global_rank, self.fabric.world_size

    def set_up(self, model: nn.Module, optimizer: Any) -> tuple[nn.Module, Any]:
        """The model on its device and in its processes, and the optimizer that steps it."""
        network, stepped = self.fabric.setup(model, optimizer)
        return network, stepped

    def place(self, what: Any) -> Any:
        """A tensor or a network on the device."""
        return what.to(self.fabric.device)

    def backward(self, loss: Tensor) -> None:
        """Gradients of a loss, scaled where the precision needs it, averaged over processes."""
        self.fabric.backward(loss)

    def total(self, value: float) -> float:
        """The sum over all processes; MPS has no float64."""
        kind = torch.float32 if self.device == "mps" else torch.float64
        total: Any = self.fabric.all_reduce(self.place(torch.tensor(value, dtype=kind)), reduce_op="sum")
        return float(total)

    def same(self, value: Any) -> Any:
        """The first process's value, in every process."""
        return self.fabric.broadcast(value)

    def words(self) -> dict[str, Any]:
        """What a record says of it."""
        return {"device": self.device, "precision": self.precision, "processes": self.world}


_now: ContextVar[Compute] = ContextVar("compute")


def current() -> Compute:
    """Where the training that calls this computes."""
    return _now.get(None) or Here()


@contextlib.contextmanager
def computing(device: str = "auto", precision: str = PRECISIONS[0]) -> Iterator[Compute]:
    """Makes everything inside compute there, in as many processes as `torchrun` started.

    Raises:
        BadRequest: there is no such device or precision.
        Missing: the device is not here, or Lightning Fabric is not installed.
    """
    chosen = chosen_device(device)
    if precision not in PRECISIONS:
        raise BadRequest(f"there is no precision {precision!r}; known: {', '.join(PRECISIONS)}")
    world, local = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    plain = chosen == "cpu" and precision == PRECISIONS[0] and world == 1
    compute: Compute = Here() if plain else Fabric(chosen, precision, world, max(1, world // local))
    token = _now.set(compute)
    try:
        yield compute
    finally:
        _now.reset(token)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """At most so many threads of torch on the processor."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def chosen_device(name: str) -> str:
    """The device of that name; `auto` takes a GPU where there is one.

    Raises:
        BadRequest: there is no such name.
        Missing: there is no such device here.
    """
    if name not in DEVICES:
        raise BadRequest(f"there is no device {name!r}; known: {', '.join(DEVICES)}")
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(kind for kind, there in here.items() if there)
    if not here[name]:
        raise Missing(f"torch finds no {name} here; here are: {', '.join(k for k, there in here.items() if there)}")
    return name
