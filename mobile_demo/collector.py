"""What phones say: their measurements and their answers to *was it right?*, checked and added to the results.

On a LAN anyone can post, so a record comes with the token of the QR code, is at most 256 kB, whole, of the target
`phone`, and has an id of its own kind: it can never replace a record that was measured elsewhere. The same record
sent twice is kept once. `accept` and `keep` also serve the file that a page without a collector saves.

>>> accept(b"not a record")
Traceback (most recent call last):
edge_runtime.errors.BadInput: line 1 is not a record: it is not JSON
"""

from __future__ import annotations

import hmac
import json
import math
import re
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import results
from edge_runtime.errors import BadInput, BadRequest, LokmaError
from edge_runtime.spec import is_text

MAX_BYTES = 256 << 10
MAX_KEPT_BYTES = 64 << 20  # of all phones together
MAX_LATENCIES, MAX_LATENCY_NS = 5_000, 600 * 10**9
MAX_DEPTH, MAX_STRING = 8, 500
KINDS = ("bench", "field")
_ID, _FINGERPRINT = re.compile(r"phone-[0-9a-f]{32}"), re.compile(r"[0-9a-f]{12}")
_ONE_AT_A_TIME = threading.Lock()


class Conflict(BadRequest):
    """Another record has this id."""


def accept(data: bytes) -> list[dict[str, Any]]:
    """The records that a phone posted or saved, one a line; nothing is stored.

    Raises:
        BadInput: it is too large, empty, or one of them is no whole record of a phone; the message says which.
    """
    if len(data) > MAX_BYTES:
        raise BadInput(f"{len(data)} bytes are more than the {MAX_BYTES} that are read")
    lines = [line for line in data.splitlines() if line.strip()]
    if not lines:
        raise BadInput("there is no record in it")
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(_record(line))
        except BadInput as error:
            raise BadInput(f"line {number} is not a record: {error}") from error
    return found


def keep(records: Sequence[Mapping[str, Any]], folder: Path) -> int:
    """Adds the records that are not there yet to `phone-FINGERPRINT.jsonl`; returns how many were new.

    Raises:
        Conflict: an id is there with another content; none of the phone's records is kept then.
        BadRequest: phones have filled their room, or the file cannot be written.
    """
    by_phone: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        by_phone.setdefault(record["host"]["fingerprint"], []).append(record)
    added = 0
    with _ONE_AT_A_TIME:
        held = sum(path.stat().st_size for path in folder.glob("phone-*.jsonl"))
        if held + len(json.dumps(list(records))) > MAX_KEPT_BYTES:
            raise BadRequest(f"phones have sent {held} bytes; no more than {MAX_KEPT_BYTES} are kept")
        for fingerprint, own in by_phone.items():
            path = folder / f"phone-{fingerprint}.jsonl"
            known = {entry["id"]: entry for entry in results.read(path).records} if path.is_file() else {}
            new: dict[str, Mapping[str, Any]] = {}
            for record in own:
                if known.get(record["id"], new.get(record["id"], record)) != record:
                    raise Conflict(f"another record has the id {record['id']}")
                if record["id"] not in known:
                    new[record["id"]] = record
            if new:
                results.append(list(new.values()), path)
            added += len(new)
    return added


def answer(data: bytes, authorization: str, token: str, folder: Path) -> tuple[int, dict[str, Any]]:
    """The HTTP status and body for one post.

    Args:
        data: the body.
        authorization: the header of that name: `Bearer TOKEN`.
        token: the right one.
        folder: of the results.
    """
    if not hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode()):
        return 401, {"error": "the token is not that of the QR code; scan it again"}
    try:
        records = accept(data)
        added = keep(records, folder)
    except Conflict as error:
        return 409, {"error": str(error)}
    except BadInput as error:
        return (413 if len(data) > MAX_BYTES else 400), {"error": str(error)}
    except LokmaError as error:
        return 507, {"error": str(error)}
    return (201 if added else 200), {"kept": added, "ids": [record["id"] for record in records]}


def _record(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadInput("it is not JSON") from error
    if not isinstance(record, dict):
        raise BadInput("it is not a JSON object")
    _plain(record, MAX_DEPTH)
    results.checked(record)
    if record["target"] != "phone" or record["kind"] not in KINDS:
        raise BadInput(f"it must be of the target phone and one of the kinds {', '.join(KINDS)}")
    if not _ID.fullmatch(record["id"]):
        raise BadInput("its id must be phone- and 32 hexadecimal digits")
    _identified(record)
    if record["kind"] == "field":
        _field(record.get("answer"))
    return record


def _identified(record: Mapping[str, Any]) -> None:
    """What every reader of the records relies on."""
    host, bundle, artifact = record["host"], record["bundle"], record["artifact"]
    if not _FINGERPRINT.fullmatch(str(host.get("fingerprint"))):
        raise BadInput("host.fingerprint must be 12 hexadecimal digits")
    if not all(is_text(value) for value in (host.get("cpu"), bundle.get("name"), artifact.get("id"))):
        raise BadInput("host.cpu, bundle.name and artifact.id must be printable text")
    if type(bundle.get("version")) is not int or not isinstance(record["validity"].get("valid"), bool):
        raise BadInput("bundle.version must be a whole number, validity.valid true or false")
    if len(record["latency_ns"]) > MAX_LATENCIES or max(record["latency_ns"], default=0) > MAX_LATENCY_NS:
        raise BadInput(f"at most {MAX_LATENCIES} latencies of at most {MAX_LATENCY_NS} ns are kept")
    try:
        aware = datetime.fromisoformat(record["time"]).tzinfo is not None
    except ValueError as error:
        raise BadInput("time must be a date and time in ISO 8601") from error
    if not aware:
        raise BadInput("time must say its time zone")


def _field(answer: Any) -> None:
    """The answer to *was it right?*: what was said, what it was, and how sure the model had been."""
    if not isinstance(answer, dict) or not is_text(answer.get("predicted")):
        raise BadInput("answer.predicted must be printable text")
    actual, right, share = answer.get("actual"), answer.get("right"), answer.get("probability")
    if not (actual is None or is_text(actual)) or not isinstance(right, bool):
        raise BadInput("answer.actual must be text or null, answer.right true or false")
    if right != (actual == answer["predicted"]):
        raise BadInput("answer.right must follow from predicted and actual")
    if share is not None and not (type(share) in (int, float) and 0 <= share <= 1):
        raise BadInput("answer.probability must be a share of 1, or null")


def _plain(value: Any, levels: int) -> None:
    """Refuses depth, long or unprintable text, and numbers that are not finite."""
    if levels < 0:
        raise BadInput(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str) and (len(value) > MAX_STRING or not value.isprintable()):
        raise BadInput(f"a text in it is unprintable or longer than {MAX_STRING} characters")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadInput("a number in it is not finite")
    if isinstance(value, int) and abs(value) > 2**63:
        raise BadInput("a number in it is too large")
    for key, item in value.items() if isinstance(value, dict) else ():
        _plain(key, levels)
        _plain(item, levels - 1)
    for item in value if isinstance(value, list) else ():
        _plain(item, levels - 1)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
