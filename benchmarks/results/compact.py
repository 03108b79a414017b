"""Compaction: fresh lines become Parquet (zstd), the scalars in columns and each whole line in one of its own.

A `kill -9` at any moment loses and doubles nothing: a file is first put aside under its lock, its Parquet file is
written beside it, flushed, and appears by one rename; from then on readers take it and no longer the lines. What a
killed compaction left is finished by the next.

>>> compact(Path("results"))                                                             # doctest: +SKIP
Compacted(files=1, records=19, rest=0)
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.results import journal
from benchmarks.results.columns import NAMES, select
from benchmarks.results.journal import COMPACTED, REST, SEALED
from benchmarks.results.schema import MAX_RECORD_BYTES, parse
from edge_runtime.errors import BadRequest, Missing

# A group is what DuckDB holds in memory at once; lines of 10 kB in groups of its own 122,880 would be 1.2 GB.
GROUP = "ROW_GROUP_SIZE 8192, ROW_GROUP_SIZE_BYTES '48MB'"
SETTINGS: dict[str, Any] = {
    "memory_limit": "900MB",
    "threads": 1,
    "preserve_insertion_order": False,
}  # groups by size need the last


@dataclass(frozen=True)
class Compacted:
    """What was done: files of lines, whole records in them, and lines that were no records (they are kept)."""

    files: int
    records: int
    rest: int


def compact(place: Path) -> Compacted:
    """Turns a folder's fresh lines into Parquet; others may append and read meanwhile.

    Raises:
        BadRequest: there is no such folder, it cannot be written, or another compaction works on it.
        Missing: DuckDB is not installed.
    """
    if not place.is_dir():
        raise BadRequest(f"{place} is no folder of records, so there is nothing to compact")
    try:
        with (place / ".compacting").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BadRequest(f"another compaction works on {place}") from error
            done = [_compacted(sealed) for sealed in _sealed(place)]
    except OSError as error:
        raise BadRequest(f"{place} cannot be compacted: {error.strerror}") from error
    return Compacted(sum(records > 0 for records, _ in done), sum(r for r, _ in done), sum(r for _, r in done))


def lines_of(path: Path) -> Iterator[bytes]:
    """The whole lines of a compacted file, byte by byte as they were appended.

    Raises:
        Missing: DuckDB is not installed.
    """
    try:
        import duckdb
    except ModuleNotFoundError as error:
        raise Missing(f"to read {path}, pip install -e '.[bench]' in lokma's clone: duckdb is missing") from error
    asked = duckdb.connect().execute("SELECT whole FROM read_parquet(?)", [str(path)])
    while rows := asked.fetchmany(1000):
        yield from (row[0].encode() for row in rows)


def _sealed(place: Path) -> Iterator[Path]:
    """Files to be compacted: what a killed compaction left, then the fresh ones, put aside one by one."""
    for left in place.glob(".compacting-*"):  # of one that was killed
        shutil.rmtree(left)
    yield from sorted(place.glob(f"*{SEALED}"))
    for path in sorted(place.glob("*.jsonl")):
        if path.name.endswith((SEALED, REST)) or not path.stat().st_size:
            continue
        sealed = path.with_name(f"{path.stem}.{uuid.uuid4().hex[:12]}{SEALED}")
        descriptor = journal.locked(path)
        try:
            path.rename(sealed)  # who waits for the lock sees that the name is another file's, and opens that
            journal.flush_folder(place)
        finally:
            os.close(descriptor)
        yield sealed


def _compacted(sealed: Path) -> tuple[int, int]:
    """Compacts one file that was put aside; returns how many records and other lines it had."""
    stem = sealed.name.removesuffix(SEALED)
    final, rest = (sealed.with_name(stem + end) for end in (COMPACTED, REST))
    if final.exists():  # killed before the lines were removed
        sealed.unlink()
        return 0, 0
    with tempfile.TemporaryDirectory(prefix=".compacting-", dir=sealed.parent) as scratch:
        good, bad = Path(scratch) / "good.jsonl", Path(scratch) / "rest.jsonl"
        records, others = _sort(sealed, good, bad)
        if others:
            _publish(bad, rest)  # counts from the moment that the Parquet file is there
        _parquet(good, Path(scratch) / "records.parquet")
        _publish(Path(scratch) / "records.parquet", final)
    sealed.unlink()
    return records, others


def _sort(sealed: Path, good: Path, bad: Path) -> tuple[int, int]:
    """Splits a file into whole records (of one id the last) and other lines; returns how many of each."""
    last: dict[str, int] = {}
    others: set[int] = set()
    for number, data in enumerate(journal.lines_in(sealed)):
        whole = parse(data)
        if whole is None:
            others.add(number)
        else:
            last[whole["id"]] = number
    keep = set(last.values())
    with good.open("wb") as records, bad.open("wb") as rest:
        for number, data in enumerate(journal.lines_in(sealed)):
            if number in keep:
                records.write(data + b"\n")
            elif number in others:
                rest.write(data + b"\n")
    return len(keep), len(others)


def _parquet(lines: Path, path: Path) -> None:
    import duckdb

    source = (
        f"(SELECT json, json::VARCHAR AS whole FROM read_ndjson_objects({[str(lines)]}, "
        f"maximum_object_size = {MAX_RECORD_BYTES}))"
    )
    query = (
        f"COPY (SELECT {', '.join(NAMES)}, whole FROM ({select(source, 'whole')})) TO '{path}' "
        f"(FORMAT parquet, COMPRESSION zstd, {GROUP})"
    )
    try:
        with duckdb.connect(config={**SETTINGS, "temp_directory": journal.spill()}) as database:
            database.execute(query)
    except duckdb.Error as error:
        raise BadRequest(f"{lines.parent.parent} cannot be compacted: {error}") from error


def _publish(path: Path, final: Path) -> None:
    """Flushes a file, gives it its name in one step, and flushes that."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
    path.rename(final)
    journal.flush_folder(final.parent)
