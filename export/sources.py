"""What can be exported: a table from what a user types to one frozen `Source` that the rest of the room works on.

A `Plan` costs little: no weights are lowered for it, and a run's needs no torch. It says what is missing, and its
`content` is the hash that decides whether anything has changed; `load` gives the source.

>>> [row.form for row in SOURCES][:2]
['a folder that `lokma train` wrote', 'path/to/file.py:function']
"""

from __future__ import annotations

import difflib
import importlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.bundle import MANIFEST
from edge_runtime.errors import BadBundle, BadInput, BadRequest
from edge_runtime.spec import ModelSpec
from edge_runtime.store import sha256_of
from export.asked import Asked
from train.run import SPEC, WEIGHTS, check_run
from train.user_data import Data, user_data

if TYPE_CHECKING:
    from torch import nn

ENGINES = ("executorch", "onnxruntime")
WEIGHTS_ALONE = (".pth", ".pt", ".safetensors")


@dataclass(frozen=True)
class Source:
    """What recipes lower and `judge` judges.

    `model` is in eval mode, takes normalised float32 (pictures as (batch, 3, side, side)) and gives raw outputs.
    `path` is the folder of a run, whose test readings are counted; `engines` are those that can run it, and `why`
    says what keeps the others off. `auto` are the recipes it means where no torch operators can be counted.
    """

    spec: ModelSpec
    model: nn.Module
    weights_sha256: str
    path: Path | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    licences: Mapping[str, str] = field(default_factory=dict)
    engines: tuple[str, ...] = ENGINES
    why: str = ""
    auto: str = "auto"


@dataclass(frozen=True)
class Plan:
    """What an export would do; `missing` are the options that must be given first, and `spec` is None without them."""

    kind: str
    what: str
    name: str
    spec: ModelSpec | None
    missing: tuple[str, ...]
    data: Data | None
    content: Callable[[], str] = lambda: ""
    load: Callable[[], Source] = lambda: _nothing()
    engines: tuple[str, ...] = ENGINES
    why: str = ""
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Row:
    """One kind: how it is typed, whether something is typed so, and `module:function` that plans it."""

    form: str
    fits: Callable[[Any], bool]
    plan: str


SOURCES = (
    Row("a folder that `lokma train` wrote", lambda thing: _is_folder(thing), "export.sources:plan_run"),
    Row("path/to/file.py:function", lambda thing: ".py:" in str(thing), "export.user_file:plan"),
    Row("torchvision:NAME", lambda thing: str(thing).startswith("torchvision:"), "export.torchvision_model:plan"),
    Row("an exported program (.pt2)", lambda thing: str(thing).endswith(".pt2"), "export.program:plan"),
    Row("an .onnx file", lambda thing: str(thing).endswith(".onnx"), "export.onnx_graph:plan"),
    Row("a torch.nn.Module, from Python", lambda thing: _is_module(thing), "export.program:plan_module"),
)


def plan_of(thing: Any, asked: Asked) -> Plan:
    """Finds the row of what was typed and asks it for a plan.

    Raises:
        BadInput: nothing of that kind is there; the message lists the kinds.
        BadRequest: an option does not belong to it.
    """
    row = next((row for row in reversed(SOURCES) if row.fits(thing)), None)
    if row is None:
        near = difflib.get_close_matches(str(thing), [str(path) for path in Path().glob("runs/*")], 1)
        hint = f"; did you mean {near[0]}" if near else ""
        if str(thing).endswith(WEIGHTS_ALONE):
            raise BadInput(
                f"{thing} holds weights and no architecture; give torchvision:NAME --weights {thing}, or "
                "path/to/file.py:function, which builds the module and loads them"
            )
        raise BadInput(
            f"{thing} does not exist, or is nothing that can be exported: {', '.join(r.form for r in SOURCES)}{hint}"
        )
    if asked.weights is not None and not row.form.startswith("torchvision"):
        raise BadRequest(f"--weights belongs to torchvision:NAME; {thing} brings its own")
    data = None if asked.data is None else user_data(asked.data, asked.target)
    module, function = row.plan.split(":")
    plan: Plan = getattr(importlib.import_module(module), function)(thing, asked, data)
    if data is not None and plan.spec is not None:
        _check_labels(data, plan.spec)
    return plan


def plan_run(thing: Any, asked: Asked, data: Data | None) -> Plan:
    """The plan for a run: its spec and its data are known, and its weights' hash decides."""
    path = Path(thing)
    if (path / MANIFEST).is_file():
        raise BadInput(f"{path} is a bundle, exported already; `lokma info {path}` describes it")
    metrics = check_run(path)
    said = [name for name, value in asked.plain().items() if value] + (["data"] if data else [])
    if said:
        raise BadRequest(f"{path} is a run and says itself: {', '.join(said)}; leave out --{said[0]}")
    text = (path / SPEC).read_text(encoding="utf-8")

    def load() -> Source:
        from train.run import load_run

        run = load_run(path)
        licences = metrics.get("licences", {})
        return Source(run.spec, run.model, str(metrics["model_sha256"]), path, run.metrics, licences)

    return Plan(
        kind="run",
        what=str(path),
        name=path.resolve().name,
        spec=ModelSpec.from_dict(json.loads(text)),
        missing=(),
        data=None,
        content=lambda: sha256_of(path / WEIGHTS),
        load=load,
    )


def _check_labels(data: Data, spec: ModelSpec) -> None:
    known = [label.id for label in spec.labels]
    strange = [label for label in data.labels if label not in known]
    if strange:
        raise BadRequest(
            f"--data has the label {', '.join(strange[:5])}, and the model has {', '.join(known[:10])}; "
            "folders and --labels must carry the same names"
        )


def _is_folder(thing: Any) -> bool:
    try:
        return isinstance(thing, (str, Path)) and (Path(thing).is_dir() or _looks_like_path(str(thing)))
    except OSError:
        return False


def _looks_like_path(text: str) -> bool:
    """A name without any suffix or colon: a run that does not exist should be told so."""
    return bool(text) and ":" not in text and Path(text).suffix == ""


def _is_module(thing: Any) -> bool:
    torch = sys.modules.get("torch")  # who holds a module has imported it
    return torch is not None and isinstance(thing, torch.nn.Module)


def _nothing() -> Source:
    raise BadBundle("a plan with missing options was asked for its model")
