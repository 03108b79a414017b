"""Minute 1 against minute N: what a machine gives when it must go on (`lokma bench --sustained 30m`).

One system after another, each without a pause: a rest between blocks would let the machine cool down. Of the first
minute and the last the raw latencies are kept, of each minute between its median and p90.

>>> seconds_of("30m"), seconds_of("90s"), seconds_of("2h")
(1800.0, 90.0, 7200.0)
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.evaluation import Work
from benchmarks.passes import Child, Measured, block_size, noted
from benchmarks.targets import System
from edge_runtime import doctor
from edge_runtime.errors import BadRequest
from edge_runtime.measure import quantile, ratio_interval

MINUTE_S = 60.0
KEPT = 20_000  # raw latencies of a minute at most, evenly chosen
BLOCK = 20  # latencies, whose median is one of a pair
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(text: str) -> float:
    """A time such as `30m`.

    Raises:
        BadRequest: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if found is None or float(found[1]) == 0:
        raise BadRequest(f"--sustained takes a time such as 90s, 30m or 2h; got {text!r}")
    return float(found[1]) * _UNITS[found[2]]


def sustained(systems: Sequence[System], work: Work, seconds: float) -> dict[str, Measured]:
    """Measures each system so long; `offered` of what comes back are the first minute and the last."""
    found = {system.name: Measured() for system in systems}
    for system in systems:
        one = found[system.name]
        try:
            with noted(one), contextlib.ExitStack() as stack:
                process = stack.enter_context(system.opened(stack)())
                process.ask(work.inputs[:1])
                one.cold, one.versions = [process.cold], process.versions
                one.throttling["before"] = _throttling()
                _minutes(Child(process, one), work, seconds)
                one.throttling["after"], one.peak_rss_bytes = _throttling(), process.peak_rss_bytes
        except KeyboardInterrupt:
            one.partial = True
            break
    return found


def _minutes(child: Child, work: Work, seconds: float) -> None:
    found, size, position, began = child.found, block_size(work), 0, time.monotonic()
    minute, kept = min(MINUTE_S, seconds / 2), list[list[Any]]()
    try:
        while (now := time.monotonic() - began) < seconds:
            if len(found.minutes) < now // minute + 1:
                found.minutes.append([])
                kept = [*kept[:1], []]  # the first minute, and the one that may be the last
            chosen = [(position + index) % len(work.inputs) for index in range(size)]
            answers = child.ask([work.inputs[index] for index in chosen])
            found.minutes[-1] += [answer["total_ns"] for answer in answers if "error" not in answer]
            kept[-1] += zip(chosen, answers, strict=True)
            position += size
    finally:  # also after Ctrl-C, or where the system stopped
        thinned = [pair for one in kept for pair in one[:: -(-len(one) // KEPT) or 1]]
        found.offered_inputs, found.offered = [index for index, _ in thinned], [answer for _, answer in thinned]


def _throttling() -> str:
    return doctor.throttling(doctor._said("vcgencmd", "get_throttled")).detail


def summary(found: Measured, seconds: float) -> dict[str, Any]:
    """What the record says of it: every minute, and the last against the first with its 95 % interval."""
    minutes = [one for one in found.minutes if one]
    blocks = [[quantile(one[at : at + BLOCK], 0.5) for at in range(0, len(one), BLOCK)] for one in minutes]
    pairs = min(len(blocks[-1]), len(blocks[0]))
    return {
        "seconds": seconds,
        "minutes": [{"n": len(one), "p50_ns": quantile(one, 0.5), "p90_ns": quantile(one, 0.9)} for one in minutes],
        "last_against_first": list(ratio_interval(blocks[-1][:pairs], blocks[0][:pairs])),
        "throttling": dict(found.throttling),
    }
