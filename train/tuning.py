"""Fine-tuning: more of a pretrained backbone than its head learns, from the pictures themselves.

The head comes first, on the frozen backbone's features, and fine-tuning goes on from there, as Kumar et al.,
*Fine-Tuning can Distort Pretrained Features* (2022), have it: a head that knows nothing yet would pull the backbone
towards noise. All of it learns, or its last third (`WHAT`); what lies below keeps its weights.

>>> from train.models import EfficientNetLite
>>> model = EfficientNetLite(classes=3, image_size=32)
>>> [sum(p.numel() for p in learners(model, what)) for what in WHAT]
[3843, 2844323, 3374851]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_runtime.errors import BadData
from edge_runtime.spec import ImageSpec, Normalise
from train.data import Example, pictures
from train.fit import Batches, Log, fit
from train.tasks import Task
from train.views import View

if TYPE_CHECKING:
    from train.draft import Draft

WHAT = ("head", "last", "all")
LAST = 1 / 3  # of the blocks
PULL = 0.05  # AdamW's, on all that learns


@dataclass(frozen=True)
class Tuning:
    """How a backbone is tuned; AdamW's first step size falls to 0 along a cosine."""

    what: str
    task: Task
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int


class Still(nn.Module):
    """A network whose batch norms keep their statistics while it learns, and which drops nothing.

    ImageNet's statistics are those of a million pictures, a batch's those of sixteen.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval()

    def train(self, _mode: bool = True) -> Still:
        """Stays as it is."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        """What the network gives."""
        return self.network(x)


class Viewed:
    """Makes a batch of pictures in several views one of a view each, drawn at random, and normalises it."""

    def __init__(self, normalise: Normalise) -> None:
        self.mean, self.std = (torch.tensor(one)[:, None, None] for one in (normalise.mean, normalise.std))

    def __call__(self, pixels: Tensor, chance: torch.Generator) -> Tensor:
        """Uint8 (batch, views, 3, height, width) to float32 (batch, 3, height, width)."""
        chosen = torch.randint(pixels.shape[1], (len(pixels),), generator=chance)
        return (pixels[torch.arange(len(pixels)), chosen].float() - self.mean) / self.std


def learners(model: Any, what: str) -> list[nn.Parameter]:
    """The parameters that learn: those of the classifier, of the last third of the blocks and all after, or all.

    Args:
        model: its parts were registered in the order in which a picture passes them; `blocks` are its blocks, and
            `classifier` is its head.
        what: one of `WHAT`.
    """
    blocks = model.blocks
    first = {"head": model.classifier, "last": blocks[-math.ceil(LAST * len(blocks))], "all": model}[what]
    every = list(model.parameters())
    start = next(place for place, one in enumerate(every) if one is next(first.parameters()))
    return every[start:]


def seen_pixels(examples: Sequence[Example], image: ImageSpec, views: Sequence[View]) -> tuple[Tensor, Tensor]:
    """Every view of every picture, in memory.

    Returns:
        Uint8 (n, views, 3, crop, crop) and int64 labels (n,); damaged pictures are left out, see `train.data.pictures`.

    Raises:
        BadData: they do not fit into memory.
    """
    shape = (len(examples), len(views), image.crop, image.crop, 3)
    try:
        pixels = np.empty(shape, np.uint8)
    except MemoryError as error:
        size = f"{math.prod(shape) / 1e9:.1f} GB"
        raise BadData(
            f"{len(examples)} pictures in {len(views)} views take {size} of memory; try --augment none, or --tune head"
        ) from error
    labels: list[int] = []
    for place, view in enumerate(views):
        labels = []
        for example, one in pictures(examples, image, view):
            pixels[len(labels), place] = one
            labels.append(example.label)
    return torch.from_numpy(pixels[: len(labels)]).permute(0, 1, 4, 2, 3), torch.tensor(labels)


def tune(
    model: nn.Module,
    pixels: Tensor,
    labels: Tensor,
    normalise: Normalise,
    how: Tuning,
    log: Log | None = None,
    draft: Draft | None = None,
    stage: str = "tune",
) -> None:
    """Trains a network with a trained head in place.

    Args:
        model: see `learners`.
        pixels: uint8 (n, views, 3, crop, crop); each epoch shows one view of every picture.
        labels: int64 (n,).
        normalise: what the network's pictures are normalised by.
        how: what learns, and how.
        log: called with every epoch's row.
        draft: the run that is written, so that tuning goes on where it was cut off.
        stage: what its checkpoints are called.
    """
    chosen = learners(model, how.what)
    for one in model.parameters():
        one.requires_grad_(False)
    for one in chosen:
        one.requires_grad_(True)
    batches = Batches(pixels, labels, how.batch_size, how.seed, Viewed(normalise))
    optimizer = torch.optim.AdamW(chosen, lr=how.learning_rate, weight_decay=PULL)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, how.epochs * len(batches))
    fit(Still(model), batches, how.task, optimizer, how.epochs, schedule, log, draft, stage)


def answers(model: nn.Module, pixels: Tensor, normalise: Normalise, batch_size: int) -> Tensor:
    """The logits of pictures in their first view: uint8 (n, views, 3, crop, crop) to float32 (n, classes)."""
    plain = Viewed(normalise)
    chance = torch.Generator()
    model.eval()
    with torch.inference_mode():
        return torch.cat([model(plain(part, chance)) for part in pixels[:, :1].split(batch_size)])
