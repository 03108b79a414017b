"""An existing `.onnx`: float32 (batch, 3, side, side) or (batch, columns) in, logits or probabilities out.

Graph surgery puts the contract around it: pixels in, normalisation and layout in front, softmax behind. There is no
torch module inside, so only the recipes of onnxruntime apply.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, compose, helper, numpy_helper, version_converter
from torch import Tensor, nn

from edge_runtime.errors import BadInput, one_line
from edge_runtime.spec import ModelSpec
from edge_runtime.store import sha256_of
from export.asked import Asked, spec_of
from export.program import ASK_OUTPUTS, TRACE_ERRORS, checked
from export.sources import Plan, Source
from train.user_data import Data

OPSET = 18  # before 13, Softmax meant another axis
SHAPING = ("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
SHOWN = {"Softmax": "probabilities", "LogSoftmax": "logits", "Gemm": "logits", "MatMul": "logits", "Conv": "logits"}
ONLY = "an .onnx holds no module that ExecuTorch could lower; of the recipes only those of onnxruntime apply"


def plan(typed: str, asked: Asked, data: Data | None) -> Plan:
    """The plan; the file is read and checked for it."""
    path = Path(typed)
    proto = _read(path)
    shape = _input_shape(proto, path)
    side = None if len(shape) == 2 else int(shape[2])
    spec, missing = spec_of(path.stem, asked, data, side=side)
    outputs = asked.outputs or ends_in(proto)
    if outputs is None:
        missing = (*missing, ASK_OUTPUTS)
    if spec is not None and (spec.image is None) != (side is None):
        raise BadInput(f"{path} takes {shape}, which --data {data.name if data else ''} does not fit")

    def load() -> Source:
        assert spec is not None and outputs is not None
        kinds = {node.op_type for node in proto.graph.node}
        auto = f"onnx-fp32,{'onnx-int8' if 'Conv' in kinds else 'onnx-int8-dynamic'}"
        return checked(Source(spec, RawGraph(proto, outputs, path), sha256_of(path), auto=auto), typed)

    return Plan(
        kind="onnx",
        what=typed,
        name=path.stem,
        spec=spec,
        missing=missing,
        data=data,
        content=lambda: _content(path),
        load=load,
        engines=("onnxruntime",),
        why=ONLY,
    )


class RawGraph(nn.Module):
    """The file as a module: the eager reference of its export is the file itself, run as it came."""

    def __init__(self, proto: onnx.ModelProto, outputs: str, path: Path) -> None:
        super().__init__()
        self.proto, self.outputs = _free_batch(proto, path), outputs
        self.session = _session(self.proto, path)
        for number, tensor in enumerate(proto.graph.initializer):  # so that weights are checked as any module's are
            if tensor.data_type == TensorProto.FLOAT:
                value = torch.from_numpy(numpy_helper.to_array(tensor).copy())
                self.register_buffer(f"{tensor.name} ({number})".replace(".", "_"), value)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, whatever the file gives."""
        name = self.session.get_inputs()[0].name
        found = torch.from_numpy(self.session.run(None, {name: x.numpy()})[0])
        return torch.log(found.clamp_min(1e-38)) if self.outputs == "probabilities" else found

    def in_graph(self, spec: ModelSpec) -> onnx.ModelProto:
        """The graph with the user's units in and probabilities out."""
        proto = compose.add_prefix(copy.deepcopy(self.proto), "inner_")
        graph, given = proto.graph, spec.inputs[0]
        old_in, old_out = graph.input[0].name, graph.output[0].name
        assert spec.normalise is not None
        width = (1, -1, 1, 1) if spec.image else (1, -1)
        mean = np.asarray(spec.normalise.mean, np.float32).reshape(width)
        scale = (1 / np.asarray(spec.normalise.std, np.float32)).reshape(width)
        graph.initializer.extend([numpy_helper.from_array(mean, "mean"), numpy_helper.from_array(scale, "scale")])
        front = [
            helper.make_node("Cast", [given.name], ["as_float"], "cast", to=TensorProto.FLOAT),
            helper.make_node("Sub", ["as_float", "mean"], ["centred"], "subtract_mean"),
            helper.make_node("Mul", ["centred", "scale"], [old_in], "divide_by_std"),
        ]
        if spec.image:
            front.insert(0, helper.make_node("Transpose", [given.name], ["planes"], "to_planes", perm=[0, 3, 1, 2]))
            front[1].input[0] = "planes"
        answer = helper.make_node("Identity", [old_out], [spec.outputs[0].name], "answer")
        if self.outputs == "logits":
            answer = helper.make_node("Softmax", [old_out], [spec.outputs[0].name], "answer", axis=-1)
        nodes = [*front, *graph.node, answer]
        for part in (graph.node, graph.input, graph.output, graph.value_info):
            del part[:]
        graph.node.extend(nodes)
        kind = TensorProto.UINT8 if given.dtype == "uint8" else TensorProto.FLOAT
        graph.input.append(helper.make_tensor_value_info(given.name, kind, list(given.shape)))
        out = spec.outputs[0]
        graph.output.append(helper.make_tensor_value_info(out.name, TensorProto.FLOAT, list(out.shape)))
        return proto


