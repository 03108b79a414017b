"""Which layers int8 hurts most: each is quantized alone, and the model's raw outputs are compared with float's.

Real inputs of the training side only: the test side judges, and what it has chosen it could no longer judge.

>>> sensitivity(model, spec, calibration, held).layers                                  # doctest: +SKIP
{'blocks.0.depthwise.0': 0.081, 'stem.1': 0.022, 'classifier': 0.004}
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from edge_runtime.spec import ModelSpec
from export.contract import InGraph
from export.fold import folded
from export.op_mix import op_mix
from export.xnnpack_quantizer import WEIGHTED, layer_of

RANGES = 32  # calibration inputs that a layer's input range is taken from
FEWEST, MOST = 2, 16  # inputs that outputs are compared on
WORK = 400e9  # multiply-adds in all: about half a minute on two cores


@dataclass(frozen=True)
class Sensitivity:
    """The relative error of the outputs by layer, the largest first, on how many inputs, and the seconds it took."""

    layers: Mapping[str, float]
    inputs: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As in a manifest."""
        layers = {name: float(f"{value:.3g}") for name, value in self.layers.items()}
        return {"inputs": self.inputs, "seconds": round(self.seconds, 1), "layers": layers}


def sensitivity(model: nn.Module, spec: ModelSpec, calibration: Tensor, held: Tensor) -> Sensitivity:
    """Ranks the convolutions and linear layers.

    A layer's weights are rounded to s8 per channel and its input to s8 per tensor, in float arithmetic; everything
    else stays as it is. The error is the root mean square of the outputs' change, over that of the outputs, both
    without what all outputs of a sample share, which changes no answer.

    Args:
        model: takes normalised float32, gives raw outputs, in eval mode.
        spec: what it takes.
        calibration: real inputs (n, …) in the user's units, for ranges.
        held: others (n, …), to compare on; fewer are used where the model is large, so that the work is bounded.
    """
    started = time.perf_counter()
    normalise = InGraph(model, spec).normalise
    with torch.no_grad():
        program = torch.export.export(folded(model, spec), (normalise(calibration[:1]),), strict=False)
        graph = program.run_decompositions({}).module()  # functional: an operator in place would spoil what is kept
        assert isinstance(graph, fx.GraphModule)
        layers = [node for node in graph.graph.nodes if node.target in WEIGHTED]
        work = max(1, len(layers)) * op_mix(model, spec).multiply_adds / 2  # half of it comes after a layer
        count = int(min(MOST, max(FEWEST, WORK / work), len(held)))
        runs = fx.Interpreter(graph, garbage_collect_values=False)
        lows, highs = (dict.fromkeys(layers, 0.0) for _ in range(2))
        for sample in calibration[:RANGES]:
            runs.run(normalise(sample[None]))
            for node in layers:
                given = runs.env[node.args[0]]
                lows[node] = min(lows[node], given.min().item())
                highs[node] = max(highs[node], given.max().item())
        errors, scale = dict.fromkeys(layers, 0.0), 0.0
        for sample in held[:count]:
            reference = runs.run(normalise(sample[None]))
            scale += _size(reference)
            kept = runs.env
            for node in layers:
                known = _before(graph.graph, node, kept)
                known[node] = _quantized(node, known, lows[node], highs[node])
                errors[node] += _size(runs.run(normalise(sample[None]), initial_env=known) - reference)
    found: dict[str, float] = {}
    for node, error in errors.items():
        found[layer_of(node)] = found.get(layer_of(node), 0.0) + error
    ranked = sorted(found.items(), key=lambda item: -item[1])
    relative = {name: (error / scale) ** 0.5 if scale else 0.0 for name, error in ranked}
    return Sensitivity(relative, count, time.perf_counter() - started)


def _before(graph: fx.Graph, layer: fx.Node, kept: Mapping[fx.Node, Any]) -> dict[fx.Node, Any]:
    """What was computed ahead of the layer, in the order of the graph."""
    known = {}
    for node in graph.nodes:
        if node is layer:
            break
        known[node] = kept[node]
    return known


def _quantized(layer: fx.Node, known: Mapping[fx.Node, Any], low: float, high: float) -> Tensor:
    """The layer's output with its input and weights on int8's grid."""
    # an Any: torch calls every argument of a node a union of all that could stand there
    arguments: Any = fx.node.map_arg(layer.args, lambda node: known[node])
    call: Any = layer.target
    given, weight, *rest = arguments
    step = max((high - low) / 255, 1e-12)
    zero = round(-low / step)
    given = ((given / step).round().add(zero).clamp(0, 255) - zero) * step
    largest = weight.flatten(1).abs().amax(1).clamp_min(1e-12).reshape(-1, *[1] * (weight.dim() - 1))
    weight = (weight / largest * 127).round() * largest / 127
    result: Tensor = call(given, weight, *rest, **layer.kwargs)
    return result


def _size(outputs: Tensor) -> float:
    """The sum of squares, without the mean of each sample's outputs where there are several."""
    if outputs.shape[-1] > 1:
        outputs = outputs - outputs.mean(-1, keepdim=True)
    return float(outputs.square().sum())
