import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from edge_runtime.engines import Operator
from edge_runtime.errors import BadRequest
from export import to_onnx
from export.onnx_profile import delegation_of, operators
from export.recipes import Job
from tests.export.tiny import ROWS, attentive, lowered, normed, of_side, samples, wide


def test_a_transformer_lowers_by_every_recipe_that_fits_it():
    model, spec = attentive(), of_side(32)
    for name, bound in (("onnx-fp32", 1e-4), ("onnx-fp16", 2e-3), ("onnx-int8-dynamic", 0.1)):
        data, details, drift = lowered(name, model, spec)
        assert drift < bound, (name, drift)
        assert details["delegation"]["operators"] > 20
        graph = onnx.load_from_string(data).graph
        assert graph.node[-1].op_type == "Softmax"
        assert [p.type.tensor_type.elem_type for p in (*graph.input, *graph.output)] == [
            TensorProto.UINT8,
            TensorProto.FLOAT,
        ]


def test_dynamic_int8_leaves_convolutions_and_attention_in_float_and_weights_in_seven_bits_per_channel():
    data, details, _ = lowered("onnx-int8-dynamic", attentive(), of_side(32))
    graph = onnx.load_from_string(data).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("MatMulInteger") == 9 and "9 linear layers" in details["quantization"]["quantized"]
    assert kinds.count("MatMul") == 4 and kinds.count("Conv") == 1 and "ConvInteger" not in kinds
    weights = [
        numpy_helper.to_array(t) for t in graph.initializer if t.data_type == TensorProto.INT8 and len(t.dims) > 1
    ]
    assert len(weights) == 9 and all(-64 <= w.min() and w.max() <= 64 for w in weights)
    scales = [numpy_helper.to_array(t) for t in graph.initializer if t.name.endswith("_scale")]
    assert {scale.size for scale in scales} == {3, 32, 64, 96}  # one a column of each weight
    assert details["delegation"]["time_share"] < 1


def test_static_int8_of_a_transformer_holds_its_linear_layers_in_int8_and_leaves_attention_in_float():
    spec, given = of_side(32), samples(of_side(32))
    (whole, _, _), (data, details, drift) = (lowered(name, wide(), spec) for name in ("onnx-fp32", "onnx-int8"))
    assert len(data) < 0.45 * len(whole) and drift < 0.02
    rows = [row.name for row in operators(data, {"pixels": given[:1].numpy()}, "int8")]
    assert rows.count("MatMulIntegerToFloat") + rows.count("QGemm") == 13 and rows.count("QLinearConv") == 1
    assert rows.count("MatMul") + rows.count("FusedMatMul") == 4 and "QLinearAdd" not in rows
    weights = [t for t in onnx.load_from_string(data).graph.initializer if t.data_type == TensorProto.INT8]
    scales = {t.name: t for t in onnx.load_from_string(data).graph.initializer if t.name.endswith("_scale")}
    by_channel = [t for t in weights if scales.get(t.name.replace("_quantized", "_scale"), t).dims[:1] > [1]]
    assert len([t for t in by_channel if len(t.dims) == 2]) == 13
    assert "products of activations" in details["quantization"]["in_float"]


def test_a_linear_layer_of_a_transformer_that_stays_in_float_has_no_integer_kernel():
    spec, given = of_side(32), samples(of_side(32))
    kept = "blocks.1.mlp.0"
    assert isinstance(wide().get_submodule(kept), nn.Linear)
    found = to_onnx.int8(Job(wide(), spec, given, given[:2], frozenset({kept})))
    rows = [row.name for row in operators(found.data, {"pixels": given[:1].numpy()}, "int8")]
    assert rows.count("MatMulIntegerToFloat") + rows.count("QGemm") == 12
    assert found.details["quantization"]["in_float"][-1] == kept


def test_dynamic_int8_of_a_model_without_linear_layers_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval().requires_grad_(False)
    with pytest.raises(BadRequest, match="no linear layer that dynamic int8 could quantize; take onnx-int8"):
        to_onnx.int8_dynamic(Job(model, of_side(16), samples(of_side(16)), samples(of_side(16), 1)))


