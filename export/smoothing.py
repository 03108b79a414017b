"""Linear layers made ready for int8 with ranges of the run: outliers moved into the weights, and those rounded.

XNNPACK takes a range for each row, a token of a transformer, and a few of its values are tens of times as large as
the rest: of 256 steps the rest gets a handful. Here each input of a layer is divided by a number, and its weights are
multiplied by it, so that nothing changes but what the steps are spent on; then the weights are rounded as
`export.rounding` does. Layers that share an input share the division, one step that XNNPACK runs too.

Source: Xiao et al., SmoothQuant (arXiv 2211.10438), equation 4, with all of an input's size moved: what is left to
weigh against it, the weights' own rounding, is made up for there. On ViT-S/14 outputs moved 0.6 times as far.

>>> smoothed(program, map(normalise, calibration), levels=127)                          # doctest: +SKIP
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor, fx

from export.rounding import PLACES, WIDEST, Moments, solved
from export.xnnpack_quantizer import layer_of

linear = torch.ops.aten.linear.default
SMALLEST = 0.01  # of the largest input's size: one that calibration hardly shows may be larger at a run


def smoothed(program: fx.GraphModule, inputs: Iterable[Tensor], levels: int, in_float: Collection[str] = ()) -> None:
    """Changes the program in place; its answers stay what they were, but for the rounding.

    Args:
        program: of one normalised sample.
        inputs: normalised samples (1, …) of the training side.
        levels: the largest whole number that a weight is stored as; the largest weight of a channel is that.
        in_float: layers that are not quantized, as `layer_of` calls them.
    """
    groups = _groups(program, in_float)
    reader = _Reader(program, groups)
    with torch.no_grad():
        for sample in inputs:
            reader.run(sample)
        for number, (given, layers) in enumerate(groups.items()):
            reader.seen[given].settle()
            largest = reader.largest[given]
            scale = largest.clamp_min(max(SMALLEST * largest.max().item(), 1e-12))
            scale /= scale.log().mean().exp()  # weights keep about the size that they had
            _round(program, layers, reader.seen[given], scale, levels)
            _divide(program, f"smoothing_{number}", given, layers, scale)
    program.graph.lint()
    program.recompile()


def _groups(program: fx.GraphModule, in_float: Collection[str]) -> dict[fx.Node, list[fx.Node]]:
    """Linear layers by the node that they are given; those whose weights are made at each run, or shared, stay."""
    uses = Counter(node.target for node in program.graph.nodes for user in node.users if node.op == "get_attr")
    found: dict[fx.Node, list[fx.Node]] = {}
    for node in program.graph.nodes:
        if node.target is not linear or layer_of(node) in in_float:
            continue
        given, weight = node.args[:2]
        if weight.op == "get_attr" and uses[weight.target] == 1 and _value(program, weight).shape[1] <= WIDEST:
            found.setdefault(given, []).append(node)
    return found


class _Reader(fx.Interpreter):
    """Runs the program and keeps of what linear layers are given the moments, and the largest of each input."""

    def __init__(self, program: fx.GraphModule, groups: Collection[fx.Node]) -> None:
        super().__init__(program)
        widths = {given: given.meta["val"].shape[-1] for given in groups}
        self.seen = {given: Moments(1, width) for given, width in widths.items()}
        self.largest = {given: torch.zeros(width) for given, width in widths.items()}
        self.draw = torch.Generator().manual_seed(0)

    def run_node(self, n: fx.Node) -> Any:
        """One step."""
        result = super().run_node(n)
        if n in self.seen:
            rows = result.detach().flatten(0, -2)
            self.largest[n] = torch.maximum(self.largest[n], rows.abs().amax(0))
            self.seen[n].add(rows[torch.randperm(len(rows), generator=self.draw)[:PLACES]].T[None])
        return result


def _round(program: fx.GraphModule, layers: list[fx.Node], seen: Moments, scale: Tensor, levels: int) -> None:
    scale = scale.double()
    moments, means = seen.products.double() / seen.n / scale[:, None] / scale, seen.values[0] / seen.n / scale
    for layer in layers:
        weight = _value(program, layer.args[1])
        wide = weight.double() * scale
        whole = solved(wide[None], moments, levels)[0]
        weight.copy_(whole)
        if len(layer.args) > 2 and isinstance(layer.args[2], fx.Node):
            _value(program, layer.args[2]).add_((wide - whole) @ means)


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
