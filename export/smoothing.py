"""Linear layers made ready for int8 with ranges of the run: outliers moved into the weights, and those rounded.

XNNPACK takes a range for each row, a token of a transformer, and a few of its values are tens of times as large as
the rest: of 256 steps the rest gets a handful. Here each input of a layer is divided by a number, and its weights are
multiplied by it, so that nothing changes but what the steps are spent on; then the weights are rounded as
`export.by_answers` does. Layers that share an input share the division, one step that XNNPACK runs too.

Source: Xiao et al., SmoothQuant (arXiv 2211.10438), equation 4, with all of an input's size moved: what is left to
weigh against it, the weights' own rounding, is made up for there. On training-side close calls of ViT-S/14 the
rounding of the inputs then moved outputs 0.6 times as far.

A layer may also work in float with weights of int8: those are rounded in the same way, and nothing is moved.

>>> smoothed(program, read(program, map(normalise, calibration)), levels=127)           # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from export.by_answers import Reading, layers_of, rounded_by_answers, value
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
    moved: dict[Any, list[fx.Node]] = {}
    with torch.no_grad():
        for layer in layers_of(program):
            reading, weight, given = readings[layer.name], value(program, layer.args[1]), layer.args[0]
            if layer_of(layer) in weights_alone:
                weight.copy_(rounded_by_answers(weight.double(), reading, levels, torch.ones(weight.shape[1])))
            elif layer_of(layer) not in in_float:
                scale = _scale(reading)
                weight.copy_(rounded_by_answers(weight.double() * scale, reading, levels, scale))
                moved.setdefault(given, []).append(layer)
    for number, (given, together) in enumerate(moved.items()):
        _divide(program, f"smoothing_{number}", given, together, _scale(readings[together[0].name]))
    program.graph.lint()
    program.recompile()


def _scale(reading: Reading) -> Tensor:
    """What each input is divided by (k,), around 1, so that weights keep about the size that they had."""
    shown = reading.largest.clamp_min(max(SMALLEST * reading.largest.max().item(), 1e-12))
    return shown / shown.log().mean().exp()


def _divide(program: fx.GraphModule, name: str, given: fx.Node, layers: list[fx.Node], scale: Tensor) -> None:
    program.register_buffer(name, 1 / scale)
    with program.graph.inserting_after(given):
        factor = program.graph.get_attr(name)
    with program.graph.inserting_after(factor):
        product = program.graph.call_function(torch.ops.aten.mul.Tensor, (given, factor))
    product.meta = dict(given.meta)
    for layer in layers:
        layer.replace_input_with(given, product)
