"""Reading pretrained weights that somebody published: never a pickle that could run code.

>>> read_weights("vit_b_16-c867db91.pth")["class_token"].shape                          # doctest: +SKIP
torch.Size([1, 1, 768])
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edge_runtime.errors import BadData, BadInput, one_line


def _refusal() -> type[Exception]:
    from pickle import UnpicklingError  # noqa: TID251  (the name of torch.load's refusal; nothing is unpickled)

    return UnpicklingError


REFUSAL = _refusal()


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """A state dict from a `.safetensors` file, or from what `torch.save` wrote.

    Raises:
        BadInput: no file is there, or it cannot be read.
        BadData: it holds more than weights, or none.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path} is not a file; weights are read from .safetensors, or .pth as torch.save writes it")
    try:
        found = _loaded(path)
    except REFUSAL as error:
        raise BadData(f"{path} is no file of weights, or holds more, which could run code and is not read") from error
    except (OSError, RuntimeError, ValueError, EOFError, LookupError) as error:
        raise BadInput(f"{path} cannot be read as weights: {one_line(str(error))[:200]}") from error
    if not isinstance(found, Mapping) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise BadData(f"{path} holds no state dict: names, each with a tensor")
    return {str(name): value for name, value in found.items()}


def _loaded(path: Path) -> Any:
    if path.suffix != ".safetensors":
        return torch.load(path, map_location="cpu", weights_only=True)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def fill(model: torch.nn.Module, state: Mapping[str, Tensor], origin: str | Path) -> None:
    """Fills everything but the classifier.

    Raises:
        BadData: a tensor is missing, one too many, or of another shape; the message names the first.
    """
    own = {name: value for name, value in model.state_dict().items() if not name.startswith("classifier.")}
    for name in sorted({*own, *state}):
        theirs, ours = (tuple(found[name].shape) if name in found else "nothing" for found in (state, own))
        if theirs != ours:
            raise BadData(f"{origin} has {theirs} for {name}, where this network has {ours}")
    model.load_state_dict(dict(state), strict=False)  # not strict: the classifier stays as it is
