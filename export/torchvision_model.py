"""`torchvision:NAME --weights my.pth --labels pizza,steak,sushi`: what every student of the course holds.

The file is read with `weights_only=True`; the head is resized to its weights. Torchvision's own transforms of the
architecture say how pictures are prepared.
"""

from __future__ import annotations

import difflib
import json
import re
import urllib.error
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models

from edge_runtime.errors import BadInput, BadRequest, Missing, one_line
from edge_runtime.spec import ImageSpec, Normalise
from edge_runtime.store import sha256_of
from export.asked import ASK_LABELS, Asked, spec_of
from export.program import UNPICKLING, checked
from export.sources import Plan, Source
from train.user_data import Data

WRAPPERS = ("model_state_dict", "state_dict", "model")  # what training loops call it inside a checkpoint
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and torch.compile
# Their published weights want the input shifted inside the model; a state dict does not say whether it was
SHIFTED = {name: {"init_weights": False, "transform_input": True} for name in ("googlenet", "inception_v3")}
LICENCES = {"weights": "the user's own", "code": "BSD-3-Clause (torchvision)"}
PLAIN = (nn.Linear, nn.Dropout, nn.ReLU, nn.Hardswish, nn.Tanh, nn.Identity)  # of a head that takes flat features


def plan(typed: str, asked: Asked, data: Data | None) -> Plan:
    """The plan; nothing is downloaded for it.

    Raises:
        BadRequest: torchvision has no such classifier; near names are listed.
        BadInput: the weights are not there.
    """
    name = typed.partition(":")[2]
    known = list_models(module=__import__("torchvision.models").models)
    if name not in known:
        near = difflib.get_close_matches(name, known, 5, 0.5)
        hint = f"; near: {', '.join(near)}" if near else "; lower case, as in torchvision.models"
        raise BadRequest(f"torchvision has no classifier {name!r}{hint}")
    if asked.weights is not None and not asked.weights.is_file():
        raise BadInput(f"--weights {asked.weights} does not exist")
    if asked.weights is not None and name in SHIFTED:
        raise BadRequest(
            f"weights of {name} do not say whether it shifts its input (transform_input); "
            "write a function that builds your model and give file.py:function"
        )
    published = get_model_weights(name).DEFAULT
    image, normalise = _preprocess(published.transforms())
    theirs = tuple(published.meta["categories"]) if asked.weights is None else ()
    labels = tuple(dict.fromkeys(theirs)) if len(set(theirs)) == len(theirs) else _numbered(theirs)
    spec, missing = spec_of(name, asked, data, image=image, normalise=normalise, labels=labels)
    if spec is None and ASK_LABELS not in missing:
        missing = (*missing, ASK_LABELS)

    def load() -> Source:
        assert spec is not None
        state = read_weights(asked.weights) if asked.weights else _published(name, published)
        model = fitted(name, state, str(asked.weights or "torchvision's weights"))
        return checked(Source(spec, model.eval(), content(), licences=LICENCES), str(asked.weights or typed))

    def content() -> str:
        return sha256_of(asked.weights) if asked.weights else str(published)

    what = f"{typed} with {asked.weights.name if asked.weights else published}"
    return Plan("torchvision", what, name, spec, missing, data, content, load)


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict, also inside a checkpoint, without the prefixes of wrappers.

    Raises:
        BadInput: the file holds more than weights, or none.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except UNPICKLING as error:
        raise BadInput(
            f"{path} holds more than weights, which could run code and is not read; "
            "save them by torch.save(model.state_dict(), …)"
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError, LookupError) as error:
        raise BadInput(f"{path} cannot be read as weights: {one_line(str(error))[:200]}") from error
    for key in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise BadInput(f"{path} holds no state dict, nor one under {', '.join(WRAPPERS)}")
    state = {str(name): value for name, value in found.items()}
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def fitted(name: str, state: Mapping[str, Tensor], what: str) -> nn.Module:
    """The architecture with its head made to the weights' shape, and the weights in it.

    Raises:
        BadInput: keys are missing, unknown or of another shape; they are named.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torchvision's own about the way it fills fresh weights
        model = get_model(name, weights=None, **SHIFTED.get(name, {}))
    for side in ("aux1", "aux2", "AuxLogits"):  # used in training only
        if hasattr(model, side):
            setattr(model, side, None)
    state = {key: value for key, value in state.items() if not re.match(r"(aux[12]|AuxLogits)\.", key)}
    _resize(model, state)
    own = model.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in own]
    if missing or unknown:
        raise BadInput(f"{what} does not fit {name}: {_words('lacks', missing)}{_words('has the unknown', unknown)}"
                       "a head of another form goes by file.py:function")  # fmt: skip
    odd = [key for key, value in state.items() if value.shape != own[key].shape]
    if odd:
        shapes = [f"{key} is {tuple(state[key].shape)}, not {tuple(own[key].shape)}" for key in odd[:3]]
        raise BadInput(f"{what} does not fit {name}: {'; '.join(shapes)} ({len(odd)} in all)")
    state = OrderedDict(state)
    state._metadata = own._metadata  # type: ignore[attr-defined]  # mnasnet looks there for its version
    model.load_state_dict(state, strict=False)  # what may lack are counters of BatchNorm, which old files do not have
    return model.requires_grad_(False)


def _resize(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Replaces the last layer by one of the weights' shape, or a whole head by the one linear layer it became."""
    path, last = [(n, m) for n, m in model.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))][-1]
    if isinstance(getattr(model, path.split(".")[0], None), (nn.Linear, nn.Sequential)):
        root = path.split(".")[0]
    else:
        root = path
    theirs = {key: value for key, value in state.items() if key == root or key.startswith(root + ".")}
    weight = theirs.get(path + ".weight")
    if weight is not None and weight.ndim == last.weight.ndim and weight.shape[1:] == last.weight.shape[1:]:
        _put(model, path, _like(last, len(weight), path + ".bias" in theirs))
        return
    found = [key for key, value in theirs.items() if key.endswith(".weight") and value.ndim == 2]
    head = getattr(model, root)
    layers = [head] if isinstance(head, nn.Linear) else list(head.children())
    first = next((layer for layer in layers if isinstance(layer, nn.Linear)), None)
    flat = first is not None and all(isinstance(layer, PLAIN) for layer in layers)
    if len(found) != 1 or len(theirs) > 2 or first is None or not flat:
        return  # the keys that do not fit are named by the caller
    if theirs[found[0]].shape[1] != first.in_features:
        return
    inner = found[0].removeprefix(root).removesuffix(".weight").strip(".")
    made: nn.Module = nn.Linear(first.in_features, len(theirs[found[0]]), bias=len(theirs) == 2)
    for part in reversed(inner.split(".") if inner else []):  # `heads.0`, `classifier.1`: the names they go by
        made = _named(part, made)
    setattr(model, root, made)


