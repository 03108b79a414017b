"""What a record is, schema 1: the fields that all have, what follows from the raw latencies, and what is refused.

A line that is no whole record (torn, foreign, of another schema, with figures that its raw latencies do not give)
is dropped and counted by whoever reads it, never fatal. Fields that this table does not know are kept.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from edge_runtime.errors import BadInput
from edge_runtime.measure import quantile

SCHEMA_VERSION = 1
MAX_RECORD_BYTES = 64 << 20
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
GIVEN: dict[str, dict[str, type]] = {  # what these must say, where they are there
    "failure": {"what": str, "detail": str},
    "answer": {"predicted": str, "right": bool},
}
DERIVED = ("n", "p50_ns", "p90_ns")


def record(**fields: Any) -> dict[str, Any]:
    """A record with id, time and schema, and the statistics derived from its raw latencies.

    What could not be measured is a record too: `latency_ns=[]`, `validity={"valid": False, …}` and
    `failure={"what": "the server answered 503", "detail": "…"}`.

    Raises:
        ValueError: a required field is missing or of the wrong kind (our own bug).
    """
    whole = {
        "schema_version": SCHEMA_VERSION,
        "id": uuid.uuid4().hex,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **fields,
        **derived(fields["latency_ns"]),
    }
    problem = problem_of(whole)
    if problem:
        raise ValueError(problem)
    return whole


def checked(whole: Mapping[str, Any]) -> None:
    """Refuses what came from elsewhere and is not a whole record.

    Raises:
        BadInput: a field is missing or of the wrong kind, or a derived figure does not follow from the raw ones.
    """
    problem = problem_of(whole)
    if problem:
        raise BadInput(problem)


def line(whole: Mapping[str, Any]) -> bytes:
    """A record as one line, with its newline.

    Raises:
        ValueError: it has a number that is not finite, or more than `MAX_RECORD_BYTES`.
    """
    data = json.dumps(whole, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    if len(data) > MAX_RECORD_BYTES:
        raise ValueError(f"a record of {len(data)} bytes is more than {MAX_RECORD_BYTES}")
    return data


def parse(data: bytes) -> dict[str, Any] | None:
    """The record in a line; None where it holds none."""
    try:
        whole = json.loads(data.decode()) if len(data) <= MAX_RECORD_BYTES else None
    except (ValueError, RecursionError):
        return None
    return whole if isinstance(whole, dict) and not problem_of(whole) else None


def derived(latencies: list[int]) -> dict[str, int | float | None]:
    """n, p50 and p90 of raw latencies: order statistics, values that were measured."""
    ordered = sorted(latencies)
    p50, p90 = (quantile(ordered, q) if ordered else None for q in (0.5, 0.9))
    return {"n": len(latencies), "p50_ns": p50, "p90_ns": p90}


def problem_of(whole: Mapping[str, Any]) -> str | None:
    """Why this is not a whole record; None where it is. Derived figures must follow from the raw ones."""
    if whole.get("schema_version") != SCHEMA_VERSION:
        return f"schema_version is {whole.get('schema_version')!r}; this lokma reads {SCHEMA_VERSION}"
    for key, required in REQUIRED.items():
        if not isinstance(whole.get(key), required):
            return f"{key} is not a {required.__name__}"
    for key, fields in GIVEN.items():
        for field, kind in fields.items() if whole.get(key) is not None else ():
            if not isinstance(whole[key], dict) or not isinstance(whole[key].get(field), kind):
                return f"{key} has no {field} that is a {kind.__name__}"
    latencies, failed = whole["latency_ns"], whole.get("failure") is not None
    if failed and whole["validity"].get("valid") is not False:
        return "a record with a failure is not valid; validity.valid must be false"
    if whole["kind"] == "bench" and not (whole["bundle"].get("name") and whole["scenario"].get("run")):
        return "a bench record needs a bundle's name and a scenario's run"
    if whole["kind"] == "bench" and not (latencies or failed):
        return "a bench record needs latencies, or a failure that says why there are none"
    if whole["kind"] == "field" and not (whole["bundle"].get("name") and whole.get("answer")):
        return "a field record needs a bundle's name and an answer"
    if any(type(value) is not int for value in latencies) or (latencies and min(latencies) <= 0):
        return "latency_ns must be whole nanoseconds above 0"
    stored = {key: whole.get(key) for key in DERIVED}
    found = derived(latencies)
    return None if stored == found else f"the record says {stored}; its raw latencies give {found}"
