"""The verbs that a device has: each parses, calls one function and prints. `edge_runtime/cli.py` lists them."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from edge_runtime.errors import one_line

PAUSE_S = 5.0  # between lines of progress where they cannot be written over one another


def show(report: Mapping[str, Any], as_json: bool) -> None:
    """Prints `{ok, checks}`: as one JSON object, or a finding a line."""
    if as_json:
        print(json.dumps(report))
        return
    width = max((len(entry["name"]) for entry in report["checks"]), default=0)
    for entry in report["checks"]:
        mark = {True: "ok", False: "FAILED", None: "-"}[entry["ok"]]
        print(f"{mark:<7} {one_line(entry['name']):<{width}}  {one_line(entry['detail'])}")


@contextlib.contextmanager
def progress(logger: str) -> Iterator[None]:
    """Shows what a module logs while it works: on a terminal in one line, elsewhere a line every few seconds."""
    handler, log = _Progress(sys.stderr), logging.getLogger(logger)
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")


class _Progress(logging.StreamHandler):
    said = -PAUSE_S

    def emit(self, record: logging.LogRecord) -> None:
        terminal = self.stream.isatty()
        if terminal or time.monotonic() - self.said >= PAUSE_S:
            self.said = time.monotonic()
            self.stream.write(f"\r\x1b[K{one_line(record.getMessage())}" if terminal else f"{record.getMessage()}\n")
            self.stream.flush()
