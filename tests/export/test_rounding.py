import torch
from torch import nn

from export.fold import folded
from export.rounding import rounded
from tests.export.tiny import normed, of_side, samples


def nearest(weight, levels):
    step = weight.flatten(1).abs().amax(1).reshape(-1, *[1] * (weight.dim() - 1)) / levels
    return (weight / step).round() * step


def test_every_weight_lies_on_the_grid_that_the_backend_will_find_from_the_largest():
    found = rounded(normed(), of_side(16), samples(of_side(16)), 64)
    assert set(found) == {f"{name}.{kind}" for name in ("0", "3", "7") for kind in ("weight", "bias")}
    for name in ("0.weight", "3.weight", "7.weight"):
        assert torch.allclose(nearest(found[name], 64), found[name], atol=1e-7)
        assert (
            found[name]
            .flatten(1)
            .abs()
            .amax(1)
            .allclose(folded(normed(), of_side(16)).get_parameter(name).flatten(1).abs().amax(1))
        )


def test_the_outputs_of_layers_move_less_than_with_weights_rounded_to_the_nearest():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 3, groups=8, padding=1), nn.Conv2d(8, 12, 1)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3)).eval()
    model.requires_grad_(False)
    smooth = nn.functional.interpolate(torch.rand(24, 3, 4, 4) * 255, 16, mode="bilinear")  # neighbours are alike
    spec, given = of_side(16), smooth.permute(0, 2, 3, 1).to(torch.uint8)
    found = rounded(model, spec, given, 7)
    x = smooth
    for number, layer in enumerate(layers):
        exact, plain = (
            layer(x),
            torch.func.functional_call(layer, {"weight": nearest(layer.weight, 7), "bias": layer.bias}, (x,)),
        )
        ours = torch.func.functional_call(
            layer, {"weight": found[f"{number}.weight"], "bias": found[f"{number}.bias"]}, (x,)
        )
        assert (ours - exact).square().mean() < 0.7 * (plain - exact).square().mean(), number
        x = exact


def test_layers_in_float_and_layers_that_are_not_called_are_left_alone():
    found = rounded(normed(), of_side(16), samples(of_side(16)), 64, in_float={"3"})
    assert set(found) == {"0.weight", "0.bias", "7.weight", "7.bias"}
