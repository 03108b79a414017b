"""Lowers to ONNX: one self-contained file with a free batch size, in fp32, fp16, and static and dynamic int8."""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
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
from export.contract import InGraph, example_input, output_of
from export.fold import folded, once_a_model
from export.onnx_graph import RawGraph
from export.onnx_profile import delegation_of, operators
from export.recipes import Job, Lowered
from export.rounding import moments_of, rounded

OPSET = 18
WEIGHTED = ("Conv", "Gemm", "MatMul")
LINEAR = ("Gemm", "MatMul")
LEVELS = 64  # the largest weight under `reduce_range`
MAX_WEIGHT_BYTES = 2**31 - 2**24  # protobuf holds 2 GiB in one message; the graph itself needs some of it
HALF_FROM = 256  # numbers: the few of a mean or a scale stay exact
HALF_MAX = np.finfo(np.float16).max
Details = dict[str, Any]


def fp32(job: Job) -> Lowered:
    """The model as it is."""
    return _finished(_to_onnx(job.model, job.spec)[0], job, "fp32", None)


def fp16(job: Job) -> Lowered:
    """Weights stored in half precision, arithmetic in float32: half the download, the speed of fp32.

    Arithmetic in fp16 gains nothing on processors without kernels for it, and is not safe on the others:
    onnxruntime 1.32 crashes on a convolution of 32 channels, and corrupts LayerNormalization from the second run
    on (its issue 27768). It widens these weights once, when it loads the file.
    """
    program = copy.deepcopy(_to_onnx(job.model, job.spec)[0])
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
    return _finished(program, job, "fp16", quantization)


def int8(job: Job) -> Lowered:
    """Static QDQ: u8 activations, s8 weights per channel, `reduce_range` on.

    Without `reduce_range` x86 processors that lack VNNI saturate and disagree with ARM. A network with
    convolutions keeps pooling and head in float: they are under one percent of the work, and quantizing
    them cost 9 of 150 pictures (reference measurement, EfficientNet-Lite0). In a transformer linear layers do the
    work: they are quantized, and give floats, for with its residual sums in int8 too a ViT moved several times as far.
    """
    with tempfile.TemporaryDirectory() as folder:
        given = _to_onnx(job.model, job.spec)[0].graph
        kinds, products = Counter(node.op_type for node in given.node), _products(given)
        # of one row a linear layer is a Gemm, and of many, as a transformer's tokens, a MatMul
        tokens = sum(node.op_type == "MatMul" and node.name not in products for node in given.node) > kinds["Conv"]
        types = ["Conv", "Add", "Clip", "Relu"] if "Conv" in kinds else ["Gemm", "MatMul", "Add", "Relu"]
        if tokens:
            types = ["Conv", "Clip", "Relu", *LINEAR]
        plain, quantized = _rounded(job, types), str(Path(folder) / "int8.onnx")
        ready = _ready(plain, Path(folder))
        graph = onnx.load(ready).graph
        quantize_static(
            ready,
            quantized,
            _Reader(job.spec.inputs[0].name, job.calibration.numpy()),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=types,
            nodes_to_exclude=[*_before_first_weights(graph), *_nodes_of(job), *(_products(graph) if tokens else ())],
            extra_options={"OpTypesToExcludeOutputQuantization": list(LINEAR) if tokens else []},
        )
        program = onnx.load(quantized)
    _keep_floats(program.graph)
    in_float = ["normalisation", "last activation", *(["products of activations"] if tokens and products else [])]
    quantization = {
        "scheme": "QDQ static, u8 activations per tensor, s8 weights per channel, reduce_range",
        "calibration_inputs": len(job.calibration),
        "in_float": [*in_float, *sorted(set(kinds) - set(types)), *sorted(job.in_float)],
    }
    return _finished(program, job, "int8", quantization)


def int8_dynamic(job: Job) -> Lowered:
    """Linear layers in int8, their activations' ranges taken at each run; everything else in float.

    Convolutions are never quantized so: onnxruntime has no ConvInteger for signed weights and refuses the file
    (its issue 15888). `reduce_range` as for static int8.
    """
    with tempfile.TemporaryDirectory() as folder:
        ready, quantized = _ready(_to_onnx(job.model, job.spec)[0], Path(folder)), str(Path(folder) / "int8.onnx")
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
    return _finished(program, job, "int8", quantization)


class _Reader(CalibrationDataReader):
    """Hands the calibration inputs to onnxruntime one at a time."""

    def __init__(self, name: str, inputs: np.ndarray) -> None:
        self._rest = iter([{name: sample[None]} for sample in inputs])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._rest, None)


@once_a_model
def _to_onnx(model: nn.Module, spec: ModelSpec) -> tuple[onnx.ModelProto, nn.Module | None, Mapping[str, str]]:
    """The contract around the model, its exported program, and the layer that each node comes from.

    No recipe may change what all start from.
    """
    if isinstance(model, RawGraph):
        return model.in_graph(spec), None, {}
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    if weights > MAX_WEIGHT_BYTES:
        raise BadRequest(
            f"the weights take {weights / 1e9:.1f} GB, and one .onnx file holds at most "
            f"{MAX_WEIGHT_BYTES / 1e9:.1f} GB; take the xnnpack recipes: --recipes xnnpack-fp32,xnnpack-int8"
        )
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
    assert program is not None and program.exported_program is not None
    proto = program.model_proto
    return proto, program.exported_program.module(), {node.name: _layer(node) for node in proto.graph.node}


