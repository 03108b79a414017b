"""The run: the folder that training writes and export reads. It appears whole, or not at all.

`model.safetensors` holds the weights, `spec.json` the `ModelSpec`, `history.jsonl` one line an epoch,
`metrics.json` how it came about (recipe, arguments, data, results, versions), `test_readings.jsonl` one
line for every reading of the test split. No pickle anywhere.

>>> run = load_run("runs/digits")                                                       # doctest: +SKIP
>>> run.spec.task, run.metrics["results"]["test_accuracy"]                              # doctest: +SKIP
('multiclass', 0.9917)
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import BadBundle, BadData, BadInput, BadRequest
from edge_runtime.spec import ModelSpec
from edge_runtime.store import sha256_of, whole_folder

if TYPE_CHECKING:
    from torch import nn

WEIGHTS, SPEC, HISTORY, METRICS, READINGS = FILES = (
    "model.safetensors",
    "spec.json",
    "history.jsonl",
    "metrics.json",
    "test_readings.jsonl",
)
LIBRARIES = ("gymnasium", "numpy", "pillow", "scikit-learn", "torch")


@dataclass(frozen=True)
class Request:
    """What decides a run: recipe, arguments and data. Two runs of one request are the same run."""

    recipe: str
    arguments: Mapping[str, Any]
    data: Mapping[str, Any]

    def differences(self, metrics: Mapping[str, Any]) -> list[str]:
        """How an existing run's metrics differ from this request, each as "what: theirs, asked: ours"."""
        found: list[tuple[str, Any, Any]] = [("recipe", metrics.get("recipe"), self.recipe)]
        theirs = metrics.get("arguments", {})
        found += [(name, theirs.get(name), self.arguments.get(name)) for name in sorted({*theirs, *self.arguments})]
        found.append(("data", metrics.get("data", {}).get("sha256"), self.data.get("sha256")))
        return [f"{name}: {old}, asked: {new}" for name, old, new in found if old != new]


@dataclass(frozen=True)
class Run:
    """A finished run; `model` is in eval mode, `reused` says that it stood there already."""

    path: Path
    spec: ModelSpec
    model: nn.Module
    metrics: Mapping[str, Any]
    reused: bool = False


@dataclass
class Draft:
    """A run that is being written: a recipe logs epochs and test readings to it, then hands in the model."""

    folder: Path
    watch: Callable[[Mapping[str, Any]], None] | None = None
    finished: dict[str, Any] = field(default_factory=dict)

    def log(self, row: Mapping[str, Any]) -> None:
        """Appends one line to the history, and shows it to whoever watches."""
        _append(self.folder / HISTORY, row)
        if self.watch is not None:
            self.watch(row)

    def read_test(self, what: str, **reading: Any) -> None:
        """Notes that the test split was read, and what came out."""
        add_test_reading(self.folder, what, **reading)

    def finish(self, model: nn.Module, spec: ModelSpec, results: Mapping[str, Any], **more: Any) -> None:
        """Hands in the trained model, what it takes and gives, and the results of training."""
        from safetensors.torch import save_file

        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, self.folder / WEIGHTS)
        (self.folder / WEIGHTS).chmod(0o644)  # safetensors writes it for its owner only
        _write(self.folder / SPEC, spec.to_dict())
        self.finished = {"results": dict(results), **more}


@contextlib.contextmanager
def new_run(
    target: Path, request: Request, watch: Callable[[Mapping[str, Any]], None] | None = None
) -> Iterator[Draft]:
    """Gives a draft to train into; at the end it becomes `target`, replacing what stood there.

    After an error or Ctrl-C nothing is left of it.
    """
    start = time.perf_counter()
    with whole_folder(target) as folder:
        draft = Draft(folder, watch)
        (folder / READINGS).touch()
        if (target / READINGS).is_file():  # a run that is trained again has still seen its test split before
            shutil.copyfile(target / READINGS, folder / READINGS)
        (folder / HISTORY).touch()
        yield draft
        _write(
            folder / METRICS,
            {
                "recipe": request.recipe,
                "arguments": dict(request.arguments),
                "seed": request.arguments.get("seed"),
                "data": dict(request.data),
                **draft.finished,
                "model_sha256": sha256_of(folder / WEIGHTS),
                "seconds": round(time.perf_counter() - start, 2),
                "time": _now(),
                "commit": commit(),
                "versions": versions(),
            },
        )


def check_run(path: str | Path) -> Mapping[str, Any]:
    """Looks at a run without torch, and returns its metrics.

    Raises:
        BadInput: no run is there.
        BadData: a file of it is missing or damaged; the message names it.
    """
    path = Path(path)
    if not path.is_dir():
        raise BadInput(f"{path} is not a run; `lokma train` writes one, `lokma train --list` says which there are")
    for name in (WEIGHTS, SPEC, METRICS):
        if not (path / name).is_file():
            raise BadInput(f"{path} is not a whole run: it has no {name}; train it again")
    metrics = _read(path / METRICS)
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
        spec = ModelSpec.from_dict(_read(path / SPEC))
        if spec.architecture is None:
            raise BadData(f"{path / SPEC} names no architecture; train it again")
        model = build(spec.architecture)
        model.load_state_dict(load_file(path / WEIGHTS))
    except (BadBundle, BadRequest, SafetensorError, RuntimeError) as error:  # RuntimeError: keys or shapes
        raise BadData(f"the run {path} cannot be read: {' '.join(str(error).split())}") from error
    return Run(path, spec, model.eval(), metrics)


def reusable(path: Path, request: Request) -> bool:
    """Whether a run of the same request stands there.

    Raises:
        BadRequest: something else stands there; the message names the difference.
        BadData: a damaged run stands there.
    """
    if not path.exists():
        return False
    if not (path / METRICS).is_file():
        raise BadRequest(f"{path} exists and is not a run; choose another name (--name) or folder (--out)")
    differences = request.differences(check_run(path))
    if differences:
        raise BadRequest(
            f"{path} is another run ({'; '.join(differences)}); "
            "give this one a --name, or replace that one with --force"
        )
    return True


def add_test_reading(path: str | Path, what: str, **reading: Any) -> None:
    """Appends a reading of the test split to a run, with time and commit."""
    _append(Path(path) / READINGS, {"time": _now(), "commit": commit(), "what": what, **reading})


def test_readings(path: str | Path) -> list[dict[str, Any]]:
    """Every reading of the test split so far, oldest first."""
    return [json.loads(line) for line in (Path(path) / READINGS).read_text(encoding="utf-8").splitlines()]


def commit() -> str | None:
    """The commit of the clone that this file lies in, or None outside a clone or before the first commit."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--verify", "HEAD"],
            cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def versions() -> dict[str, str | None]:
    """Python's version and those of the libraries that a result depends on; None for one that is not here."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _write(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _append(path: Path, row: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(row, ensure_ascii=False) + "\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadData(f"{path} is damaged: {error}; train it again") from error
    if not isinstance(data, dict):
        raise BadData(f"{path} is damaged: it holds no JSON object; train it again")
    return data