def test_fp16_halves_the_weights_and_leaves_normalisation_and_arithmetic_in_float32():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 512), nn.ReLU(), nn.Linear(512, 2)).eval().requires_grad_(False)
    (whole, _, _), (half, details, drift) = (lowered(name, model, ROWS) for name in ("onnx-fp32", "onnx-fp16"))
    assert 0 < drift < 1e-3 and len(half) < 0.65 * len(whole)
    graph = onnx.load_from_string(half).graph
    types = {tensor.name.removesuffix(".half"): tensor.data_type for tensor in graph.initializer}
    assert types["mean"] == types["scale"] == TensorProto.FLOAT
    assert [node.op_type for node in graph.node[:3]] == ["Cast"] * 3  # two weights and a bias of 512
    assert details["delegation"] | {"operators": 0, "delegated": 0} == {
        "operators": 0,
        "delegated": 0,
        "ops_share": 1.0,
        "time_share": 1.0,
        "outside": {},
    }


def test_a_weight_that_fp16_cannot_hold_stays_in_float32():
    model = nn.Sequential(nn.Linear(4, 512), nn.ReLU(), nn.Linear(512, 2)).eval().requires_grad_(False)
    model[0].weight[0, 0] = 1e5
    data, _, drift = lowered("onnx-fp16", model, ROWS)
    kinds = [tensor.data_type for tensor in onnx.load_from_string(data).graph.initializer if tensor.dims == [512, 4]]
    assert kinds == [TensorProto.FLOAT] and drift < 1e-3


def test_the_recipes_of_a_model_share_one_export_until_its_weights_change(monkeypatch):
    exported, real = [], torch.onnx.export
    monkeypatch.setattr(torch.onnx, "export", lambda *a, **k: exported.append(1) or real(*a, **k))
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval().requires_grad_(False)
    first, _, _ = lowered("onnx-fp32", model, ROWS)
    for name in ("onnx-int8", "onnx-int8-dynamic", "onnx-fp16"):
        lowered(name, model, ROWS)
    again, _, _ = lowered("onnx-fp32", model, ROWS)
    assert len(exported) == 1 and again == first
    model[0].weight.mul_(2)
    changed, _, drift = lowered("onnx-fp32", model, ROWS)
    assert len(exported) == 2 and changed != first and drift < 1e-4


def test_what_an_int8_graph_runs_in_float_is_named_by_its_profile_and_its_convolutions_are_fused():
    spec = of_side(16)
    data, details, _ = lowered("onnx-int8", normed(), spec)
    rows = operators(data, {"pixels": samples(spec)[:1].numpy()}, "int8")
    assert sum(row.name == "QLinearConv" and row.backend == "fused int8" for row in rows) == 2
    assert details["delegation"]["delegated"] >= 2 and "Gemm" in details["delegation"]["outside"]


def test_the_share_of_time_counts_fused_kernels_and_names_what_is_left():
    rows = [
        Operator("QLinearConv", "fused int8", 90),
        Operator("HardSwish", "float", 6),
        Operator("DequantizeLinear", "casts", 4),
    ]
    found = delegation_of(rows, "int8")
    assert (found.operators, found.delegated, found.time_share) == (3, 1, 0.9)
    assert found.outside == {"HardSwish": 0.06, "DequantizeLinear": 0.04}


def test_more_weights_than_one_onnx_file_holds_are_refused_before_anything_is_lowered(monkeypatch):
    monkeypatch.setattr("export.to_onnx.MAX_WEIGHT_BYTES", 1000)
    with pytest.raises(
        BadRequest, match=r"the weights take 0\.0 GB, and one \.onnx file holds at most .* take the xnnpack"
    ):
        lowered("onnx-fp32", normed(), of_side(16))


def test_a_layer_that_stays_in_float_is_named_and_its_convolution_is_not_fused():
    spec, given = of_side(16), samples(of_side(16))
    found = to_onnx.int8(Job(normed(), spec, given, given[:2], frozenset({"3"})))
    kinds = [row.name for row in operators(found.data, {"pixels": given[:1].numpy()}, "int8") if "Conv" in row.name]
    assert sorted(name.startswith("QLinear") for name in kinds) == [False, True]
    assert found.details["quantization"]["in_float"][-1] == "3"
