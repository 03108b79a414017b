"""The Vision Transformer, written out from the paper: pictures as sequences of patches.

Dosovitskiy et al., *An Image is Worth 16x16 Words* (arXiv 2010.11929), section 3.1 and appendix A; the
equations' numbers stand beside the lines that compute them. The same code is ViT-B/16 with torchvision's
weights and DINOv2's ViT-S/14, which differ in sizes only: DINOv2's layer scale, a
gain on what a block adds, is multiplied into the linear layer before it when the weights are loaded.

Attention is two matrix products with a softmax between, and every other step a linear layer, a layer norm
or GELU, so that a backend which knows those few steps can take over the whole network.

>>> VisionTransformer(classes=3, image_size=32, patch=16, width=8, depth=2, heads=2)(torch.zeros(2, 3, 32, 32)).shape
torch.Size([2, 3])
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_runtime.errors import BadRequest

EPSILON = 1e-6  # of every layer norm, as in the authors' code; torch's default is 1e-5
EXPANSION = 4  # the MLP of a block is four times as wide as the block (table 1)
FIRST_STD = 0.02  # of the first tokens and positions, as BERT's
# names in torchvision's `vision_transformer.py`, and here
TORCHVISION = (
    (r"^conv_proj\.", "embed."),
    (r"^encoder\.pos_embedding$", "positions"),
    (r"^encoder\.ln\.", "norm."),
    (r"^encoder\.layers\.encoder_layer_", "blocks."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.self_attention\.out_proj\.", ".attention.out."),
    (r"\.self_attention\.", ".attention."),
    (r"\.mlp\.(3|linear_2)\.", ".mlp.2."),
    (r"\.mlp\.linear_1\.", ".mlp.0."),
    (r"^heads\.head\.", "classifier."),
)


class Attention(nn.Module):
    """Multi-head self-attention of tokens (batch, tokens, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, z: Tensor) -> Tensor:
        """Tokens to tokens."""
        q, k, v = (self._by_head(layer(z)) for layer in (self.query, self.key, self.value))  # eq. 5
        weights = torch.softmax(q @ k.transpose(-2, -1) * self.scale, dim=-1)  # eq. 6
        heads = weights @ v  # eq. 7
        return self.out(heads.transpose(1, 2).flatten(2))  # eq. 8

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """One layer of the encoder: attention between tokens, then an MLP on each."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = nn.Sequential(nn.Linear(width, EXPANSION * width), nn.GELU(), nn.Linear(EXPANSION * width, width))

    def forward(self, z: Tensor) -> Tensor:
        """Tokens (batch, tokens, width) to tokens of the same shape."""
        z = self.attention(self.norm1(z)) + z  # eq. 2
        return self.mlp(self.norm2(z)) + z  # eq. 3


class VisionTransformer(nn.Module):
    """Normalised pictures (batch, 3, image_size, image_size) to logits (batch, classes).

    The paper classifies by the class token of the last block alone. `read` and `patches` let the classifier
    see more, as DINOv2's linear evaluation does: the class tokens of the last `read` blocks, one after the
    other, then the mean of the last block's patches.
    """

    def __init__(
        self,
        classes: int,
        image_size: int = 224,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        read: int = 1,
        patches: bool = False,
    ) -> None:
        if image_size % patch or width % heads or not 1 <= read <= depth:
            raise BadRequest(
                f"a Vision Transformer's picture is whole patches ({image_size} of {patch} pixels), its width whole "
                f"heads ({width} of {heads}), and at most all of its blocks are read ({read} of {depth})"
            )
        super().__init__()
        self.read, self.patches = read, patches
        count = (image_size // patch) ** 2
        self.embed = nn.Conv2d(3, width, kernel_size=patch, stride=patch)  # each patch, flattened, times E
        self.class_token = nn.Parameter(torch.randn(1, 1, width) * FIRST_STD)
        self.positions = nn.Parameter(torch.randn(1, 1 + count, width) * FIRST_STD)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.classifier = nn.Linear(width * (read + patches), classes)

    def features(self, x: Tensor) -> Tensor:
        """What the classifier sees: float32 (batch, width * (read + patches))."""
        z = self.embed(x).flatten(2).transpose(1, 2)
        z = torch.cat([self.class_token.expand(x.shape[0], -1, -1), z], dim=1) + self.positions  # eq. 1
        seen = []
        for number, block in enumerate(self.blocks, 1):
            z = block(z)
            if number > len(self.blocks) - self.read:
                seen.append(self.norm(z[:, 0]))  # eq. 4
        if self.patches:
            seen.append(self.norm(z[:, 1:]).mean(1))
        return torch.cat(seen, dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised float32 (batch, 3, image_size, image_size) to raw logits (batch, classes)."""
        return self.classifier(self.features(x))


def from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of torchvision's `vit_b_16` and its like, under the names of this module."""
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        for theirs, ours in TORCHVISION:
            name = re.sub(theirs, ours, name)
        if ".in_proj_" in name:  # torchvision keeps the three projections of a block in one tensor
            for part, rows in zip(("query", "key", "value"), value.chunk(3), strict=True):
                renamed[name.replace("in_proj_", f"{part}.")] = rows
        else:
            renamed[name] = value
    return renamed


def resized_positions(positions: Tensor, side: int) -> Tensor:
    """A grid of position embeddings for pictures of another size, as DINOv2 makes it: bicubic, without antialiasing.

    Args:
        positions: float32 (1, 1 + old * old, width); the first is the class token's and stays.
        side: patches along an edge of the new grid.

    Returns:
        Float32 (1, 1 + side * side, width).
    """
    grid = positions[:, 1:].transpose(1, 2)
    old = math.isqrt(grid.shape[2])
    grid = functional.interpolate(grid.unflatten(2, (old, old)), size=(side, side), mode="bicubic")
    return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
