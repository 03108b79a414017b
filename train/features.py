"""What a frozen backbone sees, computed once and kept on disk: a head then trains in seconds.

Every view of a picture (`train.views`) is kept on its own.

The file's name is the hash of all that decides its content: the backbone's weights, the pictures, how they
are prepared, and the code and libraries that do it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from edge_runtime.store import home
from train.data import Example, batches
from train.devices import current, threads
from train.loading import threads_left
from train.pretrained import Backbone
from train.provenance import code_sha256, versions
from train.run import save_tensors
from train.views import PLAIN, View

log = logging.getLogger(__name__)

CODE = (
    "edge_runtime.preprocess",
    *(f"train.{name}" for name in ("data", "effnet_lite", "features", "loading", "models", "views", "vit")),
)


class Frozen(Protocol):
    """A network whose classifier is called `classifier`, and what that classifier sees."""

    def features(self, x: Tensor, /) -> Tensor:
        """Normalised float32 (batch, 3, crop, crop) to float32 (batch, features)."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Its weights."""
        ...

    def eval(self) -> Any:
        """Turns what is for training only off."""
        ...

    def cpu(self) -> Any:
        """Brings it back from where it computed."""
        ...


def features(
    backbone: Frozen,
    row: Backbone,
    name: str,
    examples: Sequence[Example],
    sha256: str,
    view: View = PLAIN,
) -> tuple[Tensor, Tensor]:
    """Features and labels of pictures, from the cache or computed now.

    Args:
        backbone: what sees them.
        row: how it was built, and how a picture becomes what it takes.
        name: what is computed, for the log, such as "train".
        examples: the pictures.
        sha256: the content hash of the data set that they belong to.
        view: how each picture is looked at.

    Returns:
        Float32 (n, features) and int64 (n,); damaged pictures are left out, see `train.data.pictures`.
    """
    key = _key(backbone, row, examples, sha256, view)
    path = home() / "features" / f"{key}.safetensors"
    kept = _kept(path)
    if kept is not None:
        log.info("%s: features of %d pictures from the cache", name, len(kept["labels"]))
        return kept["features"], kept["labels"]
    log.info("%s: computing the features of %d pictures once", name, len(examples))
    computed = _compute(backbone, row, examples, view)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_tensors(computed, fresh)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return computed["features"], computed["labels"]


def _key(backbone: Frozen, row: Backbone, examples: Sequence[Example], sha256: str, view: View) -> str:
    digest = hashlib.sha256()
    for name, value in backbone.state_dict().items():
        if not name.startswith("classifier."):
            digest.update(name.encode())
            digest.update(value.numpy().tobytes())
    chosen = [(e.path.parent.parent.name, e.path.name, e.label) for e in examples]
    libraries = [versions()[name] for name in ("numpy", "pillow", "torch")]
    here = [current().words()["device"], code_sha256(*CODE), *libraries]
    prepared = [asdict(row.image), asdict(row.normalise), dict(row.arguments), str(view)]
    digest.update(json.dumps([sha256, chosen, *prepared, here]).encode())
    return digest.hexdigest()


def _kept(path: Path) -> dict[str, Tensor] | None:
    if not path.is_file():
        return None
    try:
        kept = load_file(path)
    except SafetensorError as error:
        log.warning("%s is damaged and is computed again: %s", path, error)
        return None
    return kept


def _compute(backbone: Frozen, row: Backbone, examples: Sequence[Example], view: View) -> dict[str, Tensor]:
    place = current().place
    network = place(backbone.eval())
    mean, std = (place(torch.tensor(one)) for one in (row.normalise.mean, row.normalise.std))
    rows: list[Tensor] = []
    labels: list[int] = []
    with torch.inference_mode(), threads(threads_left(len(examples), row.image.crop)):
        for chosen, pixels in batches(examples, row.image, view):
            rows.append(network.features(((place(pixels).float() - mean) / std).permute(0, 3, 1, 2)).cpu())
            labels += [example.label for example in chosen]
    backbone.cpu()
    return {"features": torch.cat(rows), "labels": torch.tensor(labels)}
