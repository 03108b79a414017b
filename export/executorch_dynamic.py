"""Lowers to ExecuTorch with XNNPACK in int8 by PT2E, with the ranges of layers' inputs taken at each run."""

from __future__ import annotations

import copy
import dataclasses
import logging

import torch
from executorch.backends.transforms.duplicate_dynamic_quant_chain import DuplicateDynamicQuantChainPass
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import get_symmetric_quantization_config
from torch import fx
from torchao.quantization.pt2e import move_exported_model_to_eval
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edge_runtime.errors import BadRequest, EngineError
from export.contract import InGraph
from export.fold import folded, program_of
from export.op_mix import op_mix
from export.recipes import MOSTLY, Job, Lowered
from export.rounding import rounded
from export.smoothing import smoothed
from export.to_executorch import LEVELS, lower_program, per_channel
from export.xnnpack_quantizer import (
    CONVOLUTIONS,
    WEIGHTED,
    PictureByPicture,
    first_layer,
    layer_of,
    small_head,
    smallest,
    tokens_in,
)
from train.fit import one_thread

log = logging.getLogger(__name__)
SMALL = 0.04  # of the weights, in the smallest layers, which stay in float


def int8(job: Job) -> Lowered:
    """Layers in int8, the ranges of their inputs taken at each run; what lies between the layers stays in float.

    In a network of convolutions they are quantized too, elsewhere the linear layers only. A range for one picture is
    narrower than one for all, and nothing is rounded on the way to the next layer: EfficientNet-Lite0's outputs move
    a third as far as with ranges taken beforehand. Grouped convolutions have no such kernel and keep static ranges;
    the first and the smallest layers, which see the largest pictures and hold next to no weights, stay in float. Where
    the file that comes of it does not run here, only the linear layers are quantized, and a warning says so.
    """
    exported = program_of(folded(job.model, job.spec), job.spec).module()
    if op_mix(job.model, job.spec).convolution > MOSTLY and not tokens_in(exported):
        try:
            return _at_run(job, exported, convolutions=True)
        except EngineError as error:
            log.warning("with its convolutions in dynamic int8 it does not run, so only linear layers are: %s", error)
    return _at_run(job, exported, convolutions=False)


def _at_run(job: Job, exported: fx.GraphModule, convolutions: bool) -> Lowered:
    model, spec = job.model, job.spec
    on_grid, contract = copy.deepcopy(exported), InGraph(model, spec)
    at_run = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
    at_run = dataclasses.replace(at_run, weight=per_channel().weight)
    in_float = job.in_float | small_head(exported)
    if convolutions:
        in_float |= first_layer(exported) | smallest(exported, SMALL)
        weights = rounded(model, spec, job.calibration, LEVELS, in_float)
        on_grid.load_state_dict({**on_grid.state_dict(), **weights})
        calibration = job.calibration
    else:
        in_float |= {layer_of(node) for node in exported.graph.nodes if node.target in CONVOLUTIONS}
        with one_thread():
            smoothed(on_grid, (contract.normalise(sample[None]) for sample in job.calibration), LEVELS, in_float)
        calibration = job.calibration[:1]
    count = sum(node.target in WEIGHTED and layer_of(node) not in in_float for node in exported.graph.nodes)
    if not count:
        raise BadRequest("this model has no layer that dynamic int8 could quantize; take xnnpack-int8")
    prepared = prepare_pt2e(on_grid, PictureByPicture(at_run, per_channel(), in_float))
    with torch.no_grad(), one_thread():
        for sample in calibration:
            prepared(contract.normalise(sample[None]))
    quantized = convert_pt2e(prepared)
    if convolutions:  # of 1x1 XNNPACK takes a range a pixel, and reads the first pixel's where a 3x3 shares its input
        DuplicateDynamicQuantChainPass()(quantized)
    move_exported_model_to_eval(quantized)
    quantization = {
        "scheme": "PT2E dynamic, s8 activations per row and run (of convolutions per sample and run, of grouped ones "
        "static), s8 weights per channel",
        "quantized": f"{count} layers",
        "in_float": ["normalisation", "last activation", "what lies between layers", *sorted(in_float)],
    }
    return lower_program(quantized, job, quantization, exported)
