"""Linear layers made ready for int8 with ranges of the run: outliers moved into the weights, and those rounded.

XNNPACK takes a range for each row, a token of a transformer, and a few of its values are tens of times as large as
the rest: of 256 steps the rest gets a handful. Here each input of a layer is divided by a number, and its weights are
multiplied by it, so that nothing changes but what the steps are spent on; then the weights are rounded as
`export.rounding` does. Layers that share an input share the division, one step that XNNPACK runs too.

Source: Xiao et al., SmoothQuant (arXiv 2211.10438), equation 4, with all of an input's size moved: what is left to
weigh against it, the weights' own rounding, is made up for there. On training-side close calls of ViT-S/14 the
rounding of the inputs then moved outputs 0.6 times as far.

A layer may also work in float with weights of int8: those are rounded by the same sums, and nothing is moved.

>>> smoothed(program, read(program, map(normalise, calibration)), levels=127)           # doctest: +SKIP
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from export.rounding import PLACES, WIDEST, Moments, solved
from export.xnnpack_quantizer import layer_of

linear = torch.ops.aten.linear.default
SMALLEST = 0.01  # of the largest input's size: one that calibration hardly shows may be larger at a run


@dataclass
class Reading:
    """Of what linear layers are given: the moments of k inputs, and the largest of each, float32 (k,)."""

    moments: Moments
    largest: Tensor

    @property
    def scale(self) -> Tensor:
        """What each input is divided by (k,), around 1, so that weights keep about the size that they had."""
        shown = self.largest.clamp_min(max(SMALLEST * self.largest.max().item(), 1e-12))
        return shown / shown.log().mean().exp()


def read(program: fx.GraphModule, inputs: Iterable[Tensor]) -> dict[str, Reading]:
    """Runs the program on normalised samples (1, …) of the training side; readings by the name of the node read."""
    reader = _Reader(program)
    with torch.no_grad():
        for sample in inputs:
            reader.run(sample)
    for reading in reader.found.values():
        reading.moments.settle()
    return reader.found


def smoothed(
    program: fx.GraphModule,
    readings: Mapping[str, Reading],
    levels: int,
    in_float: Collection[str] = (),
    weights_alone: Collection[str] = (),
) -> None:
    """Changes the program in place; its answers stay what they were, but for the rounding.

    Args:
        program: of one normalised sample.
        readings: as `read` took them of it.
        levels: the largest whole number that a weight is stored as; the largest weight of a channel is that.
        in_float: layers that are not quantized, as `layer_of` calls them.
        weights_alone: those whose weights are, and their inputs are not.
    """
    moved: dict[fx.Node, list[fx.Node]] = {}
    with torch.no_grad():
        for layer in _layers(program):
            given: Any = layer.args[0]
            if layer_of(layer) in weights_alone:
                _round(program, layer, readings[given.name], levels, scale=None)
            elif layer_of(layer) not in in_float:
                _round(program, layer, readings[given.name], levels, readings[given.name].scale)
                moved.setdefault(given, []).append(layer)
    for number, (given, together) in enumerate(moved.items()):
        _divide(program, f"smoothing_{number}", given, together, readings[given.name].scale)
    program.graph.lint()
    program.recompile()


def _layers(program: fx.GraphModule) -> list[fx.Node]:
    """Linear layers but for those whose weights are made at each run, or shared."""
    uses = Counter(node.target for node in program.graph.nodes for _ in node.users if node.op == "get_attr")

    def own(argument: Any) -> bool:
        return argument is None or (argument.op == "get_attr" and uses[argument.target] == 1)

    return [
        node
        for node in program.graph.nodes
        if node.target is linear and all(map(own, node.args[1:])) and _value(program, node.args[1]).shape[1] <= WIDEST
    ]


class _Reader(fx.Interpreter):
    def __init__(self, program: fx.GraphModule) -> None:
        super().__init__(program)
        self.found: dict[str, Reading] = {}
        for layer in _layers(program):
            given: Any = layer.args[0]
            width = given.meta["val"].shape[-1]
            self.found[given.name] = Reading(Moments(1, width), torch.zeros(width))
        self.draw = torch.Generator().manual_seed(0)

    def run_node(self, n: fx.Node) -> Any:
        """One step."""
        result = super().run_node(n)
        if n.name in self.found:
            rows, reading = result.detach().flatten(0, -2), self.found[n.name]
            reading.largest = torch.maximum(reading.largest, rows.abs().amax(0))
            reading.moments.add(rows[torch.randperm(len(rows), generator=self.draw)[:PLACES]].T[None])
        return result


def _round(program: fx.GraphModule, layer: fx.Node, reading: Reading, levels: int, scale: Tensor | None) -> None:
    seen, weight = reading.moments, _value(program, layer.args[1])
    factor = torch.ones(weight.shape[1]).double() if scale is None else scale.double()
    wide = weight.double() * factor
    whole = solved(wide[None], seen.products.double() / seen.n / factor[:, None] / factor, levels)[0]
    weight.copy_(whole)
    if len(layer.args) > 2:
        _value(program, layer.args[2]).add_((wide - whole) @ (seen.values[0] / seen.n / factor))


def _divide(program: fx.GraphModule, name: str, given: fx.Node, layers: list[fx.Node], scale: Tensor) -> None:
    program.register_buffer(name, 1 / scale)
    with program.graph.inserting_after(given):
        factor = program.graph.get_attr(name)
    with program.graph.inserting_after(factor):
        product = program.graph.call_function(torch.ops.aten.mul.Tensor, (given, factor))
    product.meta = dict(given.meta)
    for layer in layers:
        layer.replace_input_with(given, product)


def _value(program: fx.GraphModule, node: Any) -> Tensor:
    found: Tensor = operator.attrgetter(node.target)(program)
    return found
