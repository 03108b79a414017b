"""The networks, as a table: name -> builder. A run's spec names its row and the arguments that build it.

One convention for all: a model takes normalised float32 (pictures as (batch, 3, height, width), tables
and observations as (batch, columns)) and returns raw logits, numbers or Q-values. Normalisation and the
last activation are added at export, from the spec's `normalise` and `task`.

>>> import torch
>>> build(Architecture("mlp", {"sizes": [4, 16, 2]}))(torch.zeros(1, 4)).shape
torch.Size([1, 2])
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from edge_runtime.errors import BadRequest
from edge_runtime.spec import Architecture
from train.effnet_lite import EfficientNetLite
from train.vit import VisionTransformer


def tinyvgg(classes: int, hidden: int, image_size: int) -> nn.Sequential:
    """The course's TinyVGG: two blocks of two 3x3 convolutions and a halving, then one linear layer.

    Source: CNN Explainer (Wang et al., 2020), with padding so that the size changes by halving only.
    """

    def block(inputs: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inputs, hidden, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]

    left = image_size // 4
    return nn.Sequential(*block(3), *block(hidden), nn.Flatten(), nn.Linear(hidden * left * left, classes))


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLU between them; `sizes` are the columns in, every hidden width, the outputs."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class EfficientNetB2(nn.Module):
    """Torchvision's EfficientNet-B2 with a head of its own, and what that head sees as `features`."""

    def __init__(self, classes: int) -> None:
        from torchvision.models import efficientnet_b2

        super().__init__()
        network = efficientnet_b2(weights=None)
        self.backbone = network.features
        self.classifier = nn.Linear(network.classifier[1].in_features, classes)

    @property
    def blocks(self) -> nn.Module:
        """Its stages, in the order in which a picture passes them."""
        return self.backbone

    def features(self, x: Tensor) -> Tensor:
        """What the classifier sees: float32 (batch, 1408)."""
        return self.backbone(x).mean((2, 3), keepdim=True).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised float32 (batch, 3, height, width) to raw logits (batch, classes)."""
        return self.classifier(self.features(x))


MODELS: dict[str, Callable[..., nn.Module]] = {
    "effnet_b2": EfficientNetB2,
    "effnet_lite0": EfficientNetLite,
    "effnet_lite1": partial(EfficientNetLite, depth=1.1),
    "effnet_lite2": partial(EfficientNetLite, width=1.1, depth=1.2),
    "mlp": mlp,
    "tinyvgg": tinyvgg,
    "vit": VisionTransformer,
    "vit_b_16": VisionTransformer,
    "vit_s_14": partial(VisionTransformer, patch=14, width=384, heads=6),
}


def build(architecture: Architecture) -> nn.Module:
    """A fresh network.

    Raises:
        BadRequest: no row has that name, or it does not take these arguments.
    """
    if architecture.name not in MODELS:
        raise BadRequest(f"there is no network {architecture.name!r}; known: {', '.join(sorted(MODELS))}")
    try:
        return MODELS[architecture.name](**architecture.arguments)
    except TypeError as error:
        raise BadRequest(f"the network {architecture.name} cannot be built: {error}") from error


def parameter_count(model: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(parameter.numel() for parameter in model.parameters())
