import numpy as np
import pytest
import torch
from torch import nn

from edge_runtime.errors import BadRequest, EngineError
from export import executorch_dynamic
from export.by_answers import linear
from export.fold import program_of
from export.recipes import Job
from export.xnnpack_quantizer import WEIGHTED, layer_of, smallest
from tests.export.tiny import ROWS, answers, attentive, lowered, of_side, samples


def test_dynamic_int8_takes_the_linear_layers_only_and_runs_without_torch():
    (whole, _, _), (data, details, drift) = (
        lowered(name, attentive(), of_side(32)) for name in ("xnnpack-fp32", "xnnpack-int8-dynamic")
    )
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
    made = executorch_dynamic.int8(Job(model, spec, given, given))
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
    at_run = executorch_dynamic._at_run

    def cut(job, exported, convolutions):
        if convolutions:
            raise EngineError("Propagating input shapes failed")
        return at_run(job, exported, convolutions)

    monkeypatch.setattr(executorch_dynamic, "_at_run", cut)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3))
    model.eval().requires_grad_(False)
    made = executorch_dynamic.int8(Job(model, of_side(16), samples(of_side(16)), samples(of_side(16), 1)))
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
        executorch_dynamic.int8(Job(model, of_side(16), samples(of_side(16)), samples(of_side(16), 1)))


def test_linear_layers_that_work_in_float_hold_int8_weights_and_stay_on_xnnpack():
    model, spec = attentive(), of_side(32)
    given = samples(spec)
    plain = executorch_dynamic.int8(Job(model, spec, given, given))
    names = {layer_of(node) for node in program_of(model, spec).graph.nodes if node.target is linear}
    made = executorch_dynamic.int8(Job(model, spec, given, given, in_float=frozenset(names)))
    assert made.details["quantization"]["inputs_in_float"] == sorted(names - {"heads.head"})
    assert abs(len(made.data) - len(plain.data)) < 0.05 * len(plain.data)
    assert not any("linear" in name or "addmm" in name for name in made.details["delegation"]["outside"])

    def moved(one):
        return np.abs(answers("xnnpack-int8-dynamic", one.data, spec, given) - one.stages["exported program"]).max()

    assert moved(made) < 0.5 * moved(plain)
    assert (
        np.abs(answers("xnnpack-int8-dynamic", made.data, spec, given) - made.stages["quantized program"]).max() < 1e-5
    )
