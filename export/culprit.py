"""Which layer a bad hop of the ladder begins at, found by cutting the graph and comparing what comes out of the cuts.

Where both sides show what lies between (eager's modules, a program's nodes, a graph's tensors), one run tells. A
lowered program does not: prefixes of it are lowered by the same backend, and a binary search over the cut finds the
first one that answers otherwise. A layer is named as in `model.named_modules()`, else by its node.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import onnx
import onnxruntime as ort
import torch
from executorch.exir import to_edge_transform_and_lower
from torch import Tensor, fx, nn

from edge_runtime.check import TOLERANCE
from edge_runtime.engines import open_session
from edge_runtime.errors import EngineError
from edge_runtime.spec import TensorSpec
from export import boards
from export.contract import InGraph, example_input
from export.fold import folded
from export.lowering import lower
from export.onnx_graph import RawGraph
from export.program import TRACE_ERRORS
from export.recipes import Job, Lowered
from export.xnnpack_partitioner import partitioner
from export.xnnpack_quantizer import ranges_by_row

log = logging.getLogger(__name__)
INNER = "model."  # what `InGraph` calls the model inside
Values = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Cut:
    """The artifact's graph up to a node, lowered as it was; `written` is what the graph gives before lowering."""

    engine: str
    data: bytes
    takes: TensorSpec
    gives: TensorSpec
    written: np.ndarray

    def here(self, inputs: np.ndarray) -> np.ndarray:
        """Its output (n, …) on this machine."""
        session = open_session(self.engine, self.data, None, (self.takes,), (self.gives,))
        rows = [session.run({self.takes.name: one[None]})[self.gives.name] for one in inputs]
        session.close()
        return np.stack([np.asarray(row, np.float32).ravel() for row in rows])

    def question(self, key: str, inputs: np.ndarray) -> boards.Question:
        """The same, for the boards."""
        return boards.Question(key, self.engine, self.data, self.takes, self.gives, inputs)


def layer(artifact: Mapping[str, Any], row: Mapping[str, Any], job: Job, lowered: Lowered) -> str | None:
    """The layer that a bad row of the ladder begins at, or None where no cut shows it."""
    bound = TOLERANCE[artifact["precision"]]
    try:
        if row["hop"] == "exported program":
            return _in_export(artifact, job, bound)
        if artifact["engine"] == "onnxruntime":
            return _in_graph(lowered.data, job, bound) or _in_kernels(artifact, row, job, lowered, bound)
        return _in_kernels(artifact, row, job, lowered, bound)
    except (*TRACE_ERRORS, EngineError) as error:  # the export itself stands, bad or not
        log.warning("%s: the bad layer was not found: %s", artifact["id"], error)
        return None


def integer_part(artifact: Mapping[str, Any], job: Job) -> Cut | None:
    """A wholly quantized XNNPACK program up to its last dequantize: a float that stands for one integer each.

    One scale multiplies all of them in float32, so that these floats are equal where the integers before are.
    """
    program = _program(artifact, job)
    last = [name for name, kind in _cuts(program).items() if kind == "dequantize"][-1:]
    return _cut_program(program, last[0], job) if last else None


def _in_export(artifact: Mapping[str, Any], job: Job, bound: float) -> str | None:
    """Eager modules against the nodes that they became."""
    if isinstance(job.model, RawGraph):
        return None
    handed = artifact["recipe"] == "xnnpack-fp32"  # int8 starts from the plain program, and so does ONNX
    module = (_program(artifact, job) if handed else _exported(job)).module(check_guards=False)
    seen, x = _outputs_of_modules(InGraph(folded(job.model, job.spec), job.spec), job.probe[:1]), job.probe[:1]
    values, last = _values(module, x), {}
    for node in module.graph.nodes:
        for path in _paths(node):
            last[path] = node.name
    order = {name: number for number, name in enumerate(values)}
    pairs = [(path, name) for path, name in last.items() if path in seen and name in values]
    for path, name in sorted(pairs, key=lambda pair: (order[pair[1]], -pair[0].count("."))):
        if seen[path].shape == values[name].shape and _differ(seen[path], values[name], bound):
            return path.removeprefix(INNER)
    return None


def _in_graph(data: bytes, job: Job, bound: float) -> str | None:
    """A program's nodes against the tensors of the same name in an ONNX graph that runs as it was written."""
    if isinstance(job.model, RawGraph):
        return None
    from export.to_onnx import _to_onnx  # the very program that the graph was written of: its names are the graph's

    module = _to_onnx(job.model, job.spec)[1]
    assert isinstance(module, fx.GraphModule)
    values = _values(module, job.probe[:1])
    proto = onnx.load_from_string(data)
    named = [(node, name) for node in proto.graph.node for name in node.output if name in values]
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for _, name in named)
    found = _run_as_written(proto.SerializeToString(), job)
    paths = {node.name: [path for path in _paths(node) if path.startswith(INNER)] for node in module.graph.nodes}
    for (node, name), value in zip(named, found, strict=True):
        if value.shape == values[name].shape and _differ(values[name], value, bound):
            return _last(paths[name]) or _of_weights(node, proto) or name
    return None


