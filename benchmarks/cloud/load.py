"""Clients that ask as fast as they are answered: one process, one connection each, and every latency kept."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_runtime.errors import EngineError

PAUSE_S = 0.05  # of a client that lost a request


def http_request(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """The bytes of a POST."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\nHost: lokma\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass(frozen=True)
class Came:
    """What a load brought: each answer's latency, its head and body, in the order of their end, and the whole time.

    `lost` is how many requests were answered with an error, or not at all.
    """

    latency_ns: tuple[int, ...]
    bodies: tuple[tuple[int, bytes, bytes], ...]
    spent_ns: int
    lost: int = 0

    @property
    def ns_per_answer(self) -> float:
        """The inverse of the throughput."""
        return self.spent_ns / len(self.latency_ns) if self.latency_ns else math.inf


def offered(
    port: int, requests: Sequence[bytes], clients: int, seconds: float | None = None, *, may_fail: bool = False
) -> Came:
    """Sends requests from several clients at once.

    Args:
        port: of the server on this machine.
        requests: what is sent, in turn.
        clients: how many connections.
        seconds: how long, over and over; None sends each once, and keeps the answers.
        may_fail: counts what fails, and goes on.

    Raises:
        EngineError: a request was answered with an error, or not at all.
    """
    return asyncio.run(_offered(port, requests, clients, seconds, may_fail))


async def _offered(port: int, requests: Sequence[bytes], clients: int, seconds: float | None, may_fail: bool) -> Came:
    latencies: list[int] = []
    bodies: list[tuple[int, bytes, bytes]] = []
    sent = lost = 0
    start = time.perf_counter_ns()
    end = None if seconds is None else start + seconds * 1e9

    async def client() -> None:
        nonlocal sent, lost
        line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while (sent < len(requests)) if end is None else (time.perf_counter_ns() < end):
                index, sent = sent % len(requests), sent + 1
                try:
                    line = line or await asyncio.open_connection("127.0.0.1", port)
                    began = time.perf_counter_ns()
                    head, body = await _answer(line, requests[index])
                except (OSError, asyncio.IncompleteReadError, EngineError) as error:
                    if not may_fail:
                        raise EngineError(f"a request was lost: {error}") from error
                    await _close(line)
                    lost, line = lost + 1, None
                    await asyncio.sleep(PAUSE_S)
                    continue
                latencies.append(time.perf_counter_ns() - began)
                if end is None:
                    bodies.append((index, head, body))
        finally:
            await _close(line)

    await asyncio.gather(*(client() for _ in range(clients)))
    return Came(tuple(latencies), tuple(bodies), time.perf_counter_ns() - start, lost)


async def _answer(line: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes) -> tuple[bytes, bytes]:
    reader, writer = line
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    body = await reader.readexactly(int(header(head, b"content-length") or 0))
    if not head.startswith(b"HTTP/1.1 200"):
        raise EngineError(f"the server answered {head[9:12].decode()}: {body[:200].decode(errors='replace')}")
    return head, body


async def _close(line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None) -> None:
    if line is not None:
        line[1].close()
        with contextlib.suppress(OSError):
            await line[1].wait_closed()


@dataclass(frozen=True)
class Silence:
    """How silent connections were sent away, by status, and the latencies and losses of one client that asked."""

    statuses: Counter[str]
    latency_ns: tuple[int, ...]
    lost: int


async def silent(port: int, request: bytes, count: int) -> Silence:
    """Opens so many connections that say nothing, until the server ends each; one that was there before them asks on.

    Args:
        port: of the server on this machine.
        request: of the one that asks.
        count: of the others.
    """
    statuses: Counter[str] = Counter()
    latencies: list[int] = []
    lost, few, ended = 0, asyncio.Semaphore(256), asyncio.Event()
    asking = await asyncio.open_connection("127.0.0.1", port)

    async def stranger() -> None:
        async with few:  # the kernel's queue of new connections is short
            line = await asyncio.open_connection("127.0.0.1", port)
        try:
            head, _, body = (await line[0].read()).partition(b"\r\n\r\n")
            told = body.startswith(b'{"error": ')
        except OSError:
            head, told = b"", False
        statuses[head[9:12].decode() if told else "nothing"] += 1
        await _close(line)

    async def regular() -> None:
        nonlocal lost
        while not ended.is_set():
            began = time.perf_counter_ns()
            try:
                await _answer(asking, request)
                latencies.append(time.perf_counter_ns() - began)
            except (OSError, asyncio.IncompleteReadError, EngineError):
                lost += 1
                return
            await asyncio.sleep(PAUSE_S)

    asks = asyncio.create_task(regular())
    await asyncio.gather(*(stranger() for _ in range(count)))
    ended.set()
    await asks
    await _close(asking)
    return Silence(statuses, tuple(latencies), lost)


def header(head: bytes, name: bytes) -> bytes | None:
    """A header's value out of an answer's head; `name` in small letters."""
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return None
