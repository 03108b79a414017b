"""The zoo: 24 classification networks of torchvision, one of each family and size, with seeded weights that answer.

Nothing is downloaded. What a seed alone gives would test little: without statistics from pictures activations
shrink to denormal numbers, and a head of small random weights says nearly the same to every picture, so that
the best label is a coin toss and an error in the layers before it does not show. Hence, from real pictures: the
BatchNorm statistics, and a head whose logits are standardised, and differ from picture to picture, on those.

>>> ZOO["maxvit_t"].side, [name for name, row in ZOO.items() if row.int8][:2]
(221, ['squeezenet1_1', 'resnet18'])
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import photographs
from edge_runtime.errors import Missing
from edge_runtime.spec import ImageSpec, ModelSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger(__name__)
LABELS, GAIN = 10, 2.0  # the standard deviation of a logit: the best label gets about half of the probability
BRANCH = 0.25  # of a residual branch; training starts it at 0 (Goyal et al. 2017, section 5.1)
STATISTICS, BATCH = 64, 16  # pictures that set BatchNorm and the head


@dataclass(frozen=True)
class Animal:
    """A row: the smallest input side of at least 96 px that the network accepts, and what its constructor is given.

    `int8` marks those that are quantized too.
    """

    side: int = 96
    int8: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)


ZOO = {
    "alexnet": Animal(),
    "vgg11_bn": Animal(),
    "squeezenet1_1": Animal(int8=True),
    "resnet18": Animal(int8=True),
    "resnet50": Animal(),
    "resnext50_32x4d": Animal(),
    "wide_resnet50_2": Animal(),
    "densenet121": Animal(),
    "inception_v3": Animal(arguments={"init_weights": True}),
    "googlenet": Animal(int8=True, arguments={"init_weights": True}),
    "shufflenet_v2_x1_0": Animal(int8=True),
    "mobilenet_v2": Animal(int8=True),
    "mobilenet_v3_small": Animal(int8=True),
    "mobilenet_v3_large": Animal(),
    "mnasnet1_0": Animal(),
    "efficientnet_b0": Animal(int8=True),
    "efficientnet_v2_s": Animal(),
    "regnet_x_400mf": Animal(),
    "regnet_y_400mf": Animal(),
    "convnext_tiny": Animal(),
    "vit_b_16": Animal(int8=True, arguments={"image_size": 96}),
    "swin_t": Animal(),
    "swin_v2_t": Animal(),
    "maxvit_t": Animal(side=221, arguments={"input_size": (221, 221)}),  # windows of 7 at ceil(side / 32)
}


def spec_of(name: str) -> ModelSpec:
    """What the network takes and gives."""
    return photographs.spec_of(name, ZOO[name].side, [f"label-{number}" for number in range(LABELS)])


def pictures(side: int, train: int, test: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Pixels of `train` pictures of the training side, labels in turn, and of `test` of the test side.

    Returns:
        Two uint8 (n, side, side, 3), and what they are: FoodVision Mini where it is at hand, else generated.
    """
    from train.data import image_data, load_pixels

    image = ImageSpec(resize=side, crop=side, filter="bicubic")
    try:
        data = image_data("foodvision-mini")
    except Missing as error:
        log.warning("generated pictures take the place of photographs: %s", error)
        made = np.stack([np.asarray(photographs.generated(side, side, seed)) for seed in range(train + test)])
        return made[:train], made[train:], "generated"
    sides = []
    for examples, count in ((data.train, train), (data.test, test)):
        spread = [examples[at * len(examples) // count] for at in range(count)]
        mixed = np.random.default_rng(0).permutation(count)  # the folders come label by label
        sides.append(load_pixels([spread[at] for at in mixed], image)[0])
    return sides[0], sides[1], data.name


def network(name: str, pixels: np.ndarray) -> nn.Module:
    """The seeded network in eval mode, its statistics and its head set from `pixels` (n, side, side, 3)."""
    import torch
    from torch import nn

    model, normalise = _seeded(name), photographs.IMAGENET
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (normalise.mean, normalise.std))
    batches = [(part.permute(0, 3, 1, 2).float() - mean) / std for part in torch.tensor(pixels).split(BATCH)]
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in norms:
        module.momentum = None  # the plain mean over all batches
        module.train()
    with torch.no_grad():
        for batch in batches if norms else ():
            model(batch)
        _set_head(model.eval(), batches)
    return model


def _seeded(name: str) -> nn.Module:
    """The network as a seed makes it, with what would put its layers to sleep undone."""
    import torch
    import torchvision
    from torch import nn

    torch.manual_seed(0)
    make = getattr(torchvision.models, name)
    model: nn.Module = make(weights=None, num_classes=LABELS, **ZOO[name].arguments).eval().requires_grad_(False)
    normed = any(isinstance(module, nn.BatchNorm2d | nn.LayerNorm) for module in model.modules())
    layers: Any = model.modules()  # of many types: what they hold, no annotation says
    for module in layers:
        if not normed and isinstance(module, nn.Conv2d | nn.Linear):  # each layer would shrink what it is given
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if hasattr(module, "layer_scale"):  # ConvNeXt starts at 1e-6: its blocks would count for nothing
            module.layer_scale.fill_(1.0)
        if hasattr(module, "bn3"):  # ResNet's bottlenecks: at 1, fifty random layers make 5e-5 of float rounding
            module.bn3.weight.fill_(BRANCH)
    return model


def _set_head(model: nn.Module, batches: list[Tensor]) -> None:
    """Gives the last layer whitened random projections: every logit has mean 0 and the deviation `GAIN`.

    The features' mean is projected out instead of cancelled by a bias, which MaxViT's head does not have.
    """
    import torch
    from torch import nn

    head = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)][-1]
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().double()))
    for batch in batches:
        model(batch)
    handle.remove()
    # SqueezeNet's head is a convolution: each place of a picture is a sample of it
    features = torch.cat([part.permute(0, 2, 3, 1).flatten(0, 2) if part.dim() == 4 else part for part in seen])
    mean = features.mean(0)
    spread = features - mean
    spread -= torch.outer(spread @ mean, mean) / (mean @ mean)
    _, size, directions = torch.linalg.svd(spread, full_matrices=False)
    deviation = size[:LABELS] / len(features) ** 0.5
    turn = torch.linalg.qr(torch.randn(LABELS, LABELS, dtype=torch.float64)).Q
    weight = GAIN * turn @ (directions[:LABELS] / deviation[:, None])
    head.weight.copy_(weight.reshape(head.weight.shape))
    if head.bias is not None:
        head.bias.zero_()
    logits = torch.cat([model(batch) for batch in batches])
    head.weight *= GAIN / logits.std(0).mean()  # what SqueezeNet's average over places took
