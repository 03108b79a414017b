"""Lowers to ExecuTorch with XNNPACK in int8 by PT2E, with the ranges of layers' inputs taken at each run."""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Collection
from functools import partial

import torch
from executorch.backends.transforms.duplicate_dynamic_quant_chain import DuplicateDynamicQuantChainPass
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    QuantizationConfig,
    get_symmetric_quantization_config,
)
from torch import Tensor, fx, nn
from torchao.quantization.pt2e import move_exported_model_to_eval
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import QuantizationAnnotation
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from edge_runtime.errors import BadRequest, EngineError
from edge_runtime.spec import ModelSpec
from export.by_answers import Reading, linear, read
from export.contract import InGraph
from export.fold import folded, once_a_model, program_of
from export.op_mix import op_mix
from export.recipes import MOSTLY, Job, Lowered
from export.rounding import rounded
from export.samples import halfway
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

    Where linear layers are quantized alone, `job.in_float` names those that work in float; their weights are int8's
    all the same, so that they cost no room.
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
    in_float, weights_alone = small_head(exported), frozenset[str]()
    if convolutions:
        in_float |= job.in_float | first_layer(exported) | smallest(exported, SMALL)
        weights = rounded(model, spec, job.calibration, LEVELS, in_float)
        on_grid.load_state_dict({**on_grid.state_dict(), **weights})
        calibration = job.calibration
    else:
        in_float |= {layer_of(node) for node in exported.graph.nodes if node.target in CONVOLUTIONS}
        weights_alone = job.in_float - in_float
        with one_thread():
            smoothed(on_grid, _readings(job, exported), LEVELS, in_float, weights_alone)
        calibration = job.calibration[:1]
    count = sum(node.target in WEIGHTED and layer_of(node) not in in_float for node in exported.graph.nodes)
    if not count:
        raise BadRequest("this model has no layer that dynamic int8 could quantize; take xnnpack-int8")
    prepared = prepare_pt2e(on_grid, _Quantizer(at_run, per_channel(), in_float, weights_alone))
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
        "calibration_inputs": len(job.calibration),
        "quantized": f"{count} layers",
        "in_float": ["normalisation", "last activation", "what lies between layers", *sorted(in_float)],
    } | ({} if convolutions else {"inputs_in_float": sorted(weights_alone)})
    return lower_program(quantized, job, quantization, exported)


def _readings(job: Job, exported: fx.GraphModule) -> dict[str, Reading]:
    """Those of the calibration inputs, and of pictures of close calls between them: it is there that answers change.

    Kept beside the model for the next file that is made of it.
    """
    kept = _kept(job.model, job.spec)
    if not kept or kept[0][0] is not job.calibration:
        given = [job.calibration] + ([torch.from_numpy(halfway(job.calibration.numpy()))] if job.spec.image else [])
        normalise = InGraph(job.model, job.spec).normalise
        answers = partial(torch.log_softmax, dim=-1) if job.spec.task == "multiclass" else torch.positive
        samples = (normalise(sample[None]) for inputs in given for sample in inputs)
        kept[:] = [(job.calibration, read(exported, samples, answers))]
    return kept[0][1]


@once_a_model
def _kept(model: nn.Module, spec: ModelSpec) -> list[tuple[Tensor, dict[str, Reading]]]:
    del model, spec
    return []


class _Quantizer(PictureByPicture):
    """Quantizes of some linear layers the weights only; their biases become steps of their own, as XNNPACK needs."""

    def __init__(
        self,
        at_run: QuantizationConfig,
        beforehand: QuantizationConfig,
        in_float: Collection[str],
        weights_alone: Collection[str],
    ) -> None:
        super().__init__(at_run, beforehand, {*in_float, *weights_alone})
        self.weights_alone = weights_alone

    def transform_for_annotation(self, model: fx.GraphModule) -> fx.GraphModule:
        """Takes those biases out of their layers."""
        for node in list(model.graph.nodes):
            if self._alone(node) and len(node.args) > 2:
                layer, bias = node.args[:2], node.args[2]
                with model.graph.inserting_after(node):
                    total = model.graph.call_function(torch.ops.aten.add.Tensor, (node, bias))
                total.meta = dict(node.meta)
                node.replace_all_uses_with(total, lambda user, total=total: user is not total)
                node.args = layer
        model.recompile()
        return super().transform_for_annotation(model)

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        """Marks what is quantized."""
        for node in model.graph.nodes:
            if self._alone(node):
                given = {node.args[1]: self.at_run.weight}
                node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(input_qspec_map=given, _annotated=True)
        return super().annotate(model)

    def _alone(self, node: fx.Node) -> bool:
        return node.target is linear and layer_of(node) in self.weights_alone