def _in_kernels(
    artifact: Mapping[str, Any], row: Mapping[str, Any], job: Job, lowered: Lowered, bound: float
) -> str | None:
    """Binary search over the cut: this machine against the graph as written, or a board against this machine."""
    inputs = job.probe[:1].numpy()
    board = next((name for name in boards.BOARDS if row["hop"].startswith(boards.label_of(name))), None)

    def bad(cut: Cut) -> bool:
        here = cut.here(inputs)
        if board is None:
            return _differ(cut.written, here, bound)
        return _differ(here, boards.answers([cut.question("cut", inputs)], [board])[board]["cut"], bound)

    if artifact["engine"] == "onnxruntime":
        proto = onnx.load_from_string(lowered.data)
        ends = [node for node in proto.graph.node if node.output[0] in _floats_of_a_sample(lowered.data, job)]
        found = first(ends, lambda node: bad(_cut_graph(proto, node.output[0], job)))
        return None if found is None else _of_weights(found, proto) or found.name
    program = _program(artifact, job)
    name = first(list(_cuts(program)), lambda name: bad(_cut_program(program, name, job)))
    return None if name is None else _layer_of(program, name, job)


def first(cuts: Sequence[Any], bad: Callable[[Any], bool]) -> Any | None:
    """The first bad one of cuts that are good up to somewhere and bad from there on; None where the last is good.

    >>> first([1, 2, 3, 4, 5], lambda cut: cut >= 4)
    4
    """
    if not cuts or not bad(cuts[-1]):
        return None
    low, high = 0, len(cuts) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if bad(cuts[middle]) else (middle + 1, high)
    return cuts[high]


class _HandedOver(Exception):  # noqa: N818  (it ends a recipe early, nothing is wrong)
    pass


def _program(artifact: Mapping[str, Any], job: Job) -> Any:
    """The program that XNNPACK was given: the recipe runs again, perhaps after a child process, up to that point."""
    from export import to_executorch

    def hand_over(program: Any, **_: Any) -> None:
        raise _HandedOver(program)

    with mock.patch.object(to_executorch, "to_edge_transform_and_lower", hand_over):
        try:
            lower(artifact["recipe"], dataclasses.replace(job, probe=job.probe[:1]))
        except _HandedOver as error:
            return error.args[0]
    raise EngineError(f"the recipe {artifact['recipe']} hands no program to XNNPACK")


def _exported(job: Job) -> Any:
    return torch.export.export(InGraph(folded(job.model, job.spec), job.spec), (example_input(job.spec),), strict=False)


def _cuts(program: Any) -> dict[str, str]:
    """The nodes that can end a prefix, in order: each gives a float tensor of one sample that follows from the input.

    Between a dequantize and the next quantize lies one int8 kernel, which a cut would turn into float ones. Where
    ranges are taken at each run the kernel has all from the range to the layer, and gives floats.
    """
    from_input: set[fx.Node] = set()
    found: list[tuple[fx.Node, str]] = []
    nodes = program.module(check_guards=False).graph.nodes
    ranges = {node for node in nodes if "quantized_decomposed.choose_qparams" in str(node.target)}
    for node in nodes:
        if node.op == "placeholder" or from_input & set(node.all_input_nodes):
            from_input.add(node)
        value = node.meta.get("val")
        if ranges & set(node.all_input_nodes):
            continue
        if node.op == "call_function" and node in from_input and isinstance(value, Tensor):
            if value.dtype == torch.float32 and value.dim() > 1 and value.shape[0] == 1:
                found.append((node, _kind(node)))
            elif _kind(node) == "quantize":
                found.append((node, "quantize"))
    kinds = [kind for _, kind in found]
    if ranges:
        found = [pair for pair in found if not pair[1]]
    elif "dequantize" in kinds:
        begin, end = kinds.index("quantize"), len(kinds) - 1 - kinds[::-1].index("dequantize")
        found = [pair for at, pair in enumerate(found) if at < begin or at > end or pair[1] == "dequantize"]
    return {node.name: kind for node, kind in found if kind != "quantize"}


def _cut_program(program: Any, name: str, job: Job) -> Cut:
    module = program.module(check_guards=False)
    graph = module.graph
    node = next(node for node in graph.nodes if node.name == name)
    output = next(node for node in graph.nodes if node.op == "output")
    output.replace_input_with(output.all_input_nodes[0], node)
    graph.eliminate_dead_code()
    module.recompile()
    with torch.no_grad():
        written = ranges_by_row(copy.deepcopy(module))(job.probe[:1]).numpy()
    prefix = torch.export.export(module, (example_input(job.spec),), strict=False)
    edge = to_edge_transform_and_lower(prefix, partitioner=[partitioner()])
    gives = TensorSpec("cut", "float32", ("batch", *written.shape[1:]))
    return Cut("executorch", bytes(edge.to_executorch().buffer), job.spec.inputs[0], gives, written)


