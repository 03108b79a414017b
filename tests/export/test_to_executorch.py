import numpy as np
import pytest
import torch
from torch import nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edge_runtime.errors import BadRequest, EngineError
from export import to_executorch
from export.contract import InGraph
from export.fold import program_of
from export.recipes import Job
from export.xnnpack_quantizer import WEIGHTED, Quantizer, layer_of, smallest
from tests.export.tiny import ROWS, answers, attentive, lowered, normed, of_side, samples


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
    assert details["quantization"]["quantized"] == "8 layers"  # all but the head


def test_dynamic_int8_of_an_mlp_is_whole_on_xnnpack():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 2)).eval().requires_grad_(False)
    _, details, drift = lowered("xnnpack-int8-dynamic", model, ROWS)
    assert 0 < drift < 0.05
    assert (details["delegation"]["ops_share"], details["delegation"]["outside"]) == (1.0, {})


def inverted():
    """What MobileNet is made of: a stem, and pointwise layers around depthwise ones, with clamps and a residual."""

    class Block(nn.Module):
        def __init__(self, active, groups=64):
            super().__init__()
            self.expand, self.depthwise = nn.Conv2d(16, 64, 1), nn.Conv2d(64, 64, 3, padding=1, groups=groups)
            self.project, self.active = nn.Conv2d(64, 16, 1), active()

        def forward(self, x):
            return x + self.project(self.active(self.depthwise(self.active(self.expand(x)))))

    torch.manual_seed(0)
    pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3))
    model = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), Block(nn.ReLU6), Block(nn.SiLU), Block(nn.ReLU, 8))
    return nn.Sequential(*model, *pool).eval().requires_grad_(False)


def test_dynamic_int8_of_convolutions_is_whole_on_xnnpack_and_nearer_to_float_than_static():
    (_, _, static), (_, details, drift) = (
        lowered(name, inverted(), of_side(32)) for name in ("xnnpack-int8", "xnnpack-int8-dynamic")
    )
    assert drift < 0.5 * static
    assert details["delegation"]["outside"] == {}
    assert details["quantization"]["quantized"] == "9 layers"  # the stem and the head are small
    pads = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), *inverted())  # as TensorFlow pads
    assert lowered("xnnpack-int8-dynamic", pads.eval(), of_side(32))[2] < 0.5 * static


class Fire(nn.Module):
    """What SqueezeNet is made of: a layer of single pixels, and one of three by three, are given the same."""

    def __init__(self):
        super().__init__()
        self.squeeze, self.pixels, self.squares = nn.Conv2d(16, 8, 3), nn.Conv2d(8, 32, 1), nn.Conv2d(8, 32, 3, 1, 1)

    def forward(self, x):
        x = self.squeeze(x).relu()
        return torch.cat([self.pixels(x), self.squares(x)], 1).relu()


def test_layers_that_share_an_input_take_its_range_each_as_its_kernel_does_and_torch_says_the_same():
    torch.manual_seed(0)
    stem, head = (nn.Conv2d(3, 16, 3, 2), nn.ReLU()), (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 3))
    model = nn.Sequential(*stem, Fire(), *head).eval().requires_grad_(False)
    spec, given = of_side(32), samples(of_side(32))
    made = to_executorch.int8_dynamic(Job(model, spec, given, given))
    assert made.details["quantization"]["quantized"] == "4 layers"
    here, stages = answers("xnnpack-int8-dynamic", made.data, spec, given), made.stages
    assert np.abs(here - stages["quantized program"]).max() < 1e-6
    assert np.abs(here - stages["exported program"]).max() < 1e-3


def test_dynamic_int8_leaves_the_layer_that_sees_the_pictures_in_float_however_many_weights_it_holds(caplog):
    torch.manual_seed(0)
    block = (nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), *block, nn.Flatten(), nn.Linear(16 * 64, 3))
    _, details, drift = lowered("xnnpack-int8-dynamic", model.eval().requires_grad_(False), of_side(16))
    assert details["quantization"]["quantized"] == "2 layers" and "0" in details["quantization"]["in_float"]
    assert drift < 0.02 and "only linear layers are" not in caplog.text


def test_convolutions_that_do_not_run_in_dynamic_int8_leave_it_to_the_linear_layers_and_say_so(monkeypatch, caplog):
    at_run = to_executorch._at_run

    def cut(job, exported, convolutions):
        if convolutions:
            raise EngineError("Propagating input shapes failed")
        return at_run(job, exported, convolutions)

    monkeypatch.setattr(to_executorch, "_at_run", cut)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3))
    model.eval().requires_grad_(False)
    made = to_executorch.int8_dynamic(Job(model, of_side(16), samples(of_side(16)), samples(of_side(16), 1)))
    assert made.details["quantization"]["quantized"] == "1 layers"
    assert "only linear layers are: Propagating input shapes failed" in caplog.text


def test_the_smallest_layers_stay_in_float_as_long_as_they_hold_next_to_nothing():
    program = program_of(inverted(), of_side(32)).module()
    assert smallest(program, 0.001) == set()
    assert smallest(program, 0.01) == {"7"}  # the head's 48 of 12,384
    assert smallest(program, 0.1) == {"7", "0", "2.depthwise"}
    assert smallest(program, 1) == {layer_of(node) for node in program.graph.nodes if node.target in WEIGHTED}


def test_dynamic_int8_of_a_model_without_layers_is_refused():
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with pytest.raises(BadRequest, match="no layer that dynamic int8 could quantize; take xnnpack-int8"):
        to_executorch.int8_dynamic(Job(model, of_side(16), samples(of_side(16)), samples(of_side(16), 1)))


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
    program = prepare_pt2e(program_of(model, spec).module(), Quantizer(to_executorch._config()))
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
