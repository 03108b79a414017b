"""A user's own data: a folder of pictures, or a CSV table; what it holds pins the export.

Pictures lie in `train|test/LABEL/…` or in `LABEL/…`; the latter and tables are split by each input's own hash, so
that the same picture stands on the same side every time, and a copy of it never on the other.

>>> import tempfile; folder = tempfile.mkdtemp()
>>> table = Path(folder) / "iris.csv"
>>> _ = table.write_text("length,width,kind\\n1.4,0.2,setosa\\n4.7,1.4,versicolor\\n")
>>> data = user_data(table, "kind")
>>> data.labels, data.columns
(('setosa', 'versicolor'), ('length', 'width'))
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.errors import BadData, BadInput, BadRequest
from edge_runtime.store import sha256_of

TEST_SHARE = 5  # one in five
SEED = "lokma-split-0"


@dataclass(frozen=True)
class Data:
    """Inputs (paths, or rows of numbers) with the name of their label, on two sides. `columns` are a table's."""

    name: str
    sha256: str
    labels: tuple[str, ...]
    train: tuple[tuple[Any, str], ...]
    test: tuple[tuple[Any, str], ...]
    columns: tuple[str, ...] = ()


def user_data(path: Path, target: str | None = None) -> Data:
    """Reads a folder or a table.

    Args:
        path: the folder, or the `.csv`.
        target: the column that holds the label; tables only.

    Raises:
        BadInput: nothing is there.
        BadData: it holds fewer than two labels, an empty one, the same picture on both sides, or a cell that is
            no number.
        BadRequest: a table was given and `target` was not, or names no column.
    """
    if path.is_dir():
        return _folder(path)
    if path.is_file() and path.suffix.lower() == ".csv":
        return _table(path, target)
    what = "is neither a folder of pictures nor a .csv" if path.exists() else "does not exist"
    raise BadInput(f"--data {path} {what}")


def _folder(root: Path) -> Data:
    from train.data import SPLITS, SUFFIXES, image_folder

    if any((root / split).is_dir() for split in SPLITS):
        found = image_folder(root, root.resolve().name)
        sides = [tuple((str(e.path), found.labels[e.label]) for e in side) for side in (found.train, found.test)]
        return Data(found.name, found.sha256, found.labels, sides[0], sides[1])
    labels = tuple(sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if len(labels) < 2:
        raise BadData(f"{root} has {len(labels)} label folders; at least 2 are needed, as {root}/LABEL/picture.jpg")
    rows, lines = [], []
    for label in labels:
        files = sorted(p for p in (root / label).rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not files:
            raise BadData(f"{root / label} holds no picture ({', '.join(SUFFIXES)})")
        hashes = {file: sha256_of(file) for file in files}
        rows += [(str(file), label, digest) for file, digest in hashes.items()]
        lines += [f"{digest}  {file.relative_to(root).as_posix()}\n" for file, digest in hashes.items()]
    return _split(root.resolve().name, hashlib.sha256("".join(lines).encode()).hexdigest(), labels, rows)


def _table(path: Path, target: str | None) -> Data:
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            lines = [line for line in csv.reader(handle) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadData(f"{path} cannot be read as a table: {error}") from error
    header = lines[0] if lines else []
    if target is None or target not in header:
        asked = "--target says which column holds the label" if target is None else f"there is no column {target!r}"
        raise BadRequest(f"{path}: {asked}; the columns are {', '.join(header) or 'none'}")
    if len(set(header)) != len(header):
        raise BadData(f"{path} names a column twice")
    at = header.index(target)
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(header):
            raise BadData(f"{path}, line {number} has {len(line)} cells for {len(header)} columns")
        numbers = [_number(path, number, name, cell) for name, cell in zip(header, line, strict=True) if name != target]
        rows.append((tuple(numbers), line[at], hashlib.sha256(json.dumps(line).encode()).hexdigest()))
    labels = tuple(sorted({label for _, label, _ in rows}))
    if len(labels) < 2:
        raise BadData(f"{path} has {len(labels)} labels in {target!r}; at least 2 are needed")
    columns = tuple(name for name in header if name != target)
    return _split(path.stem, sha256_of(path), labels, rows, columns)


def _number(path: Path, line: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadData(f"{path}, line {line}, column {column!r} holds {cell!r}, which is no number")
    return value


def _split(
    name: str, sha256: str, labels: tuple[str, ...], rows: Iterable[tuple[Any, str, str]], columns: tuple[str, ...] = ()
) -> Data:
    sides: tuple[list[tuple[Any, str]], list[tuple[Any, str]]] = ([], [])
    for given, label, digest in rows:
        drawn = int(hashlib.sha256(f"{SEED} {digest}".encode()).hexdigest(), 16)
        sides[drawn % TEST_SHARE == 0].append((given, label))
    return Data(name, sha256, labels, tuple(sides[0]), tuple(sides[1]), columns)
