import pytest
import torch
from torch import nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchvision.models.swin_transformer import SwinTransformer

from export import to_executorch
from export.contract import InGraph
from export.fold import program_of
from export.recipes import Job
from export.xnnpack_quantizer import Quantizer
from tests.export.tiny import attentive, lowered, normed, of_side, samples, wide


def test_a_transformer_lowers_in_fp32_with_its_attention_on_xnnpack():
    _, details, drift = lowered("xnnpack-fp32", attentive(), of_side(32))
    assert drift < 1e-4
    # the class token and the three parts of each attention's input are copies; LayerNorm has a kernel of its own
    left = {"expand_copy", "native_layer_norm", "permute_copy", "select_copy", "squeeze_copy", "unsqueeze_copy"}
    assert set(details["delegation"]["outside"]) <= left | {"_to_dim_order_copy"}


def test_folded_norms_leave_the_answers_of_both_precisions_where_they_were():
    for name, bound in (("xnnpack-fp32", 1e-5), ("xnnpack-int8", 0.02)):
        _, details, drift = lowered(name, normed(), of_side(16))
        assert drift < bound
        assert details["delegation"]["outside"] == {}  # the pooling too


def test_average_pooling_that_counts_the_zeros_around_a_picture_is_whole_on_xnnpack():
    torch.manual_seed(0)
    wide = nn.AvgPool2d((3, 5), (1, 2), (1, 2))
    pools = (nn.AvgPool2d(3, 1, 1), nn.Conv2d(8, 8, 3), nn.ReLU(), wide, nn.Conv2d(8, 8, 1))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), *pools, *head).eval().requires_grad_(False)
    for name, bound in (("xnnpack-fp32", 1e-6), ("xnnpack-int8", 0.01), ("xnnpack-int8-dynamic", 0.01)):
        _, details, drift = lowered(name, model, of_side(16))
        assert drift < bound
        assert details["delegation"]["outside"] == {}


class Masked(nn.Module):
    """As torchvision's Swin v2: a third of a bias is set to zero at each run, and a mask is written anew."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.head = nn.Linear(3 * 64, 12), nn.Linear(12, 3)

    def forward(self, x):
        bias = self.layer.bias.clone()
        bias[4:8].zero_()
        mask = x.new_zeros((1, 12))
        mask[:, 6:] = -3
        return self.head(nn.functional.linear(x.flatten(1), self.layer.weight, bias) + mask)


def test_what_follows_from_weights_alone_is_computed_once_and_the_rest_is_whole_on_xnnpack():
    for name in ("xnnpack-fp32", "xnnpack-int8"):
        _, details, drift = lowered(name, Masked().eval().requires_grad_(False), of_side(8))
        assert details["delegation"]["outside"] == {}
        assert drift < 1e-5 or name == "xnnpack-int8"  # of twelve random units a tenth


def test_a_clamp_shares_the_range_of_what_is_left_after_it_and_not_of_what_it_cuts_off():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU6(), nn.Conv2d(8, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.eval().requires_grad_(False)
    model[0].weight.mul_(50)  # far beyond the clamp on both sides
    spec, given = of_side(16), samples(of_side(16))
    program = prepare_pt2e(program_of(model, spec).module(), Quantizer(to_executorch.per_channel()))
    for sample in given:
        program(InGraph(model, spec).normalise(sample[None]))
    steps = sorted(
        node.args[1]
        for node in convert_pt2e(program).graph.nodes
        if node.target is torch.ops.quantized_decomposed.quantize_per_tensor.default
    )
    assert any(step == pytest.approx(6 / 255, rel=1e-3) for step in steps)
    _, details, drift = lowered("xnnpack-int8", model, spec)
    assert drift < 0.02 and details["delegation"]["outside"] == {}


def test_a_layer_that_stays_in_float_is_named_and_its_weights_are_stored_whole():
    spec, given = of_side(16), samples(of_side(16))
    plain, mixed = (
        to_executorch.int8(Job(normed(), spec, given, given[:2], frozenset(names))) for names in ((), ("3",))
    )
    assert mixed.details["quantization"]["in_float"][-1] == "3"
    assert len(mixed.data) > len(plain.data)
    assert mixed.details["delegation"]["outside"] == {}


def test_a_transformer_whose_weights_want_gradients_lowers_without_a_warning():
    _, _, drift = lowered("xnnpack-fp32", wide().requires_grad_(True), of_side(32))  # pytest makes warnings errors
    assert drift < 1e-4


def test_attention_between_windows_lowers_beside_linear_layers_without_a_bias():
    torch.manual_seed(0)
    model = SwinTransformer([4, 4], 24, [1, 1], [2, 4], [4, 4], num_classes=3).eval().requires_grad_(False)
    _, details, drift = lowered("xnnpack-fp32", model, of_side(32))
    assert drift < 1e-4 and not {"expand_copy", "linear", "mm", "addmm"} & set(details["delegation"]["outside"])
