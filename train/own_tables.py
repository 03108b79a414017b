"""A user's own table, `.csv` or `.parquet`, as training data: columns of numbers, and one that is to be said.

A target of words or of few numbers is a class, of many numbers a regression. A fifth of the rows, the same share of
each class, seeded, is kept apart as the test side.

>>> import tempfile
>>> path = Path(tempfile.mkdtemp()) / "boxes.csv"
>>> lines = [f"{n},{n % 7},{'flat' if n % 7 < 3 else 'high'}" for n in range(70)]
>>> _ = path.write_text("\\n".join(["width,height,kind", *lines]))
>>> data = own_table(path, "kind")
>>> data.task, data.columns, data.targets, len(data.train), len(data.test)
('binary', ('width', 'height'), ('flat', 'high'), 56, 14)
"""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.errors import BadData, BadInput, BadRequest, Missing
from train.tables import MIN_ROWS, TableData, split, table

log = logging.getLogger(__name__)

TASKS = ("binary", "multiclass", "regression")
MANY = 20  # different numbers in a target: more of them are a quantity, not classes
FIRST = 2  # the line of a table's first row, below its header
FEWEST = 5  # rows of a class: fewer cannot stand in each of five folds


def own_table(path: Path, target: str, task: str = "auto") -> TableData:
    """Reads a table and splits it.

    Args:
        path: the `.csv`, with a header, or the `.parquet`.
        target: the column that is to be said.
        task: one of `TASKS`, or "auto": the target decides.

    Raises:
        BadInput: no such file, or neither of the two kinds.
        BadRequest: no such column, or the target is of another kind than the task.
        BadData: a cell is no number (its line and column are named), a column stands twice, a class has fewer than
            five rows, or what `table` refuses.
        Missing: a `.parquet`, and pyarrow is not installed.
    """
    header, cells = _read(path)
    if "#" in target:
        raise BadRequest(f"the column {target!r} must be renamed: # separates file, task and column in a run's data")
    if target not in header:
        raise BadRequest(f"{path} has no column {target!r} for --target; its columns are {', '.join(header)}")
    if len(set(header)) != len(header):
        raise BadData(f"{path} names a column twice")
    columns = [name for name in header if name != target]
    if not columns or not cells:
        raise BadData(f"{path} has no {'rows' if columns else f'column but {target!r}'}")
    at = [header.index(name) for name in columns]
    numbers = [
        [_number(path, line, header[place], row[place]) for place in at] for line, row in enumerate(cells, FIRST)
    ]
    with np.errstate(over="ignore"):  # what does not fit into float32 becomes infinite, and `table` refuses it
        rows = np.array(numbers, np.float32)
    task, labels, targets = _targets(path, target, [row[header.index(target)] for row in cells], task)
    kept = _once(path, rows, targets)
    rows, targets = rows[kept], targets[kept]
    if len(rows) < MIN_ROWS:
        raise BadData(f"{path} has {len(rows)} different rows; at least {MIN_ROWS} are needed to train on")
    if task != "regression":
        _refuse_rare(path, target, labels, targets)
    sides = split(rows, targets, classes=task != "regression")
    origin = f"{path}: {len(rows)} rows"
    return table(f"{path}#{task}#{target}", task, columns, labels, *sides, origin=origin, target_unit=target)


def _read(path: Path) -> tuple[list[str], list[tuple[Any, ...]]]:
    if not path.is_file() or path.suffix.lower() not in (".csv", ".parquet"):
        what = "is neither a .csv nor a .parquet" if path.is_file() else "is not here"
        raise BadInput(f"the table {path} {what}")
    if path.suffix.lower() == ".csv":
        try:
            with path.open(encoding="utf-8-sig", newline="") as handle:
                lines = [tuple(line) for line in csv.reader(handle) if line]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise BadData(f"{path} cannot be read as a table: {error}") from error
        odd = next((n for n, line in enumerate(lines, 1) if len(line) != len(lines[0])), None)
        if odd is not None:
            raise BadData(f"{path}, row {odd} has {len(lines[odd - 1])} cells for {len(lines[0])} columns")
        return (list(lines[0]) if lines else []), lines[1:]
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise Missing(f"{path} needs pyarrow: pip install pyarrow, or save it as .csv") from error
    try:
        found = parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise BadData(f"{path} cannot be read as a table: {error}") from error
    return found.column_names, list(zip(*(column.to_pylist() for column in found.columns), strict=True))


def _targets(path: Path, target: str, said: Sequence[Any], task: str) -> tuple[str, list[str], np.ndarray]:
    """The task, its labels, and the targets as numbers, (n,)."""
    empty = next((line for line, value in enumerate(said, FIRST) if value is None or value == ""), None)
    if empty is not None:
        raise BadData(f"{path}, row {empty}, column {target!r} is empty; fill it or drop the row")
    numbers, words = [_value(one) for one in said], [str(one) for one in said]
    many = None not in numbers and len(set(numbers)) > MANY
    if task == "auto":
        task = "regression" if many else "binary" if len(set(words)) == 2 else "multiclass"
    if task == "regression":
        return task, [target], np.array([_number(path, line, target, one) for line, one in enumerate(said, FIRST)])
    labels = sorted(set(words))
    if task == "binary" and len(labels) != 2:
        raise BadRequest(f"{path}: {target} has {len(labels)} different values; --task binary needs two")
    return task, labels, np.array([labels.index(one) for one in words])


def _once(path: Path, rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Numbers of the rows, each once: a copy could stand on the other side, and a test must be unseen."""
    _, first = np.unique(np.column_stack([rows, targets.astype(np.float32)]), axis=0, return_index=True)
    if len(first) < len(rows):
        log.warning("left out: %d rows of %s that stand there before", len(rows) - len(first), path)
    return np.sort(first)


def _refuse_rare(path: Path, target: str, labels: Sequence[str], targets: np.ndarray) -> None:
    counts = np.bincount(targets, minlength=len(labels))
    rare = int(counts.argmin())
    if counts[rare] < FEWEST:
        few = f"{target} is {labels[rare]!r} in {counts[rare]} rows"
        raise BadData(f"{path}: {few}; at least {FEWEST} are needed of each class")


def _value(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def _number(path: Path, row: int, column: str, cell: Any) -> float:
    value = _value(cell)
    if value is None or not math.isfinite(value):
        shown = "nothing" if cell in (None, "") else repr(cell)
        raise BadData(f"{path}, row {row}, column {column!r} holds {shown}, which is no number; fill or encode it")
    return value
