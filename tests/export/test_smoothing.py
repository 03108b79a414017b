import copy

import pytest
import torch
from torch import nn

from export import executorch_dynamic
from export.by_answers import layers_of, read
from export.contract import InGraph
from export.fold import program_of
from export.smoothing import smoothed
from export.xnnpack_quantizer import layer_of
from tests.export.tiny import ROWS, lowered, of_side, samples, wide

FINE = 2**20  # levels: so many that rounding is not seen


def outlying():
    """A layer norm with two channels fifty times as large as the rest, and a layer that hardly listens to them."""
    torch.manual_seed(0)
    norm, reader = nn.LayerNorm(64), nn.Linear(64, 64)
    norm.weight.data[:2] = 50.0
    reader.weight.data[:, :2] /= 50
    model = nn.Sequential(nn.Linear(4, 64), norm, reader, nn.GELU(), nn.Linear(64, 2))
    return model.eval().requires_grad_(False)


def divisions(program):
    return [node for node in program.graph.nodes if node.op == "get_attr" and node.target.startswith("smoothing_")]


@pytest.mark.parametrize("alone, steps", [(False, 8), (True, 12)])
def test_answers_stay_and_layers_that_share_an_input_share_the_division(alone, steps):
    spec, model = of_side(32), wide()
    normalise = InGraph(model, spec).normalise
    program = copy.deepcopy(program_of(model, spec).module())
    given = [normalise(sample[None]) for sample in samples(spec)]
    before = torch.cat([program(one) for one in given])
    names = {layer_of(node) for node in layers_of(program)} - {"classifier"}
    smoothed(program, read(program, given), FINE, {"classifier"}, names if alone else ())
    assert torch.allclose(torch.cat([program(one) for one in given]), before, rtol=1e-4, atol=1e-5)
    assert len(divisions(program)) == steps  # for query, key and value one, or each its own where weights decide


def test_a_weight_that_two_layers_share_stays_as_it_is():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return self.layer(torch.relu(self.layer(x)))

    torch.manual_seed(0)
    program = torch.export.export(Twice().eval(), (torch.zeros(1, 4),)).module()
    weight = program.state_dict()["layer.weight"].clone()
    smoothed(program, read(program, [torch.randn(1, 4)]), 7)
    assert torch.equal(program.state_dict()["layer.weight"], weight) and not divisions(program)


def test_with_outliers_in_the_weights_dynamic_int8_moves_answers_less(monkeypatch):
    _, _, drift = lowered("xnnpack-int8-dynamic", outlying(), ROWS)
    monkeypatch.setattr(executorch_dynamic, "smoothed", lambda *given: None)
    _, _, before = lowered("xnnpack-int8-dynamic", outlying(), ROWS)
    assert 0 < drift < 0.5 * before
