"""Requests to batches: a bounded queue in front of one model.

While one batch runs, the next one fills, so that under load batches form without waiting for them. The thread that
runs them takes the next one itself, and the event loop only hears of what is done. A full queue refuses at once: a
request that would come too late is better sent elsewhere.

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
import functools
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from benchmarks.cloud.refusals import Refused

QUEUE = 64  # requests: the last of them waits 2 s for a model of 30 ms
WAIT_MS = 0.0  # batches form while one runs; who waits for more lets the processor idle
MAX_BATCH = 16
HANDOVER_MS = 0.6  # what a batch costs the server beside its rows: two threads take turns with a cold cache
NEAR = 1.05  # of the lowest cost a row: a smaller batch answers sooner, and so short a look varies by a few percent
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


@dataclass
class _Batch:
    jobs: list[_Job] = field(default_factory=list)
    rows: int = 0
    start_ns: int = 0
    spent_ns: int = 0


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
        self._lock, self._idle, self._closed = threading.Lock(), True, False
        self._came = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"lokma-{name}")
        self._row_s = 0.0  # a smoothed time of one row

    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._jobs)

    def refuse_full(self) -> None:
        """Raises Refused (503) where the queue is full; Retry-After is the time it takes to empty."""
        if self._closed:
            raise _going_down()
        if len(self._jobs) >= self.queue:
            with self._lock:
                rows = sum(job.rows for job in self._jobs)
            seconds = str(max(1, math.ceil(rows * self._row_s)))
            raise Refused(503, f"the queue of {self.name} is full; try again later", {"Retry-After": seconds})

    async def submit(self, tensor: memoryview, rows: int) -> Answer:
        """Runs one request's rows, with others' where they come together.

        Raises:
            Refused: the queue is full.
            EngineError: the engine failed.
        """
        self.refuse_full()
        job = _Job(tensor, rows, asyncio.get_running_loop().create_future())
        with self._lock:
            self._jobs.append(job)
            begins, self._idle = self._idle, False
        if begins:
            self._go_on()
        else:
            self._came.set()
        return await job.future

    async def close(self) -> None:
        """Ends the thread after the batch that runs; what still waits is refused."""
        with self._lock:
            self._closed, left = True, list(self._jobs)
            self._jobs.clear()
        self._came.set()
        for job in left:
            if not job.future.done():
                job.future.set_exception(_going_down())
        await asyncio.to_thread(self._thread.shutdown)

    def _go_on(self) -> None:
        batch = _Batch()
        self._thread.submit(self._next, batch).add_done_callback(functools.partial(self._ran, batch))

    def _next(self, batch: _Batch) -> memoryview:
        """Fills a batch and runs it, in the thread."""
        self._fill(batch)
        if not batch.jobs:
            return memoryview(b"")
        jobs, rows = batch.jobs, batch.rows
        tensor = jobs[0].tensor if len(jobs) == 1 else b"".join([job.tensor for job in jobs])
        batch.start_ns = time.perf_counter_ns()
        values = self._in_parts(tensor, rows)
        batch.spent_ns = time.perf_counter_ns() - batch.start_ns
        row_s = batch.spent_ns / 1e9 / rows
        self._row_s = 0.8 * self._row_s + 0.2 * row_s if self._row_s else row_s
        return values

    def _ran(self, batch: _Batch, done: Future[memoryview]) -> None:
        """Tells the event loop, and begins the next batch, in the thread."""
        with self._lock:
            more = bool(self._jobs)
            self._idle = not more
        if batch.jobs:
            batch.jobs[0].future.get_loop().call_soon_threadsafe(_hand_out, batch, done)
        if more:
            self._go_on()

    def _fill(self, batch: _Batch) -> None:
        """Takes the next requests that fit; those whose client gave up are left out."""
        deadline = time.perf_counter() + self._wait_s
        while True:
            self._came.clear()
            with self._lock:
                self._take(batch)
                full = bool(self._jobs) or batch.rows >= self.max_batch or self._closed
            left = deadline - time.perf_counter()
            if full or left <= 0:
                return
            self._came.wait(left)

    def _take(self, batch: _Batch) -> None:
        while self._jobs:
            job = self._jobs[0]
            if batch.jobs and batch.rows + job.rows > self.max_batch:
                return
            self._jobs.popleft()
            if not job.future.done():
                batch.jobs.append(job)
                batch.rows += job.rows

    def _in_parts(self, tensor: memoryview | bytes, rows: int) -> memoryview:
        if rows <= self.max_batch:
            return self._run(tensor, rows)
        view, width = memoryview(tensor), len(tensor) // rows
        parts = []
        for first in range(0, rows, self.max_batch):
            count = min(self.max_batch, rows - first)
            parts.append(self._run(view[first * width : (first + count) * width], count))
        return memoryview(b"".join(parts))


def _going_down() -> Refused:
    return Refused(503, "the server is going down", {"Retry-After": "1"})


def _hand_out(batch: _Batch, done: Future[memoryview]) -> None:
    error = done.exception()
    values = memoryview(b"") if error else done.result()
    width, first = len(values) // batch.rows, 0
    for job in batch.jobs:
        part = values[first * width : (first + job.rows) * width]
        first += job.rows
        if job.future.done():
            continue
        if error:
            job.future.set_exception(error)
        else:
            job.future.set_result(Answer(part, batch.start_ns - job.came_ns, batch.spent_ns, batch.rows))


def best_batch(run: Callable[[memoryview | bytes, int], memoryview], row_bytes: int) -> int:
    """The smallest batch whose rows, hand-over included, cost nearly the least: measured here in a second or two."""
    cost: dict[int, float] = {}
    began, rows = time.perf_counter(), 1
    while rows <= MAX_BATCH and time.perf_counter() - began < _PROBE_S:
        tensor = bytes(rows * row_bytes)
        times = []
        for _ in range(6):  # the first is the engine's warm-up for this size
            start = time.perf_counter()
            run(tensor, rows)
            times.append(time.perf_counter() - start)
        cost[rows] = (1000 * min(times[1:]) + HANDOVER_MS) / rows
        rows *= 2
    return next(rows for rows, ms in cost.items() if ms <= NEAR * min(cost.values()))
