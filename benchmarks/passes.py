"""Measuring: each system in its own process, in turn by blocks, the others asleep meanwhile.

What fails is a row, not the end: a system that stops is left out from there on with what it had answered by then, and
the others go on. Ctrl-C keeps what was measured.

How it goes: fresh processes in turn for the cold start; one process a system for the times and the answers; a fresh
one again for the memory, so that nothing else of the measuring is in it.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.evaluation import Work
from benchmarks.scenarios import Scenario
from benchmarks.targets import Start, System
from edge_runtime import worker
from edge_runtime.errors import LokmaError
from edge_runtime.measure import interleaved, quantile

log = logging.getLogger(__name__)
WARM_UP = 5
PASSES = 4  # at least; always an even number, so that the later half answers what the earlier did
BLOCKS = 15  # a pass
MEMORY_INPUTS = 200


@dataclass
class Measured:
    """What one system's processes said.

    `passes` are its answers, a list a pass; `offered` those of Server, Offline and the sustained mode, with the numbers
    of their inputs; `minutes` the latencies of the sustained mode.
    """

    cold: list[dict[str, int]] = field(default_factory=list)
    passes: list[list[dict[str, Any]]] = field(default_factory=list)
    offered: list[dict[str, Any]] = field(default_factory=list)
    offered_inputs: list[int] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    peak_rss_bytes: int | None = None
    returns: list[float] | None = None
    failure: dict[str, str] | None = None
    partial: bool = False
    cpu_ns: int = 0
    wall_ns: int = 0
    idle_cpu_ns: int = 0
    idle_ns: int = 0
    joules: float | None = 0.0
    no_joules: str = ""
    answered: int = 0
    errors: list[str] = field(default_factory=list)
    minutes: list[list[int]] = field(default_factory=list)
    throttling: dict[str, str] = field(default_factory=dict)

    def fail(self, error: LokmaError) -> None:
        """Notes why it stopped."""
        self.failure = {"what": type(error).__name__, "detail": str(error)}


class Child:
    """A system's process, and the account of what it spends."""

    def __init__(self, process: worker.Worker, found: Measured) -> None:
        self.process, self.found = process, found
        self._last: tuple[int, float] | None = None  # its processor time and the clock, when it last answered

    def ask(self, inputs: Sequence[Any], at_ns: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """Answers, some perhaps without values."""
        asked = time.monotonic()
        answers = self.process.ask(inputs, at_ns, partial=True, energy=True)
        spent, found = self.process.spent, self.found
        if self._last is not None:
            found.idle_cpu_ns += spent["cpu_began_ns"] - self._last[0]
            found.idle_ns += round((asked - self._last[1]) * 1e9)
        self._last = spent["cpu_ns"], time.monotonic()
        errors = [answer["error"] for answer in answers if "error" in answer]
        found.errors += errors
        found.answered += len(answers) - len(errors)
        found.cpu_ns += spent["cpu_ns"] - spent["cpu_began_ns"]
        found.wall_ns += spent["wall_ns"]
        if spent["joules"] is None or found.joules is None:
            found.joules, found.no_joules = None, spent["no_joules"] or found.no_joules
        else:
            found.joules += spent["joules"]
        return answers


def measure(
    systems: Sequence[System],
    work: Work,
    scenario: Scenario,
    cold_starts: int,
    judge: Callable[[worker.Worker], list[float]] | None = None,
) -> dict[str, Measured]:
    """Measures systems together.

    Args:
        systems: what is measured.
        work: what each of them is asked.
        scenario: how.
        cold_starts: fresh processes of each.
        judge: plays a policy by a worker and gives the returns of its episodes; None where inputs have labels.

    Returns:
        By the systems' names. Where Ctrl-C came, all of it is `partial`.
    """
    found = {system.name: Measured() for system in systems}
    try:
        with contextlib.ExitStack() as stack:
            starts = dict(_each(systems, found, lambda system: system.opened(stack)))
            _cold(starts, found, work, cold_starts)
            _timed(starts, found, work, scenario, judge)
            _memory(starts, found, work)
    except KeyboardInterrupt:
        log.warning("stopped by Ctrl-C: what was measured is kept and marked partial")
        for one in found.values():
            one.partial = True
    return found


def _each(
    systems: Sequence[System], found: dict[str, Measured], act: Callable[[System], Any]
) -> Iterator[tuple[str, Any]]:
    for system in systems:
        with noted(found[system.name]):
            yield system.name, act(system)


@contextlib.contextmanager
def noted(found: Measured) -> Iterator[None]:
    """What goes wrong inside is the system's failure, and the others go on."""
    try:
        yield
    except LokmaError as error:
        log.warning("failed: %s", error)
        found.fail(error)


def _cold(starts: dict[str, Start], found: dict[str, Measured], work: Work, count: int) -> None:
    """Fresh processes, in turn: spawn to the first answer."""
    for number, name in enumerate(interleaved(list(starts), count)):
        if found[name].failure:
            continue
        with noted(found[name]), starts[name]() as child:
            child.ask(work.inputs[:1])
            found[name].cold.append(child.cold)
        log.info("cold start %d of %d: %s", number + 1, len(starts) * count, name)


def _timed(
    starts: dict[str, Start],
    found: dict[str, Measured],
    work: Work,
    scenario: Scenario,
    judge: Callable[[worker.Worker], list[float]] | None,
) -> None:
    with contextlib.ExitStack() as stack:
        children: dict[str, Child] = {}
        for name, start in starts.items():
            if found[name].failure:
                continue
            with noted(found[name]):
                process = stack.enter_context(start())
                process.ask(work.inputs[:WARM_UP], partial=True)
                found[name].versions = process.versions
                children[name] = Child(process, found[name])
                log.info("warm: %s", name)
        _passes(children, work, scenario if scenario.name == "SingleStream" else Scenario())
        if scenario.name != "SingleStream":
            _offered(children, work, scenario)
        for name, child in children.items():
            if judge is not None and not found[name].failure:
                with noted(found[name]):
                    found[name].returns = judge(child.process)


def _passes(children: dict[str, Child], work: Work, scenario: Scenario) -> None:
    """All inputs, block by block in turn, until each system has had enough."""
    blocks, order, number = blocks_of(work), random.Random(0), 0
    while any(not child.found.failure for child in children.values()):
        seen = dict.fromkeys(children, 0)
        for block in blocks:
            for name in order.sample(list(children), len(children)):
                child = children[name]
                if child.found.failure:
                    continue
                with noted(child.found):
                    if not seen[name]:
                        child.found.passes.append([])
                    child.found.passes[-1] += child.ask(block)
                    seen[name] += len(block)
        number += 1
        alive = [child.found for child in children.values() if not child.found.failure]
        enough = all(scenario.is_met(one.wall_ns / 1e9, sum(map(len, one.passes))) for one in alive)
        log.info("pass %d", number)
        if number >= PASSES and number % 2 == 0 and enough:
            return


def _offered(children: dict[str, Child], work: Work, scenario: Scenario) -> None:
    """Server or Offline: one system after another, each for its whole run, the order drawn."""
    for name in random.Random(0).sample(list(children), len(children)):
        child = children[name]
        if child.found.failure:
            continue
        usual = quantile([answer["total_ns"] for answer in child.found.passes[0]], 0.5)
        at_ns = scenario.arrivals_ns(usual)
        chosen = scenario.samples(len(work.inputs), len(at_ns))
        log.info("%s: %d queries to %s", scenario.name, len(at_ns), name)
        with noted(child.found):
            own = Measured()  # what the passes before cost is not its
            child.found.offered = Child(child.process, own).ask([work.inputs[index] for index in chosen], at_ns)
            child.found.offered_inputs = chosen
            for key in ("cpu_ns", "wall_ns", "joules", "no_joules", "answered", "errors"):
                setattr(child.found, key, getattr(own, key))


def _memory(starts: dict[str, Start], found: dict[str, Measured], work: Work) -> None:
    """The peak memory of a process that answers, and is asked nothing else."""
    for name, start in starts.items():
        if found[name].failure:
            continue
        with noted(found[name]), start() as child:
            child.ask(work.inputs[:MEMORY_INPUTS], partial=True)
            found[name].peak_rss_bytes = child.peak_rss_bytes
        log.info("memory: %s", name)


def block_size(work: Work) -> int:
    """Inputs a block."""
    return max(1, len(work.inputs) // BLOCKS)


def blocks_of(work: Work) -> list[Sequence[Any]]:
    """A pass."""
    size = block_size(work)
    return [work.inputs[start : start + size] for start in range(0, len(work.inputs), size)]
