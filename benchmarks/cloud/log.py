"""Structured logs: one JSON object a line on stderr, for each answered request and for what goes wrong.

>>> stamp(1_800_000_000.25)
'2027-01-15T08:00:00.250Z'
"""

from __future__ import annotations

import functools
import json
import logging
import sys
import time

_LOGS = ("benchmarks.cloud", "uvicorn.error", "edge_runtime")


def answered(request_id: str, method: str, path: str, status: int, ms: float) -> None:
    """Writes the line of one request. It does not go through `logging`, which costs as much as all else that is said.

    Args:
        request_id: the client's or ours; the answer carries it too.
        method: of the request.
        path: of the request, in one line.
        status: of the answer.
        ms: from its head to its answer.
    """
    said = (
        f'"said": "answered", "request_id": "{request_id}", "method": {json.dumps(method)}, "path": {json.dumps(path)}'
    )
    sys.stderr.write(f'{{"time": "{stamp(time.time())}", "level": "INFO", {said}, "status": {status}, "ms": {ms}}}\n')


def to_stderr() -> None:
    """Sends this server's warnings and errors, and uvicorn's, the same way."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines())
    for name in _LOGS:
        log = logging.getLogger(name)
        log.addHandler(handler)
        log.setLevel(logging.WARNING)
        log.propagate = False


def stamp(seconds: float) -> str:
    """A time in UTC, to the millisecond."""
    return f"{_second(int(seconds))}.{int(seconds % 1 * 1000):03d}Z"


@functools.lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": stamp(record.created), "level": record.levelname, "said": record.getMessage()}
        if "request_id" in vars(record):
            line["request_id"] = vars(record)["request_id"]
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)
