"""Connections that give up on slow clients: uvicorn's protocol, with a limit on how long a request may come in.

uvicorn itself waits for ever for the rest of a request, so that a few thousand clients that each send a byte a
minute would hold every connection (slow-loris).
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from benchmarks.cloud.limits import Limits
from benchmarks.cloud.refusals import error_body

MAX_HEAD_BYTES = 64 << 10
_OWN_FILES = 128  # what the process itself keeps open


class Connection(HttpToolsProtocol):
    """One client's connection.

    Args:
        limits: the server's.
        arguments: what uvicorn passes.
    """

    def __init__(self, limits: Limits, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._limits = limits
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes: int | None = 0  # of the request that comes in; None once its head is complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuses it where there are too many; else its first request must come in time."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            self._refuse(503, "this server has too many connections; try again later", b"retry-after: 1\r\n")
            return
        self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the timer."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads some bytes of a request."""
        if self.transport.is_closing():
            return
        self._start()
        if self._head_bytes is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes is not None and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, f"the head of a request may have at most {MAX_HEAD_BYTES:,} bytes")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._start()

    def on_headers_complete(self) -> None:
        """Its head is complete: what comes now is counted as its body."""
        self._head_bytes = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """It is complete: how long its answer takes is the server's matter."""
        super().on_message_complete()
        self._head_bytes = 0
        self._stop()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is answered in the protocol's form too."""
        self._refuse(400, msg)

    def _start(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self._limits.read_s, self._late)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self.pipeline:  # it came with the one before, which is still being answered: not the client's fault
            self._start()
            return
        self._refuse(408, f"a request must come within {self._limits.read_s:g} s")

    def _refuse(self, status: int, message: str, more: bytes = b"") -> None:
        self._stop()
        if self.transport.is_closing():
            return
        # Where the head is complete, the newest cycle is that of the request which is refused.
        cycle, own = self.cycle, self._head_bytes is None
        if cycle is None or (not cycle.response_started if own else cycle.response_complete):
            body = error_body(message)
            head = b"content-type: application/json\r\nconnection: close\r\n" + more
            self.transport.write(STATUS_LINE[status] + head + b"content-length: %d\r\n\r\n" % len(body) + body)
        self.transport.close()


def most_connections(asked: int) -> int:
    """How many connections this process can hold: its limit of open files is raised as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, asked + _OWN_FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return max(1, min(asked, soft - _OWN_FILES))