def _cut_graph(proto: onnx.ModelProto, name: str, job: Job) -> Cut:
    prefix = onnx.ModelProto()
    prefix.CopyFrom(proto)
    made = {output: node for node in proto.graph.node for output in node.output}
    needed, rest = set(), [name]
    while rest:
        wanted = rest.pop()
        if wanted in made and wanted not in needed:
            needed.add(wanted)
            rest += made[wanted].input
    nodes = [node for node in proto.graph.node if needed & set(node.output)]
    del prefix.graph.node[:], prefix.graph.output[:]
    prefix.graph.node.extend(nodes)
    prefix.graph.output.append(onnx.ValueInfoProto(name=name))
    data = prefix.SerializeToString()
    (written,) = _run_as_written(data, job)
    return Cut(
        "onnxruntime", data, job.spec.inputs[0], TensorSpec(name, "float32", ("batch", *written.shape[1:])), written
    )


def _run_as_written(data: bytes, job: Job) -> list[np.ndarray]:
    """The outputs of a graph on the first probe input, node by node, with none of onnxruntime's own rewriting."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(None, {job.spec.inputs[0].name: job.probe[:1].numpy()})
    return found


def _floats_of_a_sample(data: bytes, job: Job) -> set[str]:
    """The names of the tensors that a cut of an ONNX graph can end in; between Q/DQ pairs lies one int8 kernel."""
    proto = onnx.load_from_string(data)
    quantized = any(node.op_type == "QuantizeLinear" for node in proto.graph.node)
    names = [node.output[0] for node in proto.graph.node if not quantized or node.op_type == "DequantizeLinear"]
    names = list(dict.fromkeys([*names, proto.graph.output[0].name]))
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    values = zip(names, _run_as_written(proto.SerializeToString(), job), strict=True)
    constant = {tensor.name for tensor in proto.graph.initializer}
    weights = {node.output[0] for node in proto.graph.node if node.input and set(node.input) <= constant}
    return {name for name, v in values if v.dtype == np.float32 and v.ndim > 1 and len(v) == 1} - weights


def _outputs_of_modules(module: nn.Module, x: Tensor) -> Values:
    """What each submodule that is called once gives."""
    seen: dict[str, list[np.ndarray]] = {}

    def keep(path: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            seen.setdefault(path, []).append(output.numpy().copy() if isinstance(output, Tensor) else np.empty(0))

        return hook

    handles = [part.register_forward_hook(keep(path)) for path, part in module.named_modules() if path]
    try:
        with torch.no_grad():
            module(x)
    finally:
        for handle in handles:
            handle.remove()
    return {path: rows[0] for path, rows in seen.items() if len(rows) == 1 and rows[0].size}


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.values: Values = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "call_function" and isinstance(value, Tensor) and value.dtype == torch.float32:
            self.values[n.name] = value.numpy().copy()
        return value


def _values(module: fx.GraphModule, x: Tensor) -> Values:
    recorder = _Recorder(module)
    with torch.no_grad():
        recorder.run(x)
    return recorder.values


def _layer_of(program: Any, name: str, job: Job) -> str:
    """The layer whose kernel gives a node: by the program's own notes, else by its place among nodes of its kind."""
    nodes = [node for node in program.module(check_guards=False).graph.nodes if node.op == "call_function"]
    node = next(node for node in nodes if node.name == name)
    while _kind(node) in ("quantize", "dequantize") and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    path = _last([path for path in _paths(node) if path.startswith(INNER)])
    if path or isinstance(job.model, RawGraph):
        return path or node.name
    plain = [one for one in _exported(job).module(check_guards=False).graph.nodes if one.op == "call_function"]
    mine, theirs = ([one for one in side if one.target == node.target] for side in (nodes, plain))
    if len(mine) != len(theirs):
        return str(node.name)
    return _last(_paths(theirs[[one.name for one in mine].index(node.name)])) or str(node.name)


def _paths(node: fx.Node) -> list[str]:
    """The modules that a node lies in, from the outermost in."""
    stack = node.meta.get("nn_module_stack") or {}
    return [path for path, _ in stack.values() if path]


def _last(paths: Sequence[str]) -> str:
    return paths[-1].removeprefix(INNER) if paths else ""


def _of_weights(node: onnx.NodeProto, proto: onnx.ModelProto) -> str:
    """The layer by the name of its weight: `model.0.weight`, or one that a quantizer made of it."""
    weights = [tensor.name for tensor in proto.graph.initializer if tensor.name in node.input]
    named = [name for name in weights if name.startswith(INNER) and "." in name.removeprefix(INNER)]
    return named[0].removeprefix(INNER).rpartition(".")[0] if named else ""


def _kind(node: fx.Node) -> str:
    name = str(node.target)
    return next((kind for kind in ("dequantize", "quantize") if f"quantized_decomposed.{kind}_" in name), "")


def _differ(a: np.ndarray, b: np.ndarray, bound: float) -> bool:
    a, b = a.ravel(), b.ravel()
    return not np.abs(a - b).max(initial=0) <= bound * np.abs(a).max(initial=1e-9)
