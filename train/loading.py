"""Pictures from disk as batches, in their order: decoded by other processes where there are many of them.

So the next batch is decoded while a backbone looks at this one. How many processes, how far ahead and whether the
batches lie in pinned memory is set from the machine; what comes out is the same, to the bit, without any.

>>> workers(40, 1)
0
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from edge_runtime.errors import BadInput, BadRequest
from edge_runtime.preprocess import open_picture
from edge_runtime.spec import ImageSpec
from train.devices import current
from train.views import View, pixels_of

BATCH = 32
FEW = 4 * BATCH  # pictures; so many are decoded before a process that would help has started and ended
AHEAD = 2  # batches that each process decodes before they are asked for
SHARED = Path("/dev/shm")  # where they wait; in containers it is often 64 MB small


@dataclass(frozen=True)
class Batch:
    """Pictures that could be read, by their `numbers`: uint8 (n, crop, crop, 3); what the others have, in words."""

    numbers: list[int]
    pixels: Tensor
    problems: list[str]

    def pin_memory(self) -> Batch:
        """The same in memory from which a GPU copies at once; the loader calls it."""
        return Batch(self.numbers, self.pixels.pin_memory(), self.problems)


@dataclass(frozen=True)
class Decoded:
    """What the loader asks for pictures by their number."""

    paths: Sequence[Path]
    image: ImageSpec
    view: View

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[int, bytes, str]:
        try:
            picture = open_picture(self.paths[number], self.image, exact=True)
            return number, pixels_of(picture, self.image, self.view, number), ""
        except BadInput as error:
            return number, b"", str(error)

    def together(self, found: Sequence[tuple[int, bytes, str]]) -> Batch:
        """One batch of what was found."""
        good = [(number, pixels) for number, pixels, problem in found if not problem]
        shape = (len(good), self.image.crop, self.image.crop, 3)
        pixels = torch.from_numpy(np.frombuffer(bytearray(b"".join(one for _, one in good)), np.uint8).reshape(shape))
        return Batch([number for number, _ in good], pixels, [problem for *_, problem in found if problem])


def loaded(paths: Sequence[Path], image: ImageSpec, view: View) -> Iterator[Batch]:
    """Decodes pictures exactly as the runtime does with `exact=True`, in their order.

    Raises:
        BadRequest: a process that decodes was killed, as for want of memory.
    """
    count = workers(len(paths), image.crop)
    decoded = Decoded(paths, image, view)
    loader: DataLoader[Any] = DataLoader(
        decoded,  # type: ignore[arg-type]  # it is what a Dataset is, without the base class
        BATCH,
        num_workers=count,
        prefetch_factor=AHEAD if count else None,
        pin_memory=torch.cuda.is_available(),
        collate_fn=decoded.together,
        generator=torch.Generator(),  # the loader draws a seed: not from the numbers that fix a training
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise BadRequest(f"a process that decodes pictures was killed, perhaps for want of memory: {error}") from error


def cores() -> int:
    """Processor cores that are this process's; with `torchrun`, its share of the machine's."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, here // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def workers(pictures: int, side: int) -> int:
    """How many processes decode so many pictures of this size beside the one that takes them.

    A backbone on the processor needs four times as long for a picture as its decoding takes, or more; a GPU less.
    """
    if pictures < FEW:
        return 0
    wanted = max(1, cores() // 4 if current().words()["device"] == "cpu" else cores() - 1)
    if not SHARED.is_dir():
        return wanted
    return min(wanted, shutil.disk_usage(SHARED).free // (2 * AHEAD * BATCH * 3 * side * side))


def threads_left(pictures: int, side: int) -> int:
    """How many threads whoever takes the pictures may use, so that all cores have work and none has two jobs.

    Of two cores it gets both: their one helper sleeps for most of the time.
    """
    return max(2, cores() - workers(pictures, side))
