"""Linear layers made ready for int8 with ranges of the run: outliers moved into the weights, and those rounded.

XNNPACK takes a range for each row, a token of a transformer, and a few of its values are tens of times as large as
the rest: of 256 steps the rest gets a handful. Here each input of a layer is divided by a number, and its weights are
multiplied by it, so that nothing changes but what the steps are spent on; then the weights are rounded as
`export.by_answers` does. Layers that share an input share the division, one step that XNNPACK runs too.

Source: Xiao et al., SmoothQuant (arXiv 2211.10438), equation 4, with all of an input's size moved: what is left to
weigh against it, the weights' own rounding, is made up for there. On training-side close calls of ViT-S/14 the
rounding of the inputs then moved outputs 0.6 times as far.

A layer may also work in float with weights of int8: there inputs are divided by what is fairest to the weights.

>>> smoothed(program, read(program, map(normalise, calibration)), levels=127)           # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from export.by_answers import Reading, fairest, layers_of, rounded_by_answers, value
from export.xnnpack_quantizer import layer_of

SMALLEST = 0.01  # of the largest input's size: one that calibration hardly shows may be larger at a run


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
    divided: list[tuple[fx.Node, Tensor]] = []
    with torch.no_grad():
        for layer in layers_of(program):
            reading, weight = readings[layer.name], value(program, layer.args[1])
            if layer_of(layer) in in_float:
                continue
            scale = fairest(weight, reading) if layer_of(layer) in weights_alone else _scale(reading)
            weight.copy_(rounded_by_answers(weight.double() * scale, reading, levels, scale))
            divided.append((layer, scale))
    _divide(program, divided)
    program.graph.lint()
    program.recompile()


def _scale(reading: Reading) -> Tensor:
    """What each input is divided by (k,), around 1, so that weights keep about the size that they had."""
    shown = reading.largest.clamp_min(max(SMALLEST * reading.largest.max().item(), 1e-12))
    return shown / shown.log().mean().exp()


def _divide(program: fx.GraphModule, divided: list[tuple[fx.Node, Tensor]]) -> None:
    """Divides the inputs of layers, once where they share both the input and what it is divided by."""
    products: dict[Any, list[tuple[Tensor, fx.Node]]] = {}
    for layer, scale in divided:
        given: Any = layer.args[0]
        made = products.setdefault(given, [])
        product = next((node for known, node in made if known.equal(scale)), None)
        if product is None:
            name = f"smoothing_{layer.name}"
            program.register_buffer(name, 1 / scale)
            with program.graph.inserting_after(given):
                factor = program.graph.get_attr(name)
            with program.graph.inserting_after(factor):
                product = program.graph.call_function(torch.ops.aten.mul.Tensor, (given, factor))
            product.meta = dict(given.meta)
            made.append((scale, product))
        layer.replace_input_with(given, product)
