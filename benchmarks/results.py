"""The records: `results/*.jsonl`, append-only, one line a measurement. Only this module writes and reads them.

A line is one `write` under a lock and then flushed to disk, after a newline where the file does not end
in one, so that a torn line never swallows the next. The reader drops lines that are not whole records
of a schema it knows, and counts them.

>>> found = read(Path("results"))                                                       # doctest: +SKIP
>>> len(found.records), found.dropped                                                   # doctest: +SKIP
(9, 0)
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_runtime.errors import BadInput, BadRequest
from edge_runtime.measure import quantile

SCHEMA_VERSION = 1
REQUIRED = {
    "id": str,
    "time": str,
    "kind": str,
    "bundle": dict,
    "artifact": dict,
    "target": str,
    "host": dict,
    "scenario": dict,
    "latency_ns": list,
    "validity": dict,
}


@dataclass(frozen=True)
class Found:
    """What a folder of records holds: whole records, oldest first, and how many lines were dropped."""

    records: tuple[dict[str, Any], ...]
    dropped: int


def folder() -> Path:
    """Where records lie: `$LOKMA_RESULTS`, else `results`."""
    return Path(os.environ.get("LOKMA_RESULTS") or "results")


def record(**fields: Any) -> dict[str, Any]:
    """A record with id, time and schema, and the statistics derived from its raw latencies.

    Raises:
        ValueError: a required field is missing or of the wrong kind (our own bug).
    """
    whole = {
        "schema_version": SCHEMA_VERSION,
        "id": uuid.uuid4().hex,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **fields,
        **_derived(fields["latency_ns"]),
    }
    problem = _problem(whole)
    if problem:
        raise ValueError(problem)
    return whole


def checked(whole: Mapping[str, Any]) -> None:
    """Refuses what came from elsewhere and is not a whole record.

    Raises:
        BadInput: a field is missing or of the wrong kind, or a derived figure does not follow from the raw ones.
    """
    problem = _problem(whole)
    if problem:
        raise BadInput(problem)


def append(wholes: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Adds the records of one run to a file, all or none, and flushes it; safe beside processes that do the same.

    Raises:
        BadRequest: the file cannot be written.
    """
    lines = b"".join(json.dumps(w, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for w in wholes)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            _write(descriptor, b"\n" + lines if torn else lines, size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise BadRequest(f"the records cannot be written to {path}: {error.strerror}") from error


def read(where: Path | None = None) -> Found:
    """All whole records under a folder, or of one file, oldest first.

    Args:
        where: a folder of `.jsonl` files, or one; None takes `folder()`. A folder that is not there is empty.
    """
    where = folder() if where is None else where
    files = [where] if where.is_file() else sorted(where.glob("*.jsonl"))
    records: dict[str, dict[str, Any]] = {}
    dropped = 0
    for path in files:
        for line in path.read_bytes().splitlines():
            if not line.strip():
                continue
            whole = _parse(line)
            if whole is None:
                dropped += 1
            else:
                records[whole["id"]] = whole
    return Found(tuple(sorted(records.values(), key=lambda entry: entry["time"])), dropped)


def _write(descriptor: int, data: bytes, size_before: int) -> None:
    if os.write(descriptor, data) != len(data):  # a full disk cuts a write short
        os.ftruncate(descriptor, size_before)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        whole = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return whole if isinstance(whole, dict) and not _problem(whole) else None


def _problem(whole: Mapping[str, Any]) -> str | None:
    """Why this is not a whole record; None where it is. Derived figures must follow from the raw ones."""
    if whole.get("schema_version") != SCHEMA_VERSION:
        return f"schema_version is {whole.get('schema_version')!r}; this lokma reads {SCHEMA_VERSION}"
    for key, kind in REQUIRED.items():
        if not isinstance(whole.get(key), kind):
            return f"{key} is not a {kind.__name__}"
    latencies = whole["latency_ns"]
    measured = latencies or whole.get("failure")  # what could not be measured is a record too
    if whole["kind"] == "bench" and not (measured and whole["bundle"].get("name") and whole["scenario"].get("run")):
        return "a bench record needs latencies, a bundle's name and a scenario's run"
    if not all(type(value) is int and value > 0 for value in latencies):
        return "latency_ns must be whole nanoseconds above 0"
    stored = {key: whole.get(key) for key in ("n", "p50_ns", "p90_ns")}
    if stored != _derived(latencies):
        return f"the record says {stored}; its raw latencies give {_derived(latencies)}"
    return None


def _derived(latencies: list[int]) -> dict[str, int | float | None]:
    p50, p90 = (quantile(latencies, q) if latencies else None for q in (0.5, 0.9))
    return {"n": len(latencies), "p50_ns": p50, "p90_ns": p90}