def ends_in(proto: onnx.ModelProto) -> str | None:
    """What the last operator that is more than a change of shape shows: logits, probabilities, or nothing."""
    made = {name: node for node in proto.graph.node for name in node.output}
    weights = {tensor.name for tensor in proto.graph.initializer}
    node = made.get(proto.graph.output[0].name)
    while node is not None:
        if node.op_type in SHOWN:
            return SHOWN[node.op_type]
        inputs = [name for name in node.input if name not in weights]
        # a sum of one tensor and a weight is the bias of a linear layer
        if node.op_type not in SHAPING and not (node.op_type == "Add" and len(inputs) == 1):
            return None
        node = made.get(inputs[0]) if inputs else None
    return None


def _read(path: Path) -> onnx.ModelProto:
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(path)
        onnx.checker.check_model(proto)
        opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), OPSET)
        return version_converter.convert_version(proto, OPSET) if opset < 13 else proto
    except (OSError, DecodeError, onnx.checker.ValidationError, *TRACE_ERRORS) as error:
        raise BadInput(f"{path} cannot be read as an .onnx: {one_line(str(error))[:200]}") from error


def _input_shape(proto: onnx.ModelProto, path: Path) -> tuple[Any, ...]:
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [given for given in proto.graph.input if given.name not in weights]
    if len(inputs) != 1 or len(proto.graph.output) != 1:
        raise BadInput(f"{path} has {len(inputs)} inputs and {len(proto.graph.output)} outputs; one of each is needed")
    kind = inputs[0].type.tensor_type
    shape = tuple(size.dim_value or size.dim_param or "?" for size in kind.shape.dim)
    picture = len(shape) == 4 and shape[1] == 3 and shape[2] == shape[3] and isinstance(shape[2], int)
    if kind.elem_type != TensorProto.FLOAT or not (picture or (len(shape) == 2 and isinstance(shape[1], int))):
        name = TensorProto.DataType.Name(kind.elem_type).lower()
        raise BadInput(f"{path} takes {name} {shape}; float (batch, 3, side, side) or (batch, columns) is needed")
    return shape


def _free_batch(proto: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The same graph for any batch, shown on a batch of two.

    Raises:
        BadInput: the graph has its batch size written into it.
    """
    free = copy.deepcopy(proto)
    weights = {tensor.name for tensor in free.graph.initializer}
    own = [given for given in free.graph.input if given.name not in weights]
    del free.graph.input[:]
    free.graph.input.extend(own)  # old files list weights as inputs too
    for value in (free.graph.input[0], free.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del free.graph.value_info[:]
    shape = _input_shape(proto, path)
    if isinstance(shape[0], int):
        _free_reshapes(free.graph, shape[0])
    session = _session(free, path)
    two = np.random.default_rng(0).standard_normal((2, *map(int, shape[1:])), np.float32)
    name = session.get_inputs()[0].name
    try:
        both = session.run(None, {name: two})[0]
        alone = np.concatenate([session.run(None, {name: row[None]})[0] for row in two])
    except _ORT_ERRORS as error:
        raise BadInput(
            f"{path} has a fixed batch size; export it with a free one: torch.onnx.export(…, dynamic_shapes="
            "({0: 'batch'},)), or dynamic_axes of older exporters"
        ) from error
    if both.shape != alone.shape or not np.allclose(both, alone, rtol=1e-3, atol=1e-5, equal_nan=True):
        raise BadInput(f"{path} answers a batch otherwise than its samples; export it with a free batch size")
    return free


def _free_reshapes(graph: onnx.GraphProto, batch: int) -> None:
    """Lets each Reshape to a constant (batch, …) keep the first size of what it is given.

    `torch.onnx.export` writes Flatten so where no free batch is asked for. Where the first size is no batch, the
    answers show it.
    """
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    values |= {
        node.output[0]: numpy_helper.to_array(attribute.t)
        for node in graph.node
        for attribute in node.attribute
        if node.op_type == "Constant" and attribute.name == "value"
    }
    for node in graph.node:
        sizes = values.get(node.input[1]) if node.op_type == "Reshape" else None
        if sizes is None or sizes.size < 2 or sizes[0] != batch or 0 in sizes:
            continue
        old, node.input[1] = node.input[1], f"{node.output[0]}_any_batch"
        graph.initializer.append(numpy_helper.from_array(np.asarray([0, *sizes[1:]], np.int64), node.input[1]))
        if not any(old in other.input for other in graph.node):  # onnxruntime warns of what nothing reads
            left = [tensor for tensor in graph.initializer if tensor.name != old]
            del graph.initializer[:]
            graph.initializer.extend(left)
        kept = [attribute for attribute in node.attribute if attribute.name != "allowzero"]
        del node.attribute[:]
        node.attribute.extend(kept)


def _session(proto: onnx.ModelProto, path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except _ORT_ERRORS as error:
        raise BadInput(f"{path} cannot be run by onnxruntime: {one_line(str(error))[:200]}") from error


def _content(path: Path) -> str:
    """The file's hash, with those of the weights that lie beside it."""
    proto = onnx.load(path, load_external_data=False)
    beside = {
        entry.value for tensor in proto.graph.initializer for entry in tensor.external_data if entry.key == "location"
    }
    return " ".join([sha256_of(path), *(sha256_of(path.parent / name) for name in sorted(beside))])


_STATE = onnxruntime.capi.onnxruntime_pybind11_state
_ORT_ERRORS: tuple[type[Exception], ...] = (
    *(kind for kind in vars(_STATE).values() if isinstance(kind, type) and issubclass(kind, Exception)),
    RuntimeError,
    ValueError,
)
