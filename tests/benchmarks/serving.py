"""A real server in a thread of the tests, and plain sockets to ask it what no client library would."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.cloud.app import server
from benchmarks.cloud.cli import bound, uvicorn_server
from benchmarks.cloud.limits import LIMITS, Limits
from benchmarks.cloud.models import Batching, Models, open_models

EIGHT = Batching(max_batch=8)


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        assert list(self.json()) == ["error"] and self.headers["content-type"] == "application/json"
        return self.json()["error"]


@dataclass(frozen=True)
class Server:
    port: int
    models: Models

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, json.dumps(body) if isinstance(body, dict) else body, headers or {})
            came = connection.getresponse()
            return Reply(came.status, {key.lower(): value for key, value in came.getheaders()}, came.read())
        finally:
            connection.close()

    def raw(self, data: bytes, timeout: float = 10) -> bytes:
        """What comes back for these bytes until the server closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as line:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                line.sendall(data)
            came = b""
            with contextlib.suppress(ConnectionResetError):
                while part := line.recv(65536):
                    came += part
            return came

    def is_well(self) -> bool:
        return self.ask("GET", "/v2/health/live").status == 200


@contextlib.contextmanager
def serving(
    *bundles: Any,
    artifact: str | None = None,
    batching: Batching = EIGHT,
    limits: Limits = LIMITS,
    token: str | None = None,
) -> Iterator[Server]:
    models = open_models([str(bundle) for bundle in bundles], artifact, None, batching)
    with bound("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        running = uvicorn_server(server(models, limits, token), limits)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not running.started:
                assert thread.is_alive()
                time.sleep(0.005)
            yield Server(port, models)
        finally:
            running.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
