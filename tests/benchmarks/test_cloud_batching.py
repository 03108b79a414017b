import asyncio
import threading
import time

import pytest

from benchmarks.cloud.batching import Batcher, best_batch
from benchmarks.cloud.refusals import Refused
from edge_runtime.errors import EngineError


class Engine:
    """Doubles bytes, and remembers the sizes of its batches; `gate` holds it back."""

    def __init__(self):
        self.sizes, self.gate = [], threading.Event()
        self.gate.set()

    def __call__(self, tensor, rows):
        assert self.gate.wait(10)
        self.sizes.append(rows)
        return memoryview(bytes(2 * one % 256 for one in bytes(tensor)))


async def jammed(engine, batcher, count, rows=1):
    """`count` requests behind one that runs."""
    engine.gate.clear()
    tasks = [asyncio.create_task(batcher.submit(memoryview(bytes([0])), 1))]
    while batcher.waiting() or not tasks[0]:
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    tensors = [memoryview(bytes([index + 1] * rows)) for index in range(count)]
    tasks += [asyncio.create_task(batcher.submit(tensor, rows)) for tensor in tensors]
    await asyncio.sleep(0.01)
    return tasks


def test_what_waits_while_a_batch_runs_is_the_next_batch():
    async def story():
        engine = Engine()
        batcher = Batcher("net", engine, max_batch=8)
        tasks = await jammed(engine, batcher, 20)
        engine.gate.set()
        answers = await asyncio.gather(*tasks)
        await batcher.close()
        assert engine.sizes == [1, 8, 8, 4]
        assert [bytes(one.values) for one in answers] == [bytes([2 * index]) for index in range(21)]
        assert answers[1].batch == 8 and answers[1].queue_ns > 0

    asyncio.run(story())


def test_a_request_of_many_rows_runs_alone_and_in_parts():
    async def story():
        engine = Engine()
        batcher = Batcher("net", engine, max_batch=4)
        tasks = await jammed(engine, batcher, 2, rows=6)
        engine.gate.set()
        answers = await asyncio.gather(*tasks)
        await batcher.close()
        assert engine.sizes == [1, 4, 2, 4, 2] and bytes(answers[2].values) == bytes([4] * 6)

    asyncio.run(story())


def test_a_full_queue_refuses_at_once_and_says_when_to_come_again():
    async def story():
        engine = Engine()
        batcher = Batcher("net", engine, max_batch=1, queue=3)
        tasks = await jammed(engine, batcher, 3)
        start = time.perf_counter()
        with pytest.raises(Refused, match="the queue of net is full") as error:
            await batcher.submit(memoryview(b"x"), 1)
        assert time.perf_counter() - start < 0.05
        assert error.value.status == 503 and int(error.value.headers["Retry-After"]) >= 1
        engine.gate.set()
        assert len(await asyncio.gather(*tasks)) == 4
        assert bytes((await batcher.submit(memoryview(b"\x05"), 1)).values) == b"\x0a"
        await batcher.close()

    asyncio.run(story())


def test_a_request_whose_client_gave_up_does_not_run():
    async def story():
        engine = Engine()
        batcher = Batcher("net", engine, max_batch=8)
        tasks = await jammed(engine, batcher, 3)
        tasks[2].cancel()
        engine.gate.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        await batcher.close()
        assert engine.sizes == [1, 2]

    asyncio.run(story())


def test_a_failing_engine_fails_its_requests_and_not_the_next():
    async def story():
        broken = True

        def run(tensor, rows):
            if broken:
                raise EngineError("no")
            return memoryview(tensor)

        batcher = Batcher("net", run, max_batch=2)
        with pytest.raises(EngineError, match="no"):
            await batcher.submit(memoryview(b"x"), 1)
        broken = False
        assert bytes((await batcher.submit(memoryview(b"x"), 1)).values) == b"x"
        await batcher.close()

    asyncio.run(story())


def test_a_batch_waits_for_more_as_long_as_it_may():
    async def story():
        engine = Engine()
        batcher = Batcher("net", engine, max_batch=2, max_wait_ms=2000)
        start = time.perf_counter()
        first = asyncio.create_task(batcher.submit(memoryview(b"a"), 1))
        await asyncio.sleep(0.02)
        await asyncio.gather(first, batcher.submit(memoryview(b"b"), 1))
        assert engine.sizes == [2] and time.perf_counter() - start < 1  # full: it waits no longer
        batcher = Batcher("net", engine, max_batch=2, max_wait_ms=30)
        await batcher.submit(memoryview(b"a"), 1)
        assert engine.sizes == [2, 1]
        await batcher.close()

    asyncio.run(story())


def test_the_best_batch_is_the_smallest_that_is_nearly_as_fast():
    def fixed_cost(tensor, rows):
        time.sleep(0.004 + 0.0001 * rows)
        return memoryview(tensor)

    def by_row(tensor, rows):
        time.sleep(0.02 * rows)
        return memoryview(tensor)

    assert best_batch(fixed_cost, 1) == 16

    def by_row_and_tiny(tensor, rows):
        return memoryview(tensor)

    assert best_batch(by_row, 1) == 1
    assert best_batch(by_row_and_tiny, 1) == 16  # the hand-over is all that it costs
