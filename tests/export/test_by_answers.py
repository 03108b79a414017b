import copy

import pytest
import torch
from torch import nn

from export.by_answers import fairest, layers_of, read, rounded_by_answers, value
from export.rounding import solved

LEVELS = 7


def program_of(model, width):
    return torch.export.export(model.eval(), (torch.zeros(1, 5, width),), strict=False).module()


def samples(n, width, seed):
    """Rows of which a few directions hold most, as a network's are."""
    draw = torch.Generator().manual_seed(seed)
    mix = torch.randn(8, width, generator=torch.Generator().manual_seed(0))
    return [torch.randn(1, 5, 8, generator=draw) @ mix + torch.randn(1, 5, width, generator=draw) / 4 for _ in range(n)]


class First(nn.Module):
    """Only the first of five rows is answered by, as of a class token, and of it three directions."""

    def __init__(self, width=48):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.other, self.head = nn.Linear(width, 64), nn.Linear(64, width), nn.Linear(width, 3)

    def forward(self, x):
        return self.head((x + self.other(torch.nn.functional.gelu(self.one(x))))[:, 0])


def with_weights(program, make):
    changed = copy.deepcopy(program)
    with torch.no_grad():
        for layer in layers_of(changed)[:2]:
            weight = value(changed, layer.args[1])
            weight.copy_(make(layer, weight.double()))
    return changed


def moved(one, other, given):
    with torch.no_grad():
        return sum((one(x) - other(x)).square().sum().item() for x in given) ** 0.5


def test_answers_move_less_than_by_rounding_for_each_output_alone_on_samples_not_seen():
    program = program_of(First(), 48)
    seen, held = samples(64, 48, 1), samples(64, 48, 2)
    readings = read(program, seen)
    rows = {}
    for layer in layers_of(program)[:2]:
        with torch.no_grad():
            graph = torch.fx.Interpreter(program, garbage_collect_values=False)
            rows[layer.name] = 0
            for x in seen:
                graph.run(x)
                given = graph.env[layer.args[0]].flatten(0, -2).double()
                rows[layer.name] = rows[layer.name] + given.T @ given

    def nearest(layer, weight):
        step = weight.abs().amax(1, keepdim=True) / LEVELS
        return (weight / step).round() * step

    plain = moved(program, with_weights(program, nearest), held)
    alone = moved(
        program, with_weights(program, lambda layer, w: solved(w[None], rows[layer.name][None], LEVELS)[0]), held
    )
    by_answers = with_weights(
        program, lambda layer, w: rounded_by_answers(w, readings[layer.name], LEVELS, torch.ones(w.shape[1]))
    )
    ours = moved(program, by_answers, held)
    assert 0 < ours < 0.7 * alone < 0.7 * plain


def test_an_input_that_sets_the_grid_of_many_outputs_leaves_it_to_the_others_where_inputs_are_divided():
    model = First()
    model.one.weight.data[:, 3] *= 30
    program, held = program_of(model, 48), samples(64, 48, 2)
    readings = read(program, samples(64, 48, 1))
    found = fairest(value(program, layers_of(program)[0].args[1]), readings["linear"])
    assert found.argmin() == 3 and found.log().mean().abs() < 1e-5

    def rounded(scale):
        def make(layer, weight):
            by = scale(weight, readings[layer.name])
            return rounded_by_answers(weight * by, readings[layer.name], LEVELS, by) / by

        return moved(program, with_weights(program, make), held)

    assert rounded(fairest) < 0.5 * rounded(lambda w, _: torch.ones(w.shape[1]))


def test_every_weight_lies_on_the_grid_that_the_backend_will_find_from_the_largest():
    program = program_of(First(), 48)
    readings = read(program, samples(8, 48, 1))
    for layer in layers_of(program):
        weight = value(program, layer.args[1]).detach().double()
        scale = torch.linspace(0.5, 2, weight.shape[1])
        found = rounded_by_answers(weight * scale, readings[layer.name], LEVELS, scale)
        largest = (weight * scale).abs().amax(1, keepdim=True)
        assert found.abs().amax(1, keepdim=True).allclose(largest, rtol=1e-6)
        whole = found / largest * LEVELS
        assert (whole - whole.round()).abs().max() < 1e-4


class Doubling(torch.autograd.Function):
    @staticmethod
    def forward(_, x):
        return 2 * x

    @staticmethod
    def backward(_, gradient):
        raise RuntimeError("no gradient of doubling")


def test_where_answers_give_no_gradients_all_outputs_count_alike(caplog):
    program, given = program_of(First(), 48), samples(64, 48, 1)
    found = [read(program, given, answers) for answers in (torch.Tensor.detach, Doubling.apply)]
    assert "all outputs count alike: no gradient of doubling" in caplog.text
    for readings in found:
        moments = readings["linear"].outputs.products[0]
        off = moments - moments.diagonal().diag()
        assert off.abs().mean() < 0.1 * moments.diagonal().mean() > 0


def test_weights_of_inference_mode_can_be_read():
    with torch.inference_mode():
        model = First().requires_grad_(False)
    assert read(program_of(model, 48), samples(2, 48, 1))["linear"].inputs.products.abs().sum() > 0


def test_a_layer_of_too_many_outputs_is_rounded_for_each_alone(monkeypatch):
    monkeypatch.setattr("export.by_answers.WIDEST", 50)
    program = program_of(First(), 48)
    readings = read(program, samples(8, 48, 1))
    assert [reading.outputs is None for reading in readings.values()] == [True, False]  # 64 outputs, and 3
    weight = value(program, layers_of(program)[0].args[1]).detach().double()
    found = rounded_by_answers(weight, readings["linear"], LEVELS, torch.ones(48))
    step = weight.abs().amax(1, keepdim=True) / LEVELS
    assert torch.allclose((found / step).round() * step, found) and not torch.equal(
        found, (weight / step).round() * step
    )


@pytest.mark.parametrize("active", [nn.ReLU(inplace=True), nn.Hardswish(inplace=True)])
def test_a_step_that_changes_a_layers_output_in_place_spoils_no_gradient(active):
    torch.manual_seed(0)
    first, last = nn.Linear(6, 8), nn.Linear(8, 2)
    kind = type(active)
    given = samples(4, 6, 1)
    one, other = (
        read(program_of(nn.Sequential(first, step, last), 6), given)["linear"].outputs.products
        for step in (active, kind())
    )
    assert one.abs().sum() > 0 and torch.allclose(one, other, rtol=1e-4)
