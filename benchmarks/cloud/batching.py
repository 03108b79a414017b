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
HANDOVER_MS = 0.6  # what a batch costs the server beside its rows: two threads take turns with a cold cache
NEAR = 1.05  # of the lowest cost a row: a smaller batch answers sooner, and so short a look varies by a few percent
_SIZES = (1, 2, 4, 8, 16)
_PROBES, _PROBE_S = 8, 1.5


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
        self._changed = threading.Condition()  # of the jobs, or that it closed
        self._idle, self._closed = True, False
        self._batch = _Batch()  # the one that runs
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
            with self._changed:
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
        with self._changed:
            self._jobs.append(job)
            begins, self._idle = self._idle, False
            self._changed.notify()
        if begins:
            self._go_on()
        return await job.future

    async def close(self) -> None:
        """Ends the thread after the batch that runs; what still waits is refused."""
        with self._changed:
            self._closed, left = True, list(self._jobs)
            self._jobs.clear()
            self._changed.notify()
        for job in left:
            if not job.future.done():
                job.future.set_exception(_going_down())
        await asyncio.to_thread(self._thread.shutdown)

    def _go_on(self) -> None:
        self._thread.submit(self._work).add_done_callback(self._ended)

    def _work(self) -> None:
        """Runs batch after batch while requests wait, in the thread."""
        while self._fill():
            batch = self._batch
            jobs, rows = batch.jobs, batch.rows
            tensor = jobs[0].tensor if len(jobs) == 1 else b"".join([job.tensor for job in jobs])
            batch.start_ns = time.perf_counter_ns()
            values = self._in_parts(tensor, rows)
            batch.spent_ns = time.perf_counter_ns() - batch.start_ns
            row_s = batch.spent_ns / 1e9 / rows
            self._row_s = 0.8 * self._row_s + 0.2 * row_s if self._row_s else row_s
            jobs[0].future.get_loop().call_soon_threadsafe(_hand_out, batch, values)

    def _ended(self, done: Future[None]) -> None:
        """Hands an error to the batch that met it, and runs those that wait, in the thread."""
        error = done.exception()
        if error is None:
            return
        self._batch.jobs[0].future.get_loop().call_soon_threadsafe(_hand_out, self._batch, error)
        with self._changed:
            self._idle = not self._jobs
            if not self._idle:
                self._go_on()

    def _fill(self) -> bool:
        """Takes the next requests that fit, without those whose client gave up; False where none waits."""
        self._batch = batch = _Batch()
        with self._changed:
            self._take(batch)
            if self._wait_s and batch.jobs:
                deadline = time.perf_counter() + self._wait_s
                while not (self._jobs or self._closed or batch.rows >= self.max_batch):
                    if not self._changed.wait(deadline - time.perf_counter()):
                        break
                    self._take(batch)
            self._idle = not batch.jobs
        return bool(batch.jobs)

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


def _hand_out(batch: _Batch, outcome: memoryview | BaseException) -> None:
    first = 0
    for job in batch.jobs:
        last = first + job.rows
        if job.future.done():  # its client gave up
            pass
        elif isinstance(outcome, BaseException):
            job.future.set_exception(outcome)
        else:
            width = len(outcome) // batch.rows
            part = outcome[first * width : last * width]
            job.future.set_result(Answer(part, batch.start_ns - job.came_ns, batch.spent_ns, batch.rows))
        first = last


def best_batch(run: Callable[[memoryview | bytes, int], memoryview], row_bytes: int) -> int:
    """The smallest batch whose rows, hand-over included, cost nearly the least: measured here in a second or two."""
    fastest: dict[int, float] = {}
    ends = time.perf_counter() + _PROBE_S
    for _ in range(_PROBES):  # in turns, so that what else this machine does meets every size
        for rows in _SIZES:
            start = time.perf_counter()
            if start > ends and fastest:
                break
            run(bytes(rows * row_bytes), rows)
            fastest[rows] = min(time.perf_counter() - start, fastest.get(rows, math.inf))
    cost = {rows: (1000 * spent + HANDOVER_MS) / rows for rows, spent in fastest.items()}
    return next(rows for rows, ms in cost.items() if ms <= NEAR * min(cost.values()))
