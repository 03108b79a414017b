"""Photographs to be measured on: the test pictures at hand, else generated ones; and the same at 12 megapixels.

>>> spec_of("net", 96, ("cat", "dog")).inputs[0].shape
('batch', 96, 96, 3)
"""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from edge_runtime.errors import Missing
from edge_runtime.spec import ImageSpec, Label, ModelSpec, Normalise, TensorSpec

log = logging.getLogger(__name__)
SIDE, PHONE_PIXELS, QUALITY = 512, 12_000_000, 90
IMAGENET = Normalise((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def photographs(folder: Path, count: int) -> list[Path]:
    """JPEGs of 512 px on the long side: test pictures of FoodVision Mini, or generated ones, written to `folder`."""
    from train.data import image_data

    try:
        found = [example.path for example in image_data("foodvision-mini").test]
    except Missing as error:
        log.warning("generated pictures are measured: %s", error)
        made = [folder / f"generated-{seed}.jpg" for seed in range(count)]
        for seed, path in enumerate(made):
            generated(SIDE, SIDE * 3 // 4, seed).save(path, quality=QUALITY)
        return made
    fitting = [path for path in found if max(_size(path)) == SIDE]
    return fitting[:: max(1, len(fitting) // count)][:count]


def enlarged(path: Path) -> bytes:
    """The picture as a phone would have taken it: 12 megapixels, the same sides' ratio, JPEG of quality 90."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    factor = (PHONE_PIXELS / (picture.width * picture.height)) ** 0.5
    size = round(picture.width * factor), round(picture.height * factor)
    handle = io.BytesIO()
    picture.resize(size, Image.Resampling.BICUBIC).save(handle, "JPEG", quality=QUALITY)
    return handle.getvalue()


def generated(width: int, height: int, seed: int) -> Image.Image:
    """A seeded picture: smooth colours under noise, as a photograph has them."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    return Image.fromarray((smooth + draw.normal(0, 12, smooth.shape)).clip(0, 255).astype(np.uint8))


def spec_of(name: str, side: int, labels: Sequence[str], normalise: Normalise = IMAGENET) -> ModelSpec:
    """What a network that tells pictures of `side` px apart takes and gives, as a bundle would say it."""
    return ModelSpec(
        name=name,
        task="multiclass",
        inputs=(TensorSpec("pixels", "uint8", ("batch", side, side, 3), "RGB, 0 to 255"),),
        outputs=(TensorSpec("probabilities", "float32", ("batch", len(labels)), "probability"),),
        labels=tuple(Label(label, label, label) for label in labels),
        image=ImageSpec(resize=side, crop=side, filter="bicubic"),
        normalise=normalise,
    )


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as opened:
        return opened.size
