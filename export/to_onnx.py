"""Lowers to ONNX: one self-contained file with a free batch size, in fp32, fp16, and static and dynamic int8."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from edge_runtime.engines.onnxruntime import SPEC_KEY
from edge_runtime.errors import BadRequest
from edge_runtime.spec import ModelSpec
from export.contract import InGraph, example_input
from export.fold import folded, once_a_model
from export.onnx_graph import RawGraph
from export.onnx_profile import delegation_of, operators

OPSET = 18
WEIGHTED = ("Conv", "Gemm", "MatMul")
HALF_FROM = 256  # numbers: the few of a mean or a scale stay exact
HALF_MAX = np.finfo(np.float16).max
Details = dict[str, Any]


def fp32(model: nn.Module, spec: ModelSpec, calibration: Tensor) -> tuple[bytes, Details]:
    """The model as it is.

    Args:
        model: takes normalised float32, gives raw outputs, in eval mode.
        spec: the run's.
        calibration: not used; real inputs in the user's units (n, …).

    Returns:
        The `.onnx` and its details: `quantization` (None) and `delegation`.
    """
    return _finished(_to_onnx(model, spec), spec, calibration, "fp32", None)


def fp16(model: nn.Module, spec: ModelSpec, calibration: Tensor) -> tuple[bytes, Details]:
    """Weights stored in half precision, arithmetic in float32: half the download, the speed of fp32.

    Arithmetic in fp16 gains nothing on processors without kernels for it, and is not safe on the others:
    onnxruntime 1.32 crashes on a convolution of 32 channels, and corrupts LayerNormalization from the second run
    on (its issue 27768). It widens these weights once, when it loads the file.
    """
    program = copy.deepcopy(_to_onnx(model, spec))
    graph, casts = program.graph, []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != onnx.TensorProto.FLOAT or values.size < HALF_FROM or np.abs(values).max() > HALF_MAX:
            continue
        casts.append(onnx.helper.make_node("Cast", [f"{tensor.name}.half"], [tensor.name], to=onnx.TensorProto.FLOAT))
        casts[-1].name = f"{tensor.name}.widen"
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}.half"))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    quantization = {
        "scheme": "fp16 weights; float32 arithmetic, for processors lack fp16 kernels: they are widened at load",
        "in_float": ["all activations"],
    }
    return _finished(program, spec, calibration, "fp16", quantization)


def int8(model: nn.Module, spec: ModelSpec, calibration: Tensor) -> tuple[bytes, Details]:
    """Static QDQ: u8 activations, s8 weights per channel, `reduce_range` on.

    Without `reduce_range` x86 processors that lack VNNI saturate and disagree with ARM. A network with
    convolutions keeps pooling and head in float: they are under one percent of the work, and quantizing
    them cost 9 of 150 pictures (reference measurement, EfficientNet-Lite0).
    """
    with tempfile.TemporaryDirectory() as folder:
        ready, quantized = _ready(model, spec, Path(folder)), str(Path(folder) / "int8.onnx")
        graph = onnx.load(ready).graph
        kinds = {node.op_type for node in graph.node}
        types = ["Conv", "Add", "Clip", "Relu"] if "Conv" in kinds else ["Gemm", "MatMul", "Add", "Relu"]
        quantize_static(
            ready,
            quantized,
            _Reader(spec.inputs[0].name, calibration.numpy()),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=types,
            nodes_to_exclude=_before_first_weights(graph),
        )
        program = onnx.load(quantized)
    quantization = {
        "scheme": "QDQ static, u8 activations per tensor, s8 weights per channel, reduce_range",
        "calibration_inputs": len(calibration),
        "in_float": ["normalisation", "last activation", *sorted(kinds - set(types))],
    }
    return _finished(program, spec, calibration, "int8", quantization)


def int8_dynamic(model: nn.Module, spec: ModelSpec, calibration: Tensor) -> tuple[bytes, Details]:
    """Linear layers in int8, their activations' ranges taken at each run; everything else in float.

    Convolutions are never quantized so: onnxruntime has no ConvInteger for signed weights and refuses the file
    (its issue 15888). `reduce_range` as for static int8.
    """
    with tempfile.TemporaryDirectory() as folder:
        ready, quantized = _ready(model, spec, Path(folder)), str(Path(folder) / "int8.onnx")
        quantize_dynamic(
            ready,
            quantized,
            op_types_to_quantize=["MatMul"],  # onnxruntime's quantizer makes each Gemm one of these first
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
        program = onnx.load(quantized)
    count = sum(node.op_type == "MatMulInteger" for node in program.graph.node)
    if not count:
        raise BadRequest("this model has no linear layer that dynamic int8 could quantize; take onnx-int8")
    quantization = {
        "scheme": "dynamic, u8 activations per run (samples of a batch share a range), s8 weights per channel, "
        "reduce_range",
        "quantized": f"{count} linear layers",
        "in_float": ["normalisation", "last activation", "all but linear layers"],
    }
    return _finished(program, spec, calibration, "int8", quantization)


class _Reader(CalibrationDataReader):
    """Hands the calibration inputs to onnxruntime one at a time."""

    def __init__(self, name: str, inputs: np.ndarray) -> None:
        self._rest = iter([{name: sample[None]} for sample in inputs])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._rest, None)


@once_a_model
def _to_onnx(model: nn.Module, spec: ModelSpec) -> onnx.ModelProto:
    """The contract around the model; every recipe starts from the same one, and must not change it."""
    if isinstance(model, RawGraph):
        return model.in_graph(spec)
    with contextlib.redirect_stdout(io.StringIO()):  # the exporter prints its progress
        program = torch.onnx.export(
            InGraph(folded(model, spec), spec).eval(),
            (example_input(spec, batch=2),),  # 2: a size of 1 would be taken as a constant
            input_names=[spec.inputs[0].name],
            output_names=[spec.outputs[0].name],
            opset_version=OPSET,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            external_data=False,
        )
    assert program is not None
    return program.model_proto


def _ready(model: nn.Module, spec: ModelSpec, folder: Path) -> str:
    """A file of the model with shapes inferred and constants folded, as the quantizers want it."""
    plain, ready = str(folder / "plain.onnx"), str(folder / "ready.onnx")
    onnx.save(_to_onnx(model, spec), plain)
    quant_pre_process(plain, ready)
    return ready


def _before_first_weights(graph: onnx.GraphProto) -> list[str]:
    """The names of the contract's nodes ahead of the first convolution or matrix product."""
    return [node.name for node in itertools.takewhile(lambda node: node.op_type not in WEIGHTED, graph.node)]


def _finished(
    program: onnx.ModelProto, spec: ModelSpec, samples: Tensor, precision: str, quantization: Details | None
) -> tuple[bytes, Details]:
    """The file's bytes, and the details of what it is and which kernels ran it on one sample here."""
    data = _described(program, spec)
    rows = operators(data, {spec.inputs[0].name: samples[:1].numpy()}, precision)
    return data, {"quantization": quantization, "delegation": delegation_of(rows, precision).to_dict()}


def _described(model: onnx.ModelProto, spec: ModelSpec) -> bytes:
    """The file's bytes with the spec inside, and without the exporter's source paths of this machine."""
    graph = model.graph  # of the shared one too: nobody reads what goes
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    del model.metadata_props[:]
    model.metadata_props.add(key=SPEC_KEY, value=json.dumps(spec.to_dict()))
    onnx.checker.check_model(model)
    return model.SerializeToString()
