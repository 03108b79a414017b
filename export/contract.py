"""The in-graph contract: an artifact takes the user's units and gives the user's units.

Normalisation, layout change and the last activation go inside the graph, in float; what a recipe
quantizes is the model between them.

>>> module = InGraph(torch.nn.Linear(4, 2), spec)                                       # doctest: +SKIP
>>> module(torch.tensor([[0.1, 0.0, -0.02, 0.3]]))                                      # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from edge_runtime.spec import ModelSpec

# task: the last activation, which turns the model's raw output into what the spec's unit says
ACTIVATIONS = {
    "binary": torch.sigmoid,
    "multiclass": lambda logits: torch.softmax(logits, dim=-1),
    "multilabel": torch.sigmoid,
    "regression": lambda value: value,
    "policy": lambda q_values: q_values,
}


class InGraph(nn.Module):
    """Wraps a model of normalised float input and raw output.

    Takes uint8 pictures (batch, height, width, 3) or float32 rows (batch, columns), and gives
    probabilities, Q-values or numbers in the output's unit.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, model: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.model = model
        self.task = spec.task
        self.picture = spec.image is not None
        width = int(spec.inputs[0].shape[-1])
        mean = torch.tensor(spec.normalise.mean if spec.normalise else (0.0,) * width)
        std = torch.tensor(spec.normalise.std if spec.normalise else (1.0,) * width)
        shape = (-1, 1, 1) if self.picture else (-1,)
        self.register_buffer("mean", mean.reshape(shape))
        self.register_buffer("scale", (1.0 / std).reshape(shape))

    def normalise(self, x: Tensor) -> Tensor:
        """What the inner model takes: float32, pictures as (batch, 3, height, width)."""
        x = x.to(torch.float32)  # first: XNNPACK turns the layout of floats, on bytes a portable kernel would
        if self.picture:
            x = x.permute(0, 3, 1, 2)
        return (x - self.mean) * self.scale

    def forward(self, x: Tensor) -> Tensor:
        """User's units in, user's units out."""
        return ACTIVATIONS[self.task](self.model(self.normalise(x)))


def example_input(spec: ModelSpec, batch: int = 1) -> Tensor:
    """A seeded input of the right type and shape, for tracing only."""
    generator = torch.Generator().manual_seed(0)
    shape = (batch, *spec.inputs[0].sample_shape)
    if spec.inputs[0].dtype == "uint8":
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return torch.randn(shape, generator=generator)


def output_of(module: Callable[[Tensor], Tensor], inputs: Any) -> Tensor:
    """What eager torch gives, one sample at a time so that batch-dependent kernels cannot differ."""
    with torch.inference_mode():
        return torch.cat([module(sample[None]) for sample in inputs])
