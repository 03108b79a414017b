import pytest
from torch import nn
from torchvision.models import VisionTransformer, vgg11

from edge_runtime.errors import BadRequest
from export.build import applicable
from export.op_mix import op_mix
from export.recipes import MAIN, RECIPES, advice, chosen
from export.sources import ENGINES
from tests.export.tiny import ROWS, of_side
from train.effnet_lite import EfficientNetLite
from train.models import mlp, tinyvgg


def attentive():
    return VisionTransformer(32, patch_size=8, num_layers=8, num_heads=2, hidden_dim=64, mlp_dim=128, num_classes=3)


def test_work_is_counted_in_multiply_adds_and_not_in_parameters():
    model = vgg11(num_classes=3, init_weights=False).eval()
    linear = sum(p.numel() for p in model.classifier.parameters())
    assert linear > 0.9 * sum(p.numel() for p in model.parameters())
    assert op_mix(model, of_side(64)).convolution > 0.8
    mix = op_mix(nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)), ROWS)
    assert (mix.multiply_adds, mix.linear, mix.weight_bytes) == (4 * 16 + 16 * 2, 1.0, 4 * (64 + 16 + 32 + 2))


def test_attention_is_seen_although_torch_runs_it_as_one_operator():
    mix = op_mix(attentive().eval(), of_side(32))
    tokens, width = 17, 64
    both_products = 2 * tokens * tokens * width * 8
    assert mix.attention == pytest.approx(both_products / mix.multiply_adds)
    assert 0.9 < mix.linear < 1


def test_auto_takes_both_kinds_of_int8_for_convolutions_and_dynamic_for_transformers_and_mlps():
    for model, spec in ((EfficientNetLite(3, 32), of_side(32)), (tinyvgg(3, 8, 16), of_side(16))):
        assert list(chosen("auto", model.eval(), spec)) == [*MAIN, "xnnpack-int8-dynamic"]
    whole = nn.Sequential(nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())  # no linear layer to fall back on
    assert list(chosen("auto", whole.eval(), of_side(16))) == list(MAIN)
    dynamic = ["xnnpack-fp32", "onnx-fp32", "xnnpack-int8-dynamic", "onnx-int8-dynamic"]
    for model, spec in ((attentive(), of_side(32)), (mlp([4, 16, 2]), ROWS)):
        assert list(chosen("auto", model.eval(), spec)) == dynamic


def test_auto_takes_both_kinds_of_int8_where_neither_half_of_the_work_dominates():
    mixed = VisionTransformer(32, patch_size=16, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=3)
    assert [name for name in chosen("auto", mixed.eval(), of_side(32)) if "int8" in name] == [
        *("xnnpack-int8", "onnx-int8", "xnnpack-int8-dynamic", "onnx-int8-dynamic")
    ]


def test_auto_adds_fp16_only_where_halving_the_download_is_worth_it(monkeypatch):
    model = mlp([4, 16, 2]).eval()
    assert "onnx-fp16" not in advice(model, ROWS)
    monkeypatch.setattr("export.recipes.HALF_FROM_BYTES", 400)
    assert "half the download" in advice(model, ROWS)["onnx-fp16"]


def test_every_choice_has_its_reason_in_one_line():
    reasons = advice(mlp([4, 16, 2]).eval(), ROWS)
    assert list(reasons) == list(chosen("auto", mlp([4, 16, 2]).eval(), ROWS))
    assert reasons["onnx-int8-dynamic"].startswith("0% of 9.6e-05 million multiply-adds are convolutions")
    assert all("\n" not in reason for reason in reasons.values())


def test_sets_and_names_can_be_joined_and_auto_needs_a_model():
    assert list(chosen("main")) == list(MAIN)
    assert list(chosen("all")) == list(RECIPES)
    assert list(chosen("onnx-fp16,main")) == [*MAIN, "onnx-fp16"]
    with pytest.raises(BadRequest, match="by auto only for a model that can be read"):
        chosen("auto")
    with pytest.raises(BadRequest, match=r"no recipe onnx-int4; the recipes are .* or auto, main, all"):
        chosen("main,onnx-int4")


def test_what_is_quantized_is_never_made_without_the_fp32_that_judges_it(caplog):
    caplog.set_level("INFO")
    made = applicable("xnnpack-int8,onnx-fp32", chosen("xnnpack-int8,onnx-fp32"), ENGINES, "")
    assert list(made) == ["xnnpack-fp32", "onnx-fp32", "xnnpack-int8"]
    assert "made too: xnnpack-fp32; without it nothing says what quantizing costs" in caplog.text
    assert list(applicable("onnx-fp32", chosen("onnx-fp32"), ENGINES, "")) == ["onnx-fp32"]
    assert list(applicable("main", chosen("main"), ("onnxruntime",), "why")) == ["onnx-fp32", "onnx-int8"]
