"""The run: the folder that training writes and export reads. It appears whole, or not at all.

`model.safetensors` holds the weights, `spec.json` the `ModelSpec`, `history.jsonl` one line an epoch,
`metrics.json` how it came about (recipe, arguments, data, results, code, versions), `test_readings.jsonl` one
line for every reading of the test split by training, and by whoever else calls `add_test_reading`; `splits.json`
which part of the data stood on which side; `curves.png` and, of few classes, `confusion.png`, of CartPole
`episodes.gif`. No pickle.

>>> run = load_run("runs/digits")                                                       # doctest: +SKIP
>>> run.spec.task, run.metrics["results"]["test_accuracy"]                              # doctest: +SKIP
('multiclass', 0.9917)
"""

from __future__ import annotations

import errno
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import BadBundle, BadData, BadInput, BadRequest
from edge_runtime.spec import ModelSpec, read_json
from edge_runtime.store import sha256_of
from train.provenance import commit

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger(__name__)

WEIGHTS, SPEC, HISTORY, METRICS = "model.safetensors", "spec.json", "history.jsonl", "metrics.json"
READINGS, SPLITS = "test_readings.jsonl", "splits.json"
# what metrics.json must hold: export and the reuse of a run read it
NEEDED: dict[tuple[str, ...], type | tuple[type, ...]] = {
    ("recipe",): str,
    ("arguments",): dict,
    ("seed",): (int, type(None)),
    ("data",): dict,
    ("data", "name"): str,
    ("data", "sha256"): str,
    ("results",): dict,
    ("versions",): dict,
}


@dataclass(frozen=True)
class Request:
    """What decides a run: asked are recipe, arguments and data; code and versions are what is here to do it.

    Two runs of one request are the same run.
    """

    recipe: str
    arguments: Mapping[str, Any]
    data: Mapping[str, Any]
    code_sha256: str
    versions: Mapping[str, str | None]

    def differences(self, metrics: Mapping[str, Any]) -> list[str]:
        """How what was asked of an existing run differs from this, each as "what: theirs, asked: ours"."""
        found: list[tuple[str, Any, Any]] = [("recipe", metrics["recipe"], self.recipe)]
        theirs = metrics["arguments"]
        found += [(name, theirs.get(name), self.arguments.get(name)) for name in sorted({*theirs} & {*self.arguments})]
        found.append(("data", metrics["data"]["sha256"], self.data["sha256"]))
        return [f"{name}: {old}, asked: {new}" for name, old, new in found if old != new]

    def changes(self, metrics: Mapping[str, Any]) -> list[str]:
        """What has changed here since an existing run was trained; Python itself decides no result."""
        code = ["the code"] if metrics.get("code_sha256") != self.code_sha256 else []
        pairs = [(name, metrics["versions"].get(name), new) for name, new in self.versions.items() if name != "python"]
        return code + [f"{name} ({old}, now {new})" for name, old, new in pairs if old != new]


@dataclass(frozen=True)
class Run:
    """A finished run; `model` is in eval mode, `reused` says that it stood there already."""

    path: Path
    spec: ModelSpec
    model: nn.Module
    metrics: Mapping[str, Any]
    reused: bool = False


def check_run(path: str | Path) -> Mapping[str, Any]:
    """Looks at a run without torch, and returns its metrics.

    Raises:
        BadInput: no run is there.
        BadData: a file of it is missing or damaged; the message names it.
    """
    path = Path(path)
    if not any((path / name).is_file() for name in (WEIGHTS, SPEC, METRICS)):
        raise BadInput(f"{path} is not a run; `lokma train` writes one, `lokma train --list` says which there are")
    for name in (WEIGHTS, SPEC, METRICS):
        if not (path / name).is_file():
            raise BadInput(f"{path} is not a whole run: it has no {name}; train it again")
    _read_spec(path / SPEC)
    metrics = _read_metrics(path / METRICS)
    if metrics.get("model_sha256") != sha256_of(path / WEIGHTS):
        raise BadData(f"{path / WEIGHTS} is damaged: its hash is not the one in {METRICS}; train it again")
    return metrics


def load_run(path: str | Path) -> Run:
    """Reads a run back, its model built and filled.

    Raises:
        BadInput: no run is there.
        BadData: a file of it is missing or damaged, or the weights do not fit the spec's architecture.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from train.models import build

    path = Path(path)
    metrics = check_run(path)
    try:
        spec = _read_spec(path / SPEC)
        if spec.architecture is None:
            raise BadData(f"{path / SPEC} names no architecture; train it again")
        model = build(spec.architecture)
        model.load_state_dict(load_file(path / WEIGHTS))
    except (BadRequest, SafetensorError, RuntimeError, ValueError) as error:  # RuntimeError: keys or shapes
        raise BadData(f"the run {path} cannot be read: {' '.join(str(error).split())}") from error
    return Run(path, spec, model.eval(), metrics)


def reusable(path: Path, request: Request) -> bool:
    """Whether a run of the same request stands there.

    One of the same recipe, arguments and data that other code or libraries trained is not: the log says what changed.

    Raises:
        BadRequest: something else stands there; the message names the difference.
        BadData: a damaged run stands there.
    """
    if not path.exists():
        return False
    if not (path / METRICS).is_file():
        raise BadRequest(f"{path} exists and is not a run; choose another name (--name) or folder (--out)")
    metrics = check_run(path)
    differences = request.differences(metrics)
    if differences:
        raise BadRequest(
            f"{path} is another run ({'; '.join(differences)}); "
            "give this one a --name, or replace that one with --force"
        )
    changes = request.changes(metrics)
    if changes:
        log.info("%s is trained again: %s changed since", path, ", ".join(changes))
    return not changes


def add_test_reading(path: str | Path, what: str, **reading: Any) -> None:
    """Appends a reading of the test split to a run, with time and commit."""
    append(Path(path) / READINGS, {"time": now(), "commit": commit(), "what": what, **reading})


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Writes a safetensors file.

    Raises:
        OSError: it cannot be written; safetensors has an error of its own for a full disk.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(path)) from error


def now() -> str:
    """The time, as a record has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def write(path: Path, data: Mapping[str, Any]) -> None:
    """Writes a JSON object for people to read."""
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Appends a line of JSON."""
    with path.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(row, ensure_ascii=False) + "\n")


def _read_spec(path: Path) -> ModelSpec:
    try:
        return ModelSpec.from_dict(read_object(path))
    except BadBundle as error:
        raise BadData(f"{path} is damaged: {error}; train it again") from error


def _read_metrics(path: Path) -> dict[str, Any]:
    metrics = read_object(path)
    for keys, kind in NEEDED.items():
        value: Any = metrics
        for key in keys:
            value = value.get(key, NotImplemented)  # a seed may be None
        if not isinstance(value, kind):
            problem = f"{'.'.join(keys)} is {'missing' if value is NotImplemented else repr(value)}"
            raise BadData(f"{path} is damaged: {problem}; train it again")
    return metrics


def read_object(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        BadData: it is damaged.
    """
    try:
        return read_json(path.read_bytes(), path.name)
    except (OSError, BadBundle) as error:
        raise BadData(f"{path} is damaged: {error}; train it again") from error
