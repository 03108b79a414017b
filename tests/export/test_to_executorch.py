import pytest
import torch
from torch import nn

from edge_runtime.errors import BadRequest
from export import to_executorch
from tests.export.tiny import ROWS, attentive, lowered, normed, of_side, samples


@pytest.fixture(scope="module")
def transformer():
    return {name: lowered(name, attentive(), of_side(32)) for name in ("xnnpack-fp32", "xnnpack-int8-dynamic")}


def test_a_transformer_lowers_in_fp32_with_its_attention_on_xnnpack(transformer):
    _, details, drift = transformer["xnnpack-fp32"]
    assert drift < 1e-4
    # the class token and the three parts of each attention's input are copies; LayerNorm has a kernel of its own
    left = {"expand_copy", "native_layer_norm", "permute_copy", "select_copy", "squeeze_copy", "unsqueeze_copy"}
    assert set(details["delegation"]["outside"]) <= left | {"_to_dim_order_copy"}


def test_dynamic_int8_takes_the_linear_layers_only_and_runs_without_torch(transformer):
    (whole, _, _), (data, details, drift) = transformer["xnnpack-fp32"], transformer["xnnpack-int8-dynamic"]
    assert 0 < drift < 0.05 and len(data) < len(whole)
    assert details["quantization"]["quantized"] == "9 linear layers"


def test_dynamic_int8_of_an_mlp_is_whole_on_xnnpack():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 2)).eval().requires_grad_(False)
    _, details, drift = lowered("xnnpack-int8-dynamic", model, ROWS)
    assert 0 < drift < 0.05
    assert (details["delegation"]["ops_share"], details["delegation"]["outside"]) == (1.0, {})


def test_dynamic_int8_of_a_model_without_linear_layers_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval().requires_grad_(False)
    with pytest.raises(BadRequest, match="no linear layer that dynamic int8 could quantize; take xnnpack-int8"):
        to_executorch.int8_dynamic(model, of_side(16), samples(of_side(16)))


def test_folded_norms_leave_the_answers_of_both_precisions_where_they_were():
    for name, bound in (("xnnpack-fp32", 1e-5), ("xnnpack-int8", 0.02)):
        _, details, drift = lowered(name, normed(), of_side(16))
        assert drift < bound
        assert details["delegation"]["outside"] == {}  # the pooling too
