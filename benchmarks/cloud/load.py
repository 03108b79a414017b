"""Clients that ask as fast as they are answered: one process, one connection each, and every latency kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_runtime.errors import EngineError


def http_request(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """The bytes of a POST."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\nHost: lokma\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass(frozen=True)
class Came:
    """What a load brought: each answer's latency, its head and body, in the order of their end, and the whole time."""

    latency_ns: tuple[int, ...]
    bodies: tuple[tuple[int, bytes, bytes], ...]
    spent_ns: int

    @property
    def ns_per_answer(self) -> float:
        """The inverse of the throughput."""
        return self.spent_ns / len(self.latency_ns)


def offered(port: int, requests: Sequence[bytes], clients: int, seconds: float | None = None) -> Came:
    """Sends requests from several clients at once.

    Args:
        port: of the server on this machine.
        requests: what is sent, in turn.
        clients: how many connections.
        seconds: how long, over and over; None sends each once, and keeps the answers.

    Raises:
        EngineError: the server answered with an error.
    """
    return asyncio.run(_offered(port, requests, clients, seconds))


async def _offered(port: int, requests: Sequence[bytes], clients: int, seconds: float | None) -> Came:
    latencies: list[int] = []
    bodies: list[tuple[int, bytes, bytes]] = []
    sent = 0
    start = time.perf_counter_ns()
    end = None if seconds is None else start + seconds * 1e9

    async def client() -> None:
        nonlocal sent
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (sent < len(requests)) if end is None else (time.perf_counter_ns() < end):
            index, sent = sent % len(requests), sent + 1
            began = time.perf_counter_ns()
            writer.write(requests[index])
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(int(header(head, b"content-length") or 0))
            latencies.append(time.perf_counter_ns() - began)
            if not head.startswith(b"HTTP/1.1 200"):
                raise EngineError(f"the server answered {head[9:12].decode()}: {body[:200].decode(errors='replace')}")
            if end is None:
                bodies.append((index, head, body))
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(client() for _ in range(clients)))
    return Came(tuple(latencies), tuple(bodies), time.perf_counter_ns() - start)


def header(head: bytes, name: bytes) -> bytes | None:
    """A header's value out of an answer's head; `name` in small letters."""
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return None
