"""The ways in which a picture may be looked at, as a table: as it is, mirrored, a random part, one random change more.

Training pictures are seen in several; a picture that is judged is always plain.

>>> picture, image = Image.new("RGB", (12, 9), "red"), ImageSpec(8, 8, "bilinear")
>>> [len(pixels_of(picture, image, View(kind, 1), 0)) for kind in VIEWS] == [8 * 8 * 3] * 4
True
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from edge_runtime.preprocess import to_pixels
from edge_runtime.spec import ImageSpec

LEAST_PART, MOST_STRETCH = 0.35, 4 / 3  # of a random crop: its share of the picture, and its width against its height
FILTERS = {name: Image.Resampling[name.upper()] for name in ("bilinear", "bicubic", "lanczos")}


@dataclass(frozen=True)
class View:
    """A row of `VIEWS`, and a number that seeds what is random in it."""

    kind: str = "plain"
    number: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.number}" if self.number else self.kind


PLAIN = View()


def pixels_of(picture: Image.Image, image: ImageSpec, view: View, place: int) -> bytes:
    """A decoded picture in one view, as RGB bytes of shape (crop, crop, 3); `place` is its own in the data set."""
    return VIEWS[view.kind](picture, image, np.random.default_rng([view.number, place]))


def mirrored(picture: Image.Image, image: ImageSpec, _: np.random.Generator) -> bytes:
    """The picture as the runtime prepares it, its left side right."""
    return ImageOps.mirror(_as_picture(to_pixels(picture, image), image)).tobytes()


def varied(picture: Image.Image, image: ImageSpec, chance: np.random.Generator) -> bytes:
    """A random part of a picture, mirrored half of the time, as RGB bytes of shape (crop, crop, 3).

    Source: the random-resized crop of Szegedy et al., *Going Deeper with Convolutions* (2015), section 6, from
    `LEAST_PART` of the picture on: what a picture is of should still be in it.
    """
    area = picture.width * picture.height * chance.uniform(LEAST_PART, 1.0)
    stretch = math.exp(chance.uniform(-1, 1) * math.log(MOST_STRETCH))
    width = min(picture.width, round(math.sqrt(area * stretch)))
    height = min(picture.height, round(math.sqrt(area / stretch)))
    left, top = int(chance.integers(picture.width - width + 1)), int(chance.integers(picture.height - height + 1))
    size = (image.crop, image.crop)
    part = picture.resize(size, FILTERS[image.filter], box=(left, top, left + width, top + height))
    return (ImageOps.mirror(part) if chance.random() < 0.5 else part).tobytes()


def trivial(picture: Image.Image, image: ImageSpec, chance: np.random.Generator) -> bytes:
    """A random part with one random change of a random strength: turned, sheared, darker, fewer colours ...

    Source: Müller and Hutter, *TrivialAugment* (2021), by torchvision's `TrivialAugmentWide`.
    """
    import torch
    from torchvision.transforms import TrivialAugmentWide

    part = _as_picture(varied(picture, image, chance), image)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(chance.integers(2**31)))
        changed: Image.Image = TrivialAugmentWide()(part)
    return changed.tobytes()


def _as_picture(pixels: bytes | memoryview | bytearray, image: ImageSpec) -> Image.Image:
    return Image.frombytes("RGB", (image.crop, image.crop), bytes(pixels))


VIEWS: dict[str, Callable[[Image.Image, ImageSpec, np.random.Generator], bytes]] = {
    "plain": lambda picture, image, _: bytes(to_pixels(picture, image)),
    "mirror": mirrored,
    "part": varied,
    "trivial": trivial,
}
