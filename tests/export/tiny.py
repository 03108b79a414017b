"""Specs and models for tests of lowering, and what an artifact answers."""

import numpy as np
import torch
from torch import nn
from torchvision.models import VisionTransformer

from edge_runtime.engines import open_session
from edge_runtime.spec import ImageSpec, Label, ModelSpec, Normalise, TensorSpec
from export.contract import InGraph, output_of
from export.lowering import lower
from export.recipes import RECIPES, Job
from train import vit

ROWS = ModelSpec(
    name="rows",
    task="multiclass",
    inputs=(TensorSpec("columns", "float32", ("batch", 4), "cm"),),
    outputs=(TensorSpec("probabilities", "float32", ("batch", 2), "probability"),),
    labels=(Label("no", "no", "hayır"), Label("yes", "yes", "evet")),
    normalise=Normalise((0.5, 0.1, 0.0, -0.1), (1.0, 2.0, 0.1, 2.0)),
)


def of_side(side):
    return ModelSpec(
        name="pictures",
        task="multiclass",
        inputs=(TensorSpec("pixels", "uint8", ("batch", side, side, 3), "RGB, 0 to 255"),),
        outputs=(TensorSpec("probabilities", "float32", ("batch", 3), "probability"),),
        labels=tuple(Label(name, name, name) for name in ("circle", "cross", "star")),
        image=ImageSpec(resize=side, crop=side, filter="bicubic"),
        normalise=Normalise((124.0, 116.0, 104.0), (58.0, 57.0, 57.5)),
    )


def attentive():
    """Two layers of attention over four patches and the class token."""
    torch.manual_seed(0)
    model = VisionTransformer(32, patch_size=16, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=3)
    nn.init.normal_(model.heads.head.weight, std=0.5)  # zeros answer 1/3 to everything
    return model.eval().requires_grad_(False)


def wide():
    """The course's transformer, as the paper writes it, wide enough for its weights to be most of the file."""
    torch.manual_seed(0)
    model = vit.VisionTransformer(classes=3, image_size=32, patch=16, width=64, depth=2, heads=2)
    nn.init.normal_(model.classifier.weight, std=0.1)
    return model.eval().requires_grad_(False)


def normed():
    """Convolutions with batch norms whose statistics are not those they start with."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 3),
        nn.BatchNorm2d(8, affine=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    model.train()(torch.randn(64, 3, 16, 16) * 2 + 1)
    return model.eval().requires_grad_(False)


def samples(spec, n=12):
    torch.manual_seed(1)
    if spec.image is None:
        return torch.randn(n, *spec.inputs[0].sample_shape)
    return torch.randint(0, 256, (n, *spec.inputs[0].sample_shape), dtype=torch.uint8)


def lowered(name, model, spec):
    """The artifact's bytes and details, and how far its answers are from eager's, relative to the largest."""
    inputs = samples(spec)
    found = lower(name, Job(model, spec, inputs, inputs))
    reference = output_of(InGraph(model, spec), inputs).numpy()
    drift = np.abs(answers(name, found.data, spec, inputs) - reference).max() / np.abs(reference).max()
    return found.data, found.details, float(drift)


def answers(name, data, spec, inputs):
    session = open_session(RECIPES[name].engine, data, None, spec.inputs, spec.outputs)
    rows = [session.run({spec.inputs[0].name: x[None].numpy()})[spec.outputs[0].name] for x in inputs]
    return np.concatenate([np.asarray(row) for row in rows])
