"""Lowers to ONNX: one self-contained file with a free batch size, in fp32 and statically quantized int8."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from edge_runtime.engines.onnxruntime import SPEC_KEY
from edge_runtime.spec import ModelSpec
from export.contract import InGraph, example_input

OPSET = 18
Details = dict[str, Any]


def fp32(model: nn.Module, spec: ModelSpec, calibration: Tensor) -> tuple[bytes, Details]:
    """The model as it is.

    Args:
        model: takes normalised float32, gives raw outputs, in eval mode.
        spec: the run's.
        calibration: not used; real inputs in the user's units (n, …).

    Returns:
        The `.onnx` and its details: `quantization` (None).
    """
    del calibration
    return _described(_to_onnx(model, spec), spec), {"quantization": None}


def int8(model: nn.Module, spec: ModelSpec, calibration: Tensor) -> tuple[bytes, Details]:
    """Static QDQ: u8 activations, s8 weights per channel, `reduce_range` on.

    Without `reduce_range` x86 processors that lack VNNI saturate and disagree with ARM. A network with
    convolutions keeps pooling and head in float: they are under one percent of the work, and quantizing
    them cost 9 of 150 pictures (reference measurement, EfficientNet-Lite0).
    """
    with tempfile.TemporaryDirectory() as folder:
        plain, ready, quantized = (str(Path(folder) / name) for name in ("plain.onnx", "ready.onnx", "int8.onnx"))
        onnx.save(_to_onnx(model, spec), plain)
        quant_pre_process(plain, ready)
        graph = onnx.load(ready).graph
        operators = {node.op_type for node in graph.node}
        types = ["Conv", "Add", "Clip", "Relu"] if "Conv" in operators else ["Gemm", "MatMul", "Add", "Relu"]
        in_float = _before_first_weights(graph)
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
            nodes_to_exclude=in_float,
        )
        data = _described(onnx.load(quantized), spec)
    kept = sorted({node.op_type for node in graph.node if node.op_type not in types})
    quantization = {
        "scheme": "QDQ static, u8 activations per tensor, s8 weights per channel, reduce_range",
        "calibration_inputs": len(calibration),
        "in_float": ["normalisation", "last activation", *kept],
    }
    return data, {"quantization": quantization}


class _Reader(CalibrationDataReader):
    """Hands the calibration inputs to onnxruntime one at a time."""

    def __init__(self, name: str, inputs: np.ndarray) -> None:
        self._rest = iter([{name: sample[None]} for sample in inputs])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._rest, None)


def _to_onnx(model: nn.Module, spec: ModelSpec) -> onnx.ModelProto:
    with contextlib.redirect_stdout(io.StringIO()):  # the exporter prints its progress
        program = torch.onnx.export(
            InGraph(model, spec).eval(),
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


def _before_first_weights(graph: onnx.GraphProto) -> list[str]:
    """The names of the contract's nodes ahead of the first convolution or matrix product."""
    names = []
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            break
        names.append(node.name)
    return names


def _described(model: onnx.ModelProto, spec: ModelSpec) -> bytes:
    """The file's bytes with the spec inside, and without the exporter's source paths of this machine."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    del model.metadata_props[:]
    model.metadata_props.add(key=SPEC_KEY, value=json.dumps(spec.to_dict()))
    onnx.checker.check_model(model)
    return model.SerializeToString()
