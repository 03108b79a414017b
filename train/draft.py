"""The run that is being written: its folder, what a recipe hands in, and how it goes on where it was cut off.

A run is trained in the folder that it will have; where a whole run stands there already it is trained beside it, as
`.NAME.next`, and takes its place at the end. `metrics.json` is written last: a folder that has it is a whole run,
one with a `request.json` is an unfinished one. After Ctrl-C or kill -9 the same command goes on from the newest
checkpoint (`train.checkpoint`); other arguments, other data, other code or libraries are refused, by name.

>>> with new_run(Path("runs/digits"), request) as draft:                                # doctest: +SKIP
...     draft.log({"epoch": 1, "loss": 0.5})
...     draft.finish(model, spec, {"test_accuracy": 0.9917})
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import BadData, BadInput, BadRequest
from edge_runtime.spec import ModelSpec
from edge_runtime.store import sha256_of
from edge_runtime.writing import locked, replace_file
from train.provenance import commit
from train.run import (
    HISTORY,
    METRICS,
    READINGS,
    SPEC,
    SPLITS,
    WEIGHTS,
    Request,
    add_test_reading,
    append,
    now,
    read_object,
    save_tensors,
    write,
)  # fmt: skip

if TYPE_CHECKING:
    from torch import nn

    from train.checkpoint import Checkpoints

log = logging.getLogger(__name__)

REQUEST, LOCK = "request.json", "lock"
KEPT = rf"checkpoint-\d+\.(json|safetensors)|{re.escape(REQUEST)}|{re.escape(READINGS)}|{LOCK}"
LEAST_FREE = 20_000_000  # bytes: the smallest backbone here and two checkpoints of a small network
EVERY_S = 10.0  # between checkpoints: what Ctrl-C or a kill costs at most


@dataclass
class Draft:
    """A recipe logs epochs and test readings to it, keeps checkpoints in it, and hands in the model at the end."""

    folder: Path
    watch: Callable[[Mapping[str, Any]], None] | None = None
    every_s: float = EVERY_S
    finished: dict[str, Any] = field(default_factory=dict)
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    earlier_s: float = 0.0  # spent on this run before it was cut off, as the checkpoint says
    start: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """How long this run has been trained, all its parts together."""
        return self.earlier_s + time.perf_counter() - self.start

    def log(self, row: Mapping[str, Any]) -> None:
        """Appends one line to the history, and shows it to whoever watches."""
        self.rows.append(row)
        append(self.folder / HISTORY, row)
        if self.watch is not None:
            self.watch(row)

    def read_test(self, what: str, **reading: Any) -> None:
        """Notes that the test split was read, and what came out."""
        add_test_reading(self.folder, what, **reading)

    def due(self) -> bool:
        """Whether it is time for a checkpoint: some seconds have passed since the last."""
        return self._checkpoints.due()

    def keep(self, stage: str, state: Mapping[str, Any]) -> None:
        """Writes a checkpoint of a stage, such as "fit"; `train.checkpoint` says what a state may hold."""
        self._checkpoints.save(stage, {"rows": self.rows, "seconds": self.seconds, "state": state})

    def kept(self, stage: str) -> dict[str, Any] | None:
        """The newest state of a stage, the history brought back to that moment; None where there is none.

        Raises:
            BadRequest: it was written under circumstances that end with other weights; the message names them.
        """
        found = self._checkpoints.newest(stage)
        if found is None:
            return None
        self.rows[:] = found["rows"]
        replace_file(self.folder / HISTORY, "".join(_line(row) for row in self.rows).encode())
        self.earlier_s, self.start = max(self.earlier_s, found["seconds"]), time.perf_counter()
        state: dict[str, Any] = found["state"]
        return state

    def keep_splits(self, splits: Mapping[str, Any]) -> None:
        """Writes which part of the data stands on which side, as `train.splits` tells."""
        replace_file(self.folder / SPLITS, (json.dumps(splits, ensure_ascii=False) + "\n").encode())

    def show(self, name: str, picture: Any) -> None:
        """Keeps a Pillow picture in the run, as `name`.png."""
        picture.save(self.folder / f"{name}.png")

    def show_confusion(self, confusion: Sequence[Sequence[float]], labels: Sequence[str]) -> None:
        """Draws a confusion matrix, a row a true class, where there are classes few enough to read."""
        from train.drawing import MOST_CLASSES, matrix

        if len(labels) <= MOST_CLASSES:
            self.show("confusion", matrix(confusion, labels))

    def finish(self, model: nn.Module, spec: ModelSpec, results: Mapping[str, Any], **more: Any) -> None:
        """Hands in the trained model, what it takes and gives, and the results of training."""
        weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
        save_tensors(weights, self.folder / WEIGHTS)
        (self.folder / WEIGHTS).chmod(0o644)  # safetensors writes it for its owner only
        write(self.folder / SPEC, spec.to_dict())
        self.finished = {"results": dict(results), **more}
        if sum("epoch" in row or "step" in row for row in self.rows) > 1:
            from train.drawing import curves

            self.show("curves", curves(self.rows))

    @property
    def _checkpoints(self) -> Checkpoints:
        if "_made" not in self.__dict__:
            from train.checkpoint import Checkpoints

            self.__dict__["_made"] = Checkpoints(self.folder, self.every_s)
        made: Checkpoints = self.__dict__["_made"]
        return made


@contextlib.contextmanager
def new_run(
    target: Path,
    request: Request,
    watch: Callable[[Mapping[str, Any]], None] | None = None,
    *,
    every_s: float = EVERY_S,
    force: bool = False,
) -> Iterator[Draft]:
    """Gives a draft to train into; at the end it becomes `target`, replacing what stood there.

    After Ctrl-C or a kill the checkpoints stay, and the next call for the same request goes on from them. After an
    error that the data or the request has, or before the first checkpoint, nothing is left.

    Args:
        target: the run's folder.
        request: what decides it.
        watch: called with every row of the history as it comes.
        every_s: seconds between checkpoints; 0 writes one at every step that may have one.
        force: begin anew where an unfinished run of another request is in the way.

    Raises:
        BadRequest: an unfinished run of another request is in the way (the message names the difference), another
            process is training it, or the folder cannot be written.
    """
    settle(target)
    folder = _beside(target, "next") if (target / METRICS).is_file() else target
    if not is_ours(folder):
        raise BadRequest(f"{folder} exists and is not a run; it is left as it is")
    _refuse_full(target)
    try:
        with locked(folder / LOCK, f"{target} is being trained by another process"):
            try:
                if force and _unlike(folder, request):
                    _clear(folder)
                _begin(folder, target, request)
                draft = Draft(folder, watch, every_s)
                yield draft
                _end(draft, request)
            except BaseException as error:
                # bad data would come again; and without a checkpoint there is nothing to go on from
                if isinstance(error, BadData | BadInput) or not any(folder.glob("checkpoint-*.json")):
                    _clear(folder)
                raise
            finally:
                if [path.name for path in folder.iterdir()] == [LOCK]:
                    shutil.rmtree(folder)
        settle(target)
    except OSError as error:
        about = f" ({error.filename})" if error.filename else ""
        problem = f"{error.strerror or error}{about}"
        raise BadRequest(f"cannot write {target}: {problem}; what stood there stands") from error


def _refuse_full(target: Path) -> None:
    there = next(path for path in target.absolute().parents if path.is_dir())
    free = shutil.disk_usage(there).free
    if free < LEAST_FREE:
        raise BadRequest(
            f"{free / 1e6:.1f} MB are free for {target}; a run needs at least {LEAST_FREE / 1e6:.0f} MB: "
            "make room, or name another folder (--out)"
        )


def is_ours(path: Path) -> bool:
    """Whether training may write there: nothing is there, or a run that was begun and not finished."""
    if not path.exists():
        return True
    if not path.is_dir() or path.is_symlink():
        return False
    # a kill may have come before the request was whole
    return (path / REQUEST).is_file() or all(p.name == LOCK or p.name.startswith(REQUEST) for p in path.iterdir())


def settle(target: Path) -> None:
    """Ends what a kill cut short: a whole run that waits beside `target` takes its place."""
    fresh, old = _beside(target, "next"), _beside(target, "old")
    if (fresh / METRICS).is_file():
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
        fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    if (target / METRICS).is_file() and (target / REQUEST).is_file():
        for path in [*target.glob("checkpoint-*"), target / LOCK, target / REQUEST]:
            path.unlink(missing_ok=True)


def _begin(folder: Path, target: Path, request: Request) -> None:
    """Checks that what was begun there is the same, or begins it."""
    differences = _unlike(folder, request)
    if differences:
        raise BadRequest(
            f"{folder} is an unfinished run of another kind ({'; '.join(differences)}); "
            "ask for the same again and it goes on, give this one a --name, or begin anew with --force"
        )
    for path in folder.iterdir():  # what a kill left half written, or what comes again
        if not re.fullmatch(KEPT, path.name):
            path.unlink()
    if not (folder / REQUEST).is_file():
        replace_file(folder / REQUEST, json.dumps(asdict(request)).encode())
        if folder != target:  # a run that is trained again has still seen its test split before
            shutil.copyfile(target / READINGS, folder / READINGS)
    elif any(folder.glob("checkpoint-*.json")):
        log.info("%s: going on from the last checkpoint", folder)
    for name in (HISTORY, READINGS):
        (folder / name).touch()


def _unlike(folder: Path, request: Request) -> list[str]:
    """How an unfinished run there differs from what is asked; nothing where there is none, or it is the same."""
    if not (folder / REQUEST).is_file():
        return []
    begun = read_object(folder / REQUEST)
    try:
        changes = [f"{what} changed since" for what in request.changes(begun)]
        return request.differences(begun) + changes
    except (LookupError, TypeError, AttributeError) as error:
        raise BadData(f"{folder / REQUEST} is damaged; remove {folder} to begin anew") from error


def _clear(folder: Path) -> None:
    """Empties a folder of ours, but for the lock that is held in it."""
    for path in folder.iterdir():
        if path.name != LOCK:
            path.unlink()


def _end(draft: Draft, request: Request) -> None:
    """Writes the metrics: from here on it is a whole run."""
    metrics = {
        "recipe": request.recipe,
        "arguments": dict(request.arguments),
        "seed": request.arguments.get("seed"),
        "data": dict(request.data),
        **draft.finished,
        "model_sha256": sha256_of(draft.folder / WEIGHTS),
        "seconds": round(draft.seconds, 2),
        "time": now(),
        "commit": commit(),
        "code_sha256": request.code_sha256,
        "versions": dict(request.versions),
    }
    replace_file(draft.folder / METRICS, (json.dumps(metrics, indent=2, ensure_ascii=False) + "\n").encode())


def _beside(target: Path, what: str) -> Path:
    return target.with_name(f".{target.name}.{what}")


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
