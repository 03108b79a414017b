"""Lines of records in files: appending to them, and reading them whole.

A line is one `write` under a lock and then flushed to disk, after a newline where the file does not end in one, so
that a torn line never swallows the next. `compact` puts a file aside while others append to it: whoever holds the
lock of a file that no longer bears its name opens it anew.

A folder holds `NAME.jsonl` (fresh) and, of what was compacted, `NAME.STAMP.parquet` with the lines that were no
records in `NAME.STAMP.rest.jsonl`. A `NAME.STAMP.sealed.jsonl` is what a compaction works on; it counts until its
Parquet file is there, and its Parquet file from then on.
"""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.results.schema import MAX_RECORD_BYTES, line, parse
from edge_runtime.errors import BadRequest

SEALED, REST, COMPACTED = ".sealed.jsonl", ".rest.jsonl", ".parquet"


@dataclass(frozen=True)
class Found:
    """What a folder of records holds: whole records, oldest first, and how many lines were dropped."""

    records: tuple[dict[str, Any], ...]
    dropped: int


def where() -> str:
    """Where records are read: `$LOKMA_RESULTS` (a folder, or a URL that DuckDB reads), else `results`."""
    return os.environ.get("LOKMA_RESULTS") or "results"


def is_url(place: str | Path) -> bool:
    """Whether a place is a URL.

    >>> is_url("s3://bucket/prefix"), is_url("results")
    (True, False)
    """
    return "://" in str(place)


def folder() -> Path:
    """Where records are written: `where()`.

    Raises:
        BadRequest: it is a URL.
    """
    if is_url(where()):
        raise BadRequest(
            f"records are appended to a folder, and LOKMA_RESULTS is {where()}; "
            "measure into a folder and copy its files there"
        )
    return Path(where())


def spill() -> str:
    """Where DuckDB puts what does not fit into its memory; it would take `.tmp` in the folder that one stands in."""
    return str(Path(tempfile.gettempdir()) / f"lokma-duckdb-{os.getpid()}")


def append(wholes: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Adds the records of one run to a file and flushes it; safe beside processes that do the same, or compact it.

    Once it returns, the records stay. Where the disk is full none of them is left behind.

    Raises:
        BadRequest: the file cannot be written.
        ValueError: a record is too long (our own bug).
    """
    lines = b"".join(map(line, wholes))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = locked(path)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            _write(descriptor, b"\n" + lines if torn else lines, size)
            os.fsync(descriptor)
            if size == 0:
                flush_folder(path.parent)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise BadRequest(f"the records cannot be written to {path}: {error.strerror}") from error


def read(place: Path | None = None) -> Found:
    """All whole records of a folder, or of one file, oldest first; of two with one id the later line counts.

    Args:
        place: a folder, or a file in it; None takes `folder()`. A folder that is not there is empty.

    Raises:
        Missing: a file is compacted, and DuckDB is not installed.
    """
    place = folder() if place is None else place
    while True:
        records: dict[str, dict[str, Any]] = {}
        dropped = 0
        try:
            for path in [place] if place.is_file() else files(place):
                for data in _lines_of(path):
                    whole = parse(data)
                    if whole is None:
                        dropped += 1
                    else:
                        records[whole["id"]] = whole
        except FileNotFoundError:  # compacted meanwhile
            continue
        return Found(tuple(sorted(records.values(), key=lambda entry: entry["time"])), dropped)


def files(place: Path) -> list[Path]:
    """The files of a folder that count, those of one compaction in its own order: Parquet, rest, fresh."""
    while True:
        names = _names(place)
        if names == _names(place):  # a file that is renamed while a folder is listed may be missed
            return [place / name for name in counting(names)]


def counting(names: Iterable[str]) -> list[str]:
    """Which of a folder's files count, the compacted first.

    >>> counting(["a.1.sealed.jsonl", "a.1.parquet", "a.1.rest.jsonl", "a.2.sealed.jsonl", "a.jsonl", "a.txt"])
    ['a.1.parquet', 'a.1.rest.jsonl', 'a.2.sealed.jsonl', 'a.jsonl']
    """
    names = set(names)
    done = {name.removesuffix(COMPACTED) for name in names if name.endswith(COMPACTED)}

    def counts(name: str) -> bool:
        if name.endswith(SEALED):
            return name.removesuffix(SEALED) not in done
        if name.endswith(REST):
            return name.removesuffix(REST) in done
        return name.endswith((".jsonl", COMPACTED))

    return sorted(filter(counts, names), key=lambda name: (not name.endswith(COMPACTED), name))


def lines_in(path: Path) -> Iterator[bytes]:
    """The lines of a file that are not blank, without their ends; of one beyond the limit, its first part."""
    with path.open("rb") as handle:
        while data := handle.readline(MAX_RECORD_BYTES + 2):
            if not data.endswith(b"\n"):
                while (more := handle.readline(1 << 20)) and not more.endswith(b"\n"):
                    pass
            if data.strip():
                yield data.rstrip(b"\r\n")


def line_of(path: Path, record_id: str) -> bytes | None:
    """The last line of a file of records whose id is this; found by its text, so that no other line is parsed."""
    wanted = json.dumps(record_id, ensure_ascii=False).encode()
    try:
        with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
            end = len(data)
            while (at := data.rfind(wanted, 0, end)) >= 0:
                end = data.rfind(b"\n", 0, at) + 1
                stop = data.find(b"\n", at)
                line = data[end : stop if stop >= 0 else len(data)]
                if _id_of(line) == record_id:
                    return line
    except (FileNotFoundError, ValueError):  # compacted meanwhile; an empty file cannot be mapped
        pass
    return None


def locked(path: Path) -> int:
    """A descriptor of the file that bears this name, under its lock: of one that was put aside meanwhile, the new."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def flush_folder(path: Path) -> None:
    """Makes new names in a folder last a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _id_of(line: bytes) -> Any:
    try:
        whole = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return whole.get("id") if isinstance(whole, dict) else None


def _names(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()} if place.is_dir() else set()


def _lines_of(path: Path) -> Iterator[bytes]:
    if path.suffix != COMPACTED:
        yield from lines_in(path)
        return
    from benchmarks.results.compact import lines_of

    yield from lines_of(path)


def _write(descriptor: int, data: bytes, size_before: int) -> None:
    if os.write(descriptor, data) != len(data):  # a full disk cuts a write short
        os.ftruncate(descriptor, size_before)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
