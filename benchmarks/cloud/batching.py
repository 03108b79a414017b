"""Requests to batches: a bounded queue in front of one model.

While one batch runs, the next one fills, so that under load batches form without waiting for them. A full queue
refuses at once: a request that would come too late is better sent elsewhere.

>>> import asyncio
>>> async def ask() -> list[bytes]:
...     batcher = Batcher("twice", lambda tensor, rows: memoryview(bytes(2 * one for one in tensor)), max_batch=4)
...     answers = await asyncio.gather(*(batcher.submit(memoryview(bytes([one])), 1) for one in (1, 2, 3)))
...     await batcher.close()
...     return [bytes(answer.values) for answer in answers]
>>> asyncio.run(ask())
[b'\\x02', b'\\x04', b'\\x06']
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from benchmarks.cloud.refusals import Refused

QUEUE = 64  # requests: the last of them waits 2 s for a model of 30 ms
WAIT_MS = 0.0  # batches form while one runs; who waits for more lets the processor idle
MAX_BATCH = 16
ENOUGH = 0.9  # of the best throughput: a smaller batch answers sooner, and so short a look varies by a few percent
_PROBE_S = 1.5


@dataclass(frozen=True)
class Answer:
    """One request's output, flat bytes, how long it waited, and how long its batch of `batch` rows ran."""

    values: memoryview
    queue_ns: int
    inference_ns: int
    batch: int


@dataclass
class _Job:
    tensor: memoryview
    rows: int
    future: asyncio.Future[Answer]
    came_ns: int = field(default_factory=time.perf_counter_ns)


class Batcher:
    """The queue of one model. Lives in one event loop; `run` is called in a thread of its own.

    Args:
        name: the model's, for messages.
        run: flat bytes of some rows to the flat bytes of their outputs.
        max_batch: the most rows that run together; a larger request runs in parts.
        max_wait_ms: how long a batch that is not full waits for more; 0 takes what is there.
        queue: how many requests may wait.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[memoryview | bytes, int], memoryview],
        max_batch: int,
        max_wait_ms: float = WAIT_MS,
        queue: int = QUEUE,
    ) -> None:
        self.name, self.max_batch, self.queue = name, max_batch, queue
        self._run, self._wait_s = run, max_wait_ms / 1000
        self._jobs: deque[_Job] = deque()
        self._came = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"lokma-{name}")
        self._worker: asyncio.Task[None] | None = None
        self._row_s = 0.0  # a smoothed time of one row

    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._jobs)

    def refuse_full(self) -> None:
        """Raises Refused (503) where the queue is full; Retry-After is the time it takes to empty."""
        if len(self._jobs) >= self.queue:
            seconds = max(1, math.ceil(sum(job.rows for job in self._jobs) * self._row_s))
            raise Refused(503, f"the queue of {self.name} is full; try again later", {"Retry-After": str(seconds)})

    async def submit(self, tensor: memoryview, rows: int) -> Answer:
        """Runs one request's rows, with others' where they come together.

        Raises:
            Refused: the queue is full.
            EngineError: the engine failed.
        """
        self.refuse_full()
        loop = asyncio.get_running_loop()
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        job = _Job(tensor, rows, loop.create_future())
        self._jobs.append(job)
        self._came.set()
        return await job.future

    async def close(self) -> None:
        """Ends the worker; what still waits is refused."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait([self._worker])
        for job in self._jobs:
            if not job.future.done():
                job.future.set_exception(Refused(503, "the server is going down", {"Retry-After": "1"}))
        self._jobs.clear()
        self._thread.shutdown()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._batch()
            if not batch:
                continue
            rows = sum(job.rows for job in batch)
            tensor = batch[0].tensor if len(batch) == 1 else b"".join(job.tensor for job in batch)
            start = time.perf_counter_ns()
            running = loop.run_in_executor(self._thread, self._in_parts, tensor, rows)
            await asyncio.wait([running])  # not awaited itself: what it raises belongs to the requests
            spent = time.perf_counter_ns() - start
            self._row_s = 0.8 * self._row_s + 0.2 * spent / 1e9 / rows if self._row_s else spent / 1e9 / rows
            _hand_out(batch, running, rows, start, spent)

    async def _batch(self) -> list[_Job]:
        """The next requests that fit into one batch; those whose client gave up are left out."""
        while not self._jobs:
            self._came.clear()
            await self._came.wait()
        batch: list[_Job] = []
        deadline = time.perf_counter() + self._wait_s
        while True:
            self._take(batch)
            left = deadline - time.perf_counter()
            if self._jobs or left <= 0 or sum(job.rows for job in batch) >= self.max_batch:
                return batch
            self._came.clear()
            try:
                await asyncio.wait_for(self._came.wait(), left)
            except TimeoutError:
                return batch

    def _take(self, batch: list[_Job]) -> None:
        rows = sum(job.rows for job in batch)
        while self._jobs:
            if self._jobs[0].future.done():
                self._jobs.popleft()
                continue
            if batch and rows + self._jobs[0].rows > self.max_batch:
                return
            rows += self._jobs[0].rows
            batch.append(self._jobs.popleft())

    def _in_parts(self, tensor: memoryview | bytes, rows: int) -> memoryview:
        if rows <= self.max_batch:
            return self._run(tensor, rows)
        view, width = memoryview(tensor), len(tensor) // rows
        parts = []
        for first in range(0, rows, self.max_batch):
            count = min(self.max_batch, rows - first)
            parts.append(self._run(view[first * width : (first + count) * width], count))
        return memoryview(b"".join(parts))


def _hand_out(batch: list[_Job], ran: asyncio.Future[memoryview], rows: int, start: int, spent: int) -> None:
    error = ran.exception()
    values = memoryview(b"") if error else ran.result()
    width, first = len(values) // rows, 0
    for job in batch:
        part = values[first * width : (first + job.rows) * width]
        first += job.rows
        if job.future.done():
            continue
        if error:
            job.future.set_exception(error)
        else:
            job.future.set_result(Answer(part, start - job.came_ns, spent, rows))


def best_batch(run: Callable[[memoryview | bytes, int], memoryview], row_bytes: int) -> int:
    """The smallest batch that reaches `ENOUGH` of the best throughput, measured here in a second or two."""
    per_row: dict[int, float] = {}
    began, rows = time.perf_counter(), 1
    while rows <= MAX_BATCH and time.perf_counter() - began < _PROBE_S:
        tensor = bytes(rows * row_bytes)
        times = []
        for _ in range(4):  # the first is the engine's warm-up for this size
            start = time.perf_counter()
            run(tensor, rows)
            times.append(time.perf_counter() - start)
        per_row[rows] = min(times[1:]) / rows
        rows *= 2
    best = min(per_row.values())
    return next(rows for rows, spent in per_row.items() if best >= ENOUGH * spent)
