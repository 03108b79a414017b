"""Where a network's work lies: multiply-adds in convolutions, linear layers and attention, from one run of it.

Parameters would mislead: most of VGG's and AlexNet's lie in linear layers, most of their work in convolutions.

>>> op_mix(torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Linear(16, 2)), spec).convolution  # doctest: +SKIP
0.0
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from edge_runtime.spec import ModelSpec
from export.contract import InGraph, example_input

# torch's names: a product with a weight has a bias or is `mm`; one of two activations is batched
_KINDS = {"aten.convolution": "convolution", "aten.addmm": "linear", "aten.mm": "linear", "aten.bmm": "attention"}


@dataclass(frozen=True)
class OpMix:
    """Shares of the multiply-adds of one input, all of them, and the weights' size in float32."""

    convolution: float
    linear: float
    attention: float
    multiply_adds: int
    weight_bytes: int


def op_mix(model: nn.Module, spec: ModelSpec) -> OpMix:
    """Counts while the model runs once on an example.

    Args:
        model: takes normalised float32, gives raw outputs, in eval mode.
        spec: what it takes.
    """
    inner = InGraph(model, spec).normalise(example_input(spec))
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operator for a whole layer, which nobody counts
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            model(inner)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    sums = dict.fromkeys(("convolution", "linear", "attention"), 0)
    for operator, operations in counter.get_flop_counts().get("Global", {}).items():
        sums[_KINDS.get(str(operator), "linear")] += operations // 2
    total = sum(sums.values())
    shares = {kind: count / total if total else 0.0 for kind, count in sums.items()}
    weights = sum(4 * p.numel() for p in model.parameters())
    return OpMix(**shares, multiply_adds=total, weight_bytes=weights)
