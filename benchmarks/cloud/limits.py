"""The server's outer door: who may come in, how much they may bring, and a line in the log for each.

An ASGI wrapper around the app, and the limits that the rest of the server reads.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from starlette.responses import Response

from benchmarks.cloud.metrics import Metrics
from benchmarks.cloud.refusals import Refused, body_of, headers_of, status_of
from edge_runtime.errors import BadRequest, LokmaError, one_line

_log = logging.getLogger(__name__)
TOKEN = "LOKMA_TOKEN"
OPEN = ("/v2/health/live", "/v2/health/ready")  # what asks these has no token: a load balancer, systemd, Kubernetes
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Log = Callable[[str, str, str, int, float], None]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Limits:
    """What one client may ask of the server."""

    body_bytes: int = 16 << 20  # a phone's photograph has 3 to 12 MB, a batch of 64 EfficientNet inputs 9.6
    request_s: float = 30.0  # from the last byte of a request to its answer
    read_s: float = 20.0  # from the first byte of a request to its last
    idle_s: int = 30  # between two requests of a connection
    connections: int = 4096


LIMITS = Limits()


class Doors:
    """Wraps the app: the token, the size of a body, a request id, one line in the log, the metrics.

    Args:
        app: what is behind them.
        limits: what a client may bring.
        metrics: where each request is counted.
        token: what clients must send; None lets everybody in.
        lanes: addresses that are POSTed to without the app's routing.
        log: told of each answered request.
    """

    def __init__(
        self,
        app: App,
        limits: Limits,
        metrics: Metrics,
        token: str | None = None,
        lanes: Mapping[str, App] = MappingProxyType({}),
        log: Log | None = None,
    ) -> None:
        self.app, self.limits, self.metrics, self.lanes, self.log = app, limits, metrics, lanes, log
        self._token = None if token is None else _digest(token.encode())

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 499  # 499: the client left before there was an answer
        headers, method, path = dict(scope["headers"]), scope["method"], scope["path"]
        request_id = _request_id(headers.get(b"x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            self._refuse(path, headers)
            app = self.lanes.get(path, self.app) if method == "POST" else self.app
            await app(scope, _bounded(receive, self.limits.body_bytes), sent)
        except LokmaError as error:
            await response_to(error, request_id)(scope, receive, sent)
        finally:
            spent = time.perf_counter() - start
            self.metrics.answered(method, getattr(scope.get("route"), "path", "other"), status, spent)
            if self.log is not None:
                self.log(request_id, method, one_line(path)[:200], status, round(spent * 1000, 3))

    def _refuse(self, path: str, headers: dict[bytes, bytes]) -> None:
        if self._token is not None and path not in OPEN and not self._knows(headers.get(b"authorization", b"")):
            raise Refused(401, "a valid bearer token is needed", {"WWW-Authenticate": "Bearer"})
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Refused(415, "bodies are read as they are; send it without Content-Encoding")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > self.limits.body_bytes:
            raise too_large(self.limits.body_bytes)

    def _knows(self, authorization: bytes) -> bool:
        scheme, _, given = authorization.partition(b" ")
        # of the digests: comparing the tokens would tell the length of ours
        return hmac.compare_digest(_digest(given.strip()), self._token or b"") and scheme.lower() == b"bearer"


def too_large(most: int) -> Refused:
    """The refusal of a body above `most` bytes."""
    return Refused(413, f"a body may have at most {most:,} bytes")


def response_to(error: LokmaError, request_id: str) -> Response:
    """The answer to a request that cannot be met; the log tells what the answer does not."""
    if status_of(error) == 500:
        _log.error("%s", error, extra={"request_id": request_id})
    return Response(body_of(error), status_of(error), headers_of(error), media_type="application/json")


def read_token(file: Path | None) -> str | None:
    """The token that clients must send: from a file, else from `LOKMA_TOKEN`; None asks for none.

    Raises:
        BadRequest: the file cannot be read, or the token is shorter than 16 characters.
    """
    try:
        given = os.environ.get(TOKEN) if file is None else file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BadRequest(f"the token file {file} cannot be read: {getattr(error, 'strerror', error)}") from error
    if given is None:
        return None
    token = given.strip()
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        make = "python3 -c 'import secrets; print(secrets.token_urlsafe())'"
        raise BadRequest(f"a token has at least 16 printable characters and no space; {make} makes one")
    return token


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _request_id(given: bytes | None) -> str:
    """The client's, so that its log and ours can be put side by side, where it is harmless; else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode()
    return f"{random.getrandbits(128):032x}"  # to tell requests apart, no secret: uuid4 asks the kernel


def _bounded(receive: Receive, most: int) -> Receive:
    """Counts a body without a length while it comes."""
    count = 0

    async def counted() -> Message:
        nonlocal count
        message = await receive()
        count += len(message.get("body", b""))
        if count > most:
            raise too_large(most)
        return message

    return counted
