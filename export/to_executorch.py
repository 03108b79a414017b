"""Lowers to ExecuTorch with XNNPACK: `.pte` in fp32, and int8 by PT2E static per-channel quantization."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    QuantizationConfig,
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from executorch.exir import to_edge_transform_and_lower
from torch import Tensor, nn
from torchao.quantization.pt2e import MinMaxObserver, MovingAverageMinMaxObserver, move_exported_model_to_eval
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edge_runtime.engines.executorch import SPEC_METHOD
from edge_runtime.spec import ModelSpec
from export.contract import InGraph, example_input
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
    data, delegation = _lower(model, spec)
    return data, {"quantization": None, "delegation": delegation}


def int8(model: nn.Module, spec: ModelSpec, calibration: Tensor) -> tuple[bytes, Details]:
    """The model between normalisation and last activation in int8, ranges from the calibration inputs.

    Weights are symmetric per channel, activations per tensor, as XNNPACK's kernels take them.
    """
    contract = InGraph(model, spec)
    with torch.no_grad():
        inner = [contract.normalise(sample[None]) for sample in calibration]  # not inference mode: export saves them
    exported = torch.export.export(model, (inner[0],), strict=False).module()
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
    program = torch.export.export(InGraph(model, spec), (example_input(spec),), strict=False)
    description = torch.frombuffer(bytearray(json.dumps(spec.to_dict()).encode()), dtype=torch.uint8)
    edge = to_edge_transform_and_lower(
        program, partitioner=[XnnpackPartitioner()], constant_methods={SPEC_METHOD: description}
    )
    graph = edge.exported_program().graph_module.graph
    called = [node for node in graph.nodes if node.op == "call_function"]
    outside = [_name(node) for node in called if "delegate" not in _name(node) and _name(node) != "getitem"]
    delegates = sum("call_delegate" in _name(node) for node in called)
    return edge.to_executorch().buffer, {"delegates": delegates, "operators_outside": outside}


def _name(node: Any) -> str:
    target = node.target
    return str(getattr(target, "_op", target).__name__ if hasattr(target, "__name__") else target)
