"""Lowers to ExecuTorch with XNNPACK: `.pte` in fp32, and int8 by PT2E, static or dynamic, per channel."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any, cast

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    QuantizationConfig,
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from executorch.devtools.backend_debug import get_delegation_info
from executorch.exir import to_edge_transform_and_lower
from torch import Tensor, nn
from torchao.quantization.pt2e import MinMaxObserver, MovingAverageMinMaxObserver, move_exported_model_to_eval
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edge_runtime.engines import open_session
from edge_runtime.engines.executorch import SPEC_METHOD, ExecuTorchSession
from edge_runtime.errors import BadRequest
from edge_runtime.profile import measured
from edge_runtime.spec import ModelSpec
from export.contract import InGraph, example_input
from export.fold import folded
from train.fit import one_thread

Details = dict[str, Any]
AVERAGING = 0.02  # the weight of each calibration input: the last fifty or so decide


def fp32(model: nn.Module, spec: ModelSpec, calibration: Tensor) -> tuple[bytes, Details]:
    """The model as it is.

    Args:
        model: takes normalised float32, gives raw outputs, in eval mode.
        spec: the run's.
        calibration: not used; real inputs in the user's units (n, …).

    Returns:
        The `.pte` and its details: `quantization` (None) and `delegation`.
    """
    del calibration
    data, delegation = _lower(folded(model, spec), spec)
    return data, {"quantization": None, "delegation": delegation}


def int8(model: nn.Module, spec: ModelSpec, calibration: Tensor) -> tuple[bytes, Details]:
    """The model between normalisation and last activation in int8, ranges from the calibration inputs.

    Weights are symmetric per channel, activations per tensor, as XNNPACK's kernels take them.
    """
    contract = InGraph(model, spec)
    with torch.no_grad():
        inner = [contract.normalise(sample[None]) for sample in calibration]  # not inference mode: export saves them
    exported = torch.export.export(folded(model, spec), (inner[0],), strict=False).module()
    prepared = prepare_pt2e(exported, XNNPACKQuantizer().set_global(_config(spec.image is not None)))
    with torch.no_grad(), one_thread():  # many small steps: two threads wait for each other beside any other work
        for sample in inner:
            prepared(sample)
    quantized = convert_pt2e(prepared)
    move_exported_model_to_eval(quantized)
    data, delegation = _lower(quantized, spec)
    quantization = {
        "scheme": "PT2E static, s8 activations per tensor, s8 weights per channel",
        "calibration_inputs": len(inner),
        "in_float": ["normalisation", "last activation"],
    }
    return data, {"quantization": quantization, "delegation": delegation}


def int8_dynamic(model: nn.Module, spec: ModelSpec, calibration: Tensor) -> tuple[bytes, Details]:
    """Linear layers in int8, the ranges of their activations taken row by row at each run; the rest in float.

    Convolutions stay in float: a range for a whole picture at each run costs them more than int8 gains.
    """
    with torch.no_grad():
        inner = InGraph(model, spec).normalise(calibration[:1])
    exported = torch.export.export(folded(model, spec), (inner,), strict=False).module()
    linear = torch.ops.aten.linear.default
    count = sum(node.target is linear for node in exported.graph.nodes)
    if not count:
        raise BadRequest("this model has no linear layer that dynamic int8 could quantize; take xnnpack-int8")
    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
    prepared = prepare_pt2e(exported, XNNPACKQuantizer().set_operator_type(linear, config))
    with torch.no_grad():
        prepared(inner)
    quantized = convert_pt2e(prepared)
    move_exported_model_to_eval(quantized)
    data, delegation = _lower(quantized, spec)
    quantization = {
        "scheme": "PT2E dynamic, s8 activations per row and run, s8 weights per channel",
        "quantized": f"{count} linear layers",
        "in_float": ["normalisation", "last activation", "all but linear layers"],
    }
    return data, {"quantization": quantization, "delegation": delegation}


def _config(pictures: bool) -> QuantizationConfig:
    """XNNPACK's own, but with other activation ranges than its histogram, which takes several times as long.

    Pictures: moving averages of each one's smallest and largest value; a single odd picture widens plain minima
    and maxima, and both those and the histogram changed more answers on training-side pictures that calibration
    had not seen. Rows: plain minima and maxima; a policy lives by the rare large values that averages cut off.
    """
    config = get_symmetric_quantization_config(is_per_channel=True)
    averaged = MovingAverageMinMaxObserver.with_args(averaging_constant=AVERAGING, eps=2**-12)
    observer = averaged if pictures else MinMaxObserver.with_args(eps=2**-12)
    assert config.input_activation is not None
    activation = dataclasses.replace(config.input_activation, observer_or_fake_quant_ctr=observer)
    return dataclasses.replace(config, input_activation=activation, output_activation=activation)


def _lower(model: nn.Module, spec: ModelSpec) -> tuple[bytes, Details]:
    """Exports the contract around `model` with batch size 1 and hands what it can to XNNPACK."""
    program = _plain(torch.export.export(InGraph(model, spec), (example_input(spec),), strict=False))
    description = torch.frombuffer(bytearray(json.dumps(spec.to_dict()).encode()), dtype=torch.uint8)
    edge = to_edge_transform_and_lower(
        program, partitioner=[XnnpackPartitioner()], constant_methods={SPEC_METHOD: description}
    )
    inside = get_delegation_info(edge.exported_program().graph_module).num_delegated_nodes
    data = bytes(edge.to_executorch().buffer)
    session = cast(ExecuTorchSession, open_session("executorch", data, None, spec.inputs, spec.outputs))
    timed = measured(session)
    session.close()
    outside = timed.operators - timed.delegated  # in the profile a whole delegate is one operator
    return data, dataclasses.replace(timed, operators=inside + outside, delegated=inside).to_dict()


def _plain(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Attention and pooling to one number in steps that XNNPACK takes, so that it does not break up around them.

    Torch's own attention also guards rows that a mask hides whole: eight operators a layer that XNNPACK does not
    know. Its pooling ends in a change of strides where pictures come in with their channels last.
    """
    table = {}
    for operator, (replacement, fits) in _REPLACED.items():
        nodes = [node for node in program.graph.nodes if node.target is operator]
        if nodes and all(map(fits, nodes)):
            table[operator] = replacement
    return program.run_decompositions(table) if table else program


def _attention(query: Tensor, key: Tensor, value: Tensor, *, scale: float | None = None) -> Tensor:
    factor = 1 / math.sqrt(query.size(-1)) if scale is None else scale
    return torch.softmax((query * factor) @ key.transpose(-2, -1), dim=-1) @ value


def _pooled(x: Tensor, size: list[int]) -> Tensor:
    del size
    return x.mean((2, 3), keepdim=True)


_REPLACED: dict[Any, tuple[Callable[..., Tensor], Callable[[Any], bool]]] = {
    torch.ops.aten.scaled_dot_product_attention.default: (
        _attention,
        lambda node: len(node.args) == 3 and not set(node.kwargs) - {"scale"},  # no mask
    ),
    torch.ops.aten.adaptive_avg_pool2d.default: (
        _pooled,
        lambda node: list(node.args[1]) == [1, 1] and node.args[0].meta["val"].dim() == 4,
    ),
}
