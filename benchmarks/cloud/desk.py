"""What every request to a model goes through: run in time, counted, written in the protocol.

`Lane` is the short way to it. A framework's routing and middleware cost more than half a millisecond a request beside
an inference that keeps the caches for itself; the way that a loaded server is asked by is one look-up in a table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect

from benchmarks.cloud import protocol
from benchmarks.cloud.batching import Answer
from benchmarks.cloud.limits import Limits, response_to
from benchmarks.cloud.metrics import Metrics
from benchmarks.cloud.models import Model
from benchmarks.cloud.refusals import Refused
from edge_runtime.errors import LokmaError

_HEAD_LENGTH = protocol.HEAD_LENGTH.encode()
Message = MutableMapping[str, Any]


@dataclass(frozen=True)
class Desk:
    """Where models are asked."""

    limits: Limits
    metrics: Metrics

    async def run(self, model: Model, tensor: memoryview, rows: int) -> Answer:
        """Some rows' answer, within the time that a request may take.

        Raises:
            Refused: the queue is full (503), or it took too long (504).
            EngineError: the engine failed.
        """
        try:
            async with asyncio.timeout(self.limits.request_s):
                answer = await model.answer(tensor, rows)
        except TimeoutError as error:
            raise Refused(504, f"{model.name} did not answer within {self.limits.request_s:g} s") from error
        self.metrics.ran(model, answer)
        return answer

    async def infer(self, model: Model, head_length: str | None, body: bytes) -> tuple[bytes, dict[str, str]]:
        """An inference request's answer: its body and headers.

        Args:
            model: who is asked.
            head_length: the value of `Inference-Header-Content-Length`; None where the body is JSON alone.
            body: the whole body.

        Raises:
            BadInput: malformed, or not of this model.
            Refused, EngineError: as `run`.
        """
        asked = protocol.read_request(body, head_length, model.takes, model.gives)
        answer = await self.run(model, asked.tensor, asked.rows)
        said = {"queue_ns": answer.queue_ns, "inference_ns": answer.inference_ns, "batch": answer.batch}
        written, head = protocol.write_response(model.name, model.version, asked, model.gives, answer.values, said)
        headers = {"Server-Timing": timing(answer), "Content-Length": str(len(written))}
        if head is None:
            return written, {**headers, "Content-Type": "application/json"}
        kind = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(head)}
        return written, {**headers, **kind}


def timing(answer: Answer) -> str:
    """The `Server-Timing` header of an answer, in milliseconds."""
    return f"queue;dur={answer.queue_ns / 1e6:.3f}, inference;dur={answer.inference_ns / 1e6:.3f}"


class Lane:
    """One model's `infer` address as an ASGI app of its own."""

    def __init__(self, desk: Desk, model: Model, path: str) -> None:
        self.path = path  # the route's pattern, as the metrics name it
        self._desk, self._model = desk, model

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answers one request."""
        scope["route"] = self
        try:
            self._model.queue.refuse_full()  # before its body is read
            length = next((value.decode("latin-1") for name, value in scope["headers"] if name == _HEAD_LENGTH), None)
            written, headers = await self._desk.infer(self._model, length, await _body(receive))
        except ClientDisconnect:
            return  # nobody reads an answer
        except LokmaError as error:
            await response_to(error, scope["state"]["request_id"])(scope, receive, send)
            return
        fields = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": written})


async def _body(receive: Callable[[], Awaitable[Message]]) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)