def _named(name: str, module: nn.Module) -> nn.Module:
    holder = nn.Sequential()
    holder.add_module(name, module)
    return holder


def _put(model: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, layer)


def _like(last: Any, outputs: int, bias: bool) -> nn.Module:
    if isinstance(last, nn.Linear):
        return nn.Linear(last.in_features, outputs, bias=bias)
    return nn.Conv2d(last.in_channels, outputs, last.kernel_size, last.stride, last.padding, bias=bias)


def _words(verb: str, keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"it {verb} {', '.join(keys[:3])}{more}; " if keys else ""


def _preprocess(transforms: Any) -> tuple[ImageSpec, Normalise]:
    """Torchvision's preset in our words; its means are in units of 0 to 1."""
    image = ImageSpec(transforms.resize_size[0], transforms.crop_size[0], transforms.interpolation.value)
    means, deviations = (tuple(255 * float(v) for v in part) for part in (transforms.mean, transforms.std))
    return image, Normalise(means, deviations)


def _numbered(names: tuple[str, ...]) -> tuple[str, ...]:
    """ImageNet calls two things a crane and two a maillot; the later one gets its number."""
    return tuple(f"{name} {i}" if name in names[:i] else name for i, name in enumerate(names))


def _published(name: str, weights: Any) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        said = one_line(json.dumps(str(error)))[:200]
        raise Missing(f"the weights of {name} cannot be fetched ({said}); give your own by --weights") from error
    return state
