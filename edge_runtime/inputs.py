"""What `lokma run` is given, as raw inputs one by one: files, folders, numbers, tables, and what comes on stdin.

Every input is a pair of its name and what `Predictor.predict` takes, or the error that stands in its place:
a row that cannot be read is answered by its error, and the next one goes on.

>>> list(raw_inputs(["1,2.5"], picture=False))
[('1,2.5', [1.0, 2.5])]
"""

from __future__ import annotations

import math
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edge_runtime.errors import BadInput

STDIN = "-"
PICTURES = (".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
_CHUNK = 1 << 16
_SEPARATORS = {";": "semicolons", "\t": "tabs"}

Given = tuple[str, Any]


def raw_inputs(
    arguments: Sequence[str], picture: bool, columns: tuple[str, ...] = (), width: int | None = None
) -> Iterator[Given]:
    """Names and raw inputs, in the order of the arguments.

    Args:
        arguments: paths, folders of pictures, numbers joined by commas, `.csv` files, or `-`: on stdin come
            a picture or a camera's MJPEG stream, or a table.
        picture: whether the model takes pictures; False for rows of numbers.
        columns: the spec's column names; a table's first line must name exactly these, in any order.
        width: how many numbers the model takes; None where any number may be a table's.
    """
    for given in arguments:
        if given == STDIN and sys.stdin is None:  # as after `<&-`; its number may be another file's by now
            yield "stdin", BadInput("stdin is closed, so nothing can be read from it; pipe something into lokma")
        elif picture:
            yield from camera() if given == STDIN else _pictures(given)
        elif given == STDIN or given.lower().endswith(".csv"):
            yield from _table_file(given, columns, width)
        else:
            yield given, _numbers(given)


def camera() -> Iterator[Given]:
    """The picture or the frames on stdin: every one of a file, of a pipe the newest whenever there is time.

    Frames that were dropped for it are counted on stderr through the log, as a warning.
    """
    from edge_runtime.frames import Newest, frames

    came = frames(lambda: os.read(0, _CHUNK))  # not sys.stdin, whose lock the reading thread would hold at exit
    if stat.S_ISREG(os.fstat(0).st_mode):
        yield from came
        return
    newest = Newest(came)
    try:
        yield from newest
    finally:
        if newest.dropped:
            import logging

            logging.getLogger(__name__).warning(
                "%d frames were dropped: the camera is faster than the model", newest.dropped
            )


def _pictures(given: str) -> Iterator[Given]:
    path = Path(given)
    if not path.is_dir():
        yield given, given
        return
    found = sorted(one for one in path.iterdir() if one.suffix.lower() in PICTURES and one.name[0] != ".")
    yield from ((str(one), one) for one in found)
    if not found:
        yield given, BadInput(f"{given} is a folder without pictures ({', '.join(PICTURES)})")


def _numbers(text: str) -> list[float] | str:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return text  # the predictor says what it takes instead


def _table_file(given: str, columns: tuple[str, ...], width: int | None) -> Iterator[Given]:
    try:
        source, name = (0, "stdin") if given == STDIN else (Path(given), given)
        with open(source, encoding="utf-8-sig", newline="", closefd=source != 0) as handle:
            yield from table(handle, name, columns, width)
    except OSError as error:
        yield given, BadInput(f"{given} cannot be read: {error.strerror or error}")


def table(lines: Iterable[str], name: str, columns: tuple[str, ...], width: int | None = None) -> Iterator[Given]:
    """The rows of a CSV, each named by its line (`measured.csv:3`), as lists in the spec's order.

    The first line names the columns. Where the spec has none, a first line of `width` cells without any
    number is skipped. What is no such table, or has no row, is answered by its error: nothing vanishes.
    """
    import csv

    rows = csv.reader(lines, strict=True)
    header: list[str] | None = None
    count = 0
    try:
        for cells in rows:
            if not cells:
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                named = bool(columns) or not any(map(_is_number, header))
                wrong = _wrong_header(header, columns, width) if named else _other_separator(header)
                if wrong:
                    yield name, BadInput(f"{name}: {wrong}")
                    return
                if named:
                    continue
                header = []
            count += 1
            yield f"{name}:{rows.line_num}", _row(f"{name}:{rows.line_num}", cells, header, columns)
        if not count:
            yield name, BadInput(f"{name} is empty" if header is None else f"{name} has a first line and no row")
    except (csv.Error, UnicodeDecodeError) as error:
        yield name, BadInput(f"{name} is not a CSV in UTF-8 after line {rows.line_num}: {error}")


def _other_separator(cells: list[str]) -> str | None:
    for separator, name in _SEPARATORS.items():
        if any(separator in cell for cell in cells):
            return f"its cells are separated by {name}; save it with commas between them and points in the numbers"
    return None


def _wrong_header(header: list[str], columns: tuple[str, ...], width: int | None) -> str | None:
    if columns and sorted(header) == sorted(columns):
        return None
    if other := _other_separator(header):
        return other
    if not columns:
        if width in (None, len(header)):
            return None
        count = f"{len(header)} cell{'s' * (len(header) != 1)} without a number"
        return f"the first line has {count}; the model takes {width}, separated by commas"
    lacks = ", ".join(repr(column) for column in columns if column not in header)
    extra = ", ".join(repr(column) for column in header if column not in columns)
    problems = [f"it lacks {lacks}" if lacks else "", f"has {extra} besides" if extra else ""]
    said = " and ".join(filter(None, problems)) or "it names one twice"
    return f"the first line must name the columns {', '.join(columns)}; {said}"


def _row(place: str, cells: list[str], header: list[str], columns: tuple[str, ...]) -> list[float] | BadInput:
    if header and len(cells) != len(header):
        return BadInput(f"{place} has {len(cells)} cells; the first line names {len(header)} columns")
    values: list[float] = []
    for index, cell in enumerate(cells):
        if not _is_number(cell) or not math.isfinite(float(cell)):
            column = repr(header[index]) if header else index + 1
            return BadInput(f"{place}, column {column}: {cell[:50]!r} is not a finite number")
        values.append(float(cell))
    return [values[header.index(column)] for column in columns] if columns else values


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
