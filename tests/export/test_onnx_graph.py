"""An .onnx of hers: wrapped into the contract, its batch size freed, or one sentence why not."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edge_runtime.check import check
from edge_runtime.errors import BadInput, BadRequest
from export import export
from export.onnx_graph import RawGraph


def graph(path, last, batch):
    draw = np.random.default_rng(0)
    weights = {"w": draw.normal(size=(8, 3, 3, 3)), "h": draw.normal(size=(3, 8))}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "h"], ["pixels"], transB=1),  # a name that the contract takes too
    ]
    if last:
        nodes.append(helper.make_node(last, ["pixels"], ["y"]))
    ends = [("x", [batch, 3, 16, 16]), ("y" if last else "pixels", [batch, 3])]
    made = helper.make_graph(
        nodes,
        "g",
        *([helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name, shape in ends),
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.mark.parametrize(("last", "batch", "count"), [("", 1, 1), ("Softmax", "n", 0)])
def test_an_onnx_is_wrapped_into_the_contract_and_softmax_added_only_where_it_lacks(last, batch, count, food, tmp_path):
    graph(tmp_path / "net.onnx", last, batch)
    done = export(str(tmp_path / "net.onnx"), "main", tmp_path / "out", data=food, mean=0.5, std=0.25)
    assert [artifact["id"] for artifact in done.manifest["artifacts"]] == ["onnx-fp32", "onnx-int8"]
    assert check(done.path)["ok"]
    nodes = onnx.load(done.path / "onnx-fp32.onnx").graph.node
    assert [node.op_type for node in nodes].count("Softmax") == 1
    assert (nodes[-1].op_type == "Softmax") == bool(count)


@pytest.mark.parametrize("constant", [False, True])
def test_a_reshape_to_one_picture_is_freed_as_torchs_own_exporter_writes_flatten(constant, tmp_path):
    graph(tmp_path / "net.onnx", "", 1)
    proto = onnx.load(tmp_path / "net.onnx")
    flatten = next(node for node in proto.graph.node if node.op_type == "Flatten")
    sizes = numpy_helper.from_array(np.asarray([1, 8]), "sizes")
    at = list(proto.graph.node).index(flatten)
    proto.graph.node.remove(flatten)
    proto.graph.node.insert(at, helper.make_node("Reshape", ["g", "sizes"], ["f"], allowzero=1))
    if constant:
        proto.graph.node.insert(0, helper.make_node("Constant", [], ["sizes"], value=sizes))
    else:
        proto.graph.initializer.append(sizes)
    graph(tmp_path / "as_flatten.onnx", "", 1)
    one, other = (RawGraph(p, "logits", tmp_path) for p in (proto, onnx.load(tmp_path / "as_flatten.onnx")))
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(one(x), other(x))


def test_a_batch_size_that_cannot_be_freed_is_refused_with_what_to_type(tmp_path):
    graph(tmp_path / "net.onnx", "", 1)
    proto = onnx.load(tmp_path / "net.onnx")
    del proto.graph.node[3]
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray([8]), "flat"))
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray([0]), "first"))
    proto.graph.node.insert(3, helper.make_node("Reshape", ["g", "flat"], ["v"]))
    proto.graph.node.insert(4, helper.make_node("Unsqueeze", ["v", "first"], ["f"]))
    with pytest.raises(BadInput, match=r"dynamic_shapes=\(\{0: 'batch'\},\)"):
        RawGraph(proto, "logits", tmp_path / "net.onnx")


def test_an_onnx_without_a_visible_ending_asks_for_it_and_pte_recipes_are_refused_with_the_reason(food, tmp_path):
    graph(tmp_path / "net.onnx", "Relu", 1)
    with pytest.raises(BadRequest, match=r"give --outputs logits\|probabilities"):
        export(str(tmp_path / "net.onnx"), "onnx-fp32", tmp_path, data=food, mean=0.5, std=0.25)
    with pytest.raises(BadRequest, match=r"xnnpack-fp32 cannot be made: an \.onnx holds no module"):
        export(str(tmp_path / "net.onnx"), "xnnpack-fp32", tmp_path, data=food, mean=0.5, std=0.25, outputs="logits")
    (tmp_path / "no.onnx").write_bytes(b"hello")
    with pytest.raises(BadInput, match=r"cannot be read as an \.onnx"):
        export(str(tmp_path / "no.onnx"), "onnx-fp32", tmp_path)
