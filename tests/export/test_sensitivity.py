import torch
from torch import nn

from export.sensitivity import FEWEST, MOST, sensitivity
from tests.export.tiny import ROWS, attentive, normed, of_side, samples


def test_a_layer_that_has_no_steps_left_for_its_weights_is_ranked_first_and_all_are_valued():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)).eval()
    model.requires_grad_(False)
    model[0].bias[0] = -100  # the input of the huge weights is never on, and they take the whole grid
    model[2].weight[:, 0] = 500
    found = sensitivity(model, ROWS, samples(ROWS, 32), samples(ROWS, 40)[32:])
    assert next(iter(found.layers)) == "2" and set(found.layers) == {"0", "2", "4"}
    values = list(found.layers.values())
    assert values == sorted(values, reverse=True) and values[0] > 3 * values[1] > 0


def test_layers_are_named_as_in_the_model_also_after_folding_and_in_attention():
    spec = of_side(16)
    assert set(sensitivity(normed(), spec, samples(spec), samples(spec)).layers) == {"0", "3", "7"}
    spec = of_side(32)
    found = sensitivity(attentive(), spec, samples(spec), samples(spec))
    known = dict(attentive().named_modules())
    assert {"conv_proj", "heads.head", "encoder.layers.encoder_layer_0.mlp.0"} <= set(found.layers) <= set(known)


def test_the_work_is_bounded_and_stated():
    spec = of_side(16)
    said = sensitivity(normed(), spec, samples(spec), samples(spec, 40)).to_dict()
    assert FEWEST <= said["inputs"] <= MOST and 0 <= said["seconds"] < 20
