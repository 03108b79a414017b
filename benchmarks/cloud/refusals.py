"""How the server says no: a status, one sentence in the protocol's error body, and nothing of its insides.

>>> refused = Refused(503, "the queue of digits is full", {"Retry-After": "2"})
>>> status_of(refused), body_of(refused)
(503, b'{"error": "the queue of digits is full"}')
>>> status_of(BadInput("pixels must be UINT8")), status_of(EngineError("/srv/models/x.onnx: bad node"))
(400, 500)
>>> body_of(EngineError("/srv/models/x.onnx: bad node"))
b'{"error": "the engine failed; the server\\'s log says more"}'
"""

# ruff: noqa: N818  (as in edge_runtime/errors.py)

from __future__ import annotations

import json
from collections.abc import Mapping

from edge_runtime.errors import BadInput, BadRequest, EngineError, LokmaError, one_line

_STATUSES: dict[type[LokmaError], int] = {BadInput: 400, BadRequest: 404, EngineError: 500}
_INSIDES = "the engine failed; the server's log says more"


class Refused(LokmaError):
    """A request that the server does not answer: too large, too many, too late, not allowed."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})

    def __reduce__(self) -> tuple[type[Refused], tuple[int, str, dict[str, str]]]:
        """As its arguments: a replica refuses in another process."""
        return Refused, (self.status, str(self), self.headers)


def status_of(error: LokmaError) -> int:
    """The HTTP status of an error."""
    return error.status if isinstance(error, Refused) else _STATUSES.get(type(error), 500)


def headers_of(error: LokmaError) -> dict[str, str]:
    """The headers that go with it, such as Retry-After."""
    return error.headers if isinstance(error, Refused) else {}


def body_of(error: LokmaError) -> bytes:
    """The protocol's error body. What went wrong inside is in the log, not in the answer."""
    inside = status_of(error) == 500
    return error_body(_INSIDES if inside else str(error))


def error_body(message: str) -> bytes:
    """`{"error": message}`, in one line whatever a stranger put into the message."""
    return json.dumps({"error": one_line(message)}).encode()