def _layer(node: onnx.NodeProto) -> str:
    """As `named_modules` of the inner model calls it; the exporter notes the modules around each node."""
    scopes = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), "[]")
    modules = ast.literal_eval(scopes)[:-1]  # the last is the operator's own name
    return modules[-1].removeprefix("model.") if modules else ""


def _nodes_of(job: Job) -> list[str]:
    """The nodes of the layers that stay in float."""
    return [node for node, layer in _to_onnx(job.model, job.spec)[2].items() if layer in job.in_float]


def _rounded(job: Job, types: Sequence[str]) -> onnx.ModelProto:
    """The graph with the weights of the layers that are quantized on the grid of `reduce_range`."""
    program = copy.deepcopy(_to_onnx(job.model, job.spec)[0])
    if isinstance(job.model, RawGraph):
        return program
    weighted = (node for node in program.graph.node if node.op_type in types and node.op_type in WEIGHTED)
    wanted = {name for node in weighted for name in node.input[1:]}
    seen = moments_of(job.model, job.spec, job.calibration)
    others = {layer for layer in seen if f"model.{layer}.weight" not in wanted}
    found = rounded(job.model, job.spec, job.calibration, LEVELS, job.in_float | others)
    for tensor in program.graph.initializer:
        values = found.get(tensor.name.removeprefix("model."))
        if tensor.name in wanted and values is not None:
            tensor.CopyFrom(numpy_helper.from_array(values.numpy(), tensor.name))
    return program


def _ready(program: onnx.ModelProto, folder: Path) -> str:
    """A file of the graph with shapes inferred and constants folded, as the quantizers want it."""
    plain, ready = str(folder / "plain.onnx"), str(folder / "ready.onnx")
    onnx.save(program, plain)
    quant_pre_process(plain, ready)
    return ready


def _keep_floats(graph: onnx.GraphProto) -> None:
    """Gives each layer whose weights stay in float a dequantizer of its own, with the one step once a channel.

    onnxruntime 1.32 takes a float layer behind a dequantizer of one step for one that was forgotten, and quantizes its
    weights itself when it loads the file (`WeightBiasQuantization`), all channels by one step: five times the error of
    int8 by channel, in the layers that were to be spared.
    """
    makers = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type in ("Conv", "Gemm")]:
        maker, weight = makers.get(node.input[0]), tensors.get(node.input[1])
        if maker is None or weight is None or weight.data_type != onnx.TensorProto.FLOAT:
            continue
        given = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        channels = (
            weight.dims[1] * given.get("group", 1) if node.op_type == "Conv" else weight.dims[given.get("transB", 0)]
        )
        inputs = [maker.input[0]]
        for name in maker.input[1:]:
            values = numpy_helper.to_array(tensors[name])
            inputs.append(f"{node.name}.{name}")
            graph.initializer.append(numpy_helper.from_array(np.full(channels, values), inputs[-1]))
        node.input[0] = f"{node.name}.input"
        mine = onnx.helper.make_node("DequantizeLinear", inputs, [node.input[0]], f"{node.name}.dequantize", axis=1)
        graph.node.insert(list(graph.node).index(node), mine)


def _products(graph: onnx.GraphProto) -> list[str]:
    """The names of the matrix products that have no weights: attention's, of two activations."""
    weights = {tensor.name for tensor in graph.initializer}
    return [node.name for node in graph.node if node.op_type in LINEAR and weights.isdisjoint(node.input[:2])]


def _before_first_weights(graph: onnx.GraphProto) -> list[str]:
    """The names of the contract's nodes ahead of the first convolution or matrix product."""
    return [node.name for node in itertools.takewhile(lambda node: node.op_type not in WEIGHTED, graph.node)]


def _finished(program: onnx.ModelProto, job: Job, precision: str, quantization: Details | None) -> Lowered:
    """The file, the outputs of the steps to it, and which kernels ran it on one sample here."""
    data, name = _described(program, job.spec), job.spec.inputs[0].name
    stages = dict(_before(job))
    if quantization:
        stages["quantized graph"] = _as_written(data, name, job.probe)
    rows = operators(data, {name: job.calibration[:1].numpy()}, precision)
    delegation = delegation_of(rows, precision).to_dict()
    return Lowered(data, {"quantization": quantization, "delegation": delegation}, stages)


def _before(job: Job) -> Mapping[str, np.ndarray]:
    """The outputs of the steps that all recipes share, which are taken once a model and probe."""
    kept = _kept(job.model, job.spec)
    if not kept or kept[0][0] is not job.probe:
        graph, exported, _ = _to_onnx(job.model, job.spec)
        stages = {} if exported is None else {"exported program": output_of(exported, job.probe).numpy()}
        stages["graph"] = _as_written(graph.SerializeToString(), job.spec.inputs[0].name, job.probe)
        kept[:] = [(job.probe, stages)]
    return kept[0][1]


@once_a_model
def _kept(model: nn.Module, spec: ModelSpec) -> list[tuple[Tensor, Mapping[str, np.ndarray]]]:
    del model, spec
    return []


def _as_written(data: bytes, name: str, probe: Tensor) -> np.ndarray:
    """The outputs (n, k) of a graph that onnxruntime runs node by node, with none of its own rewriting."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {name: sample[None]})[0] for sample in probe.numpy()])


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
