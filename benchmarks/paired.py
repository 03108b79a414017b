"""Systems measured in turn, round by round, and what a bound says to the ratio of two of them.

A row says `name, value, bound, holds, n, note`; `holds` is None where the machine was too restless to tell.

>>> row = ratio_row("half the time", 0.6, [1.0, 1.01] * 20, [2.0, 2.02] * 20)
>>> row["value"], row["holds"], row["n"]
(0.5, True, 40)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.report import NOISE_LIMIT
from edge_runtime.measure import interleaved, ratio_interval

Row = dict[str, Any]
Samples = dict[str, list[float]]
MIN_PAIRS = 30
MAX_ROUNDS = 400
LOOK_EVERY = 10  # rounds


def rounds(systems: Mapping[str, Callable[[], float]], at_least: int, seconds: float) -> Samples:
    """Runs each system once a round, every round in another order.

    After `at_least` rounds it goes on until each system agrees with itself, or the time is up: only the
    noise decides when to stop, never the ratio. The round before the first is thrown away.

    Args:
        systems: name: what measures it once.
        at_least: rounds.
        seconds: when to stop where the machine does not calm down.
    """
    for measure in systems.values():
        measure()
    found: Samples = {name: [] for name in systems}
    end = time.monotonic() + seconds
    order = iter(interleaved(list(systems), MAX_ROUNDS))
    for done in range(1, MAX_ROUNDS + 1):
        for name in [next(order) for _ in systems]:
            found[name].append(systems[name]())
        late = time.monotonic() > end
        if done >= at_least and (late or (done % LOOK_EVERY == 0 and not any(map(is_noisy, found.values())))):
            break
    return found


def against_itself(samples: Sequence[float]) -> tuple[float, ...]:
    """The A/A ratio: a system's odd rounds against its even ones, with its 95 % interval."""
    pairs = len(samples) // 2 * 2
    return ratio_interval(samples[1:pairs:2], samples[:pairs:2])


def is_noisy(samples: Sequence[float]) -> bool:
    """Whether the interval of a system's A/A ratio leaves 0.95 to 1.05."""
    _, low, high = against_itself(samples)
    return low < 1 - NOISE_LIMIT or high > 1 + NOISE_LIMIT


def ratio_row(
    name: str,
    bound: float | None,
    one: Sequence[float],
    other: Sequence[float],
    flags: Sequence[str] = (),
    note: str = "",
) -> Row:
    """One system's time against another's of the same rounds.

    It holds when the lower 95 % limit is at or below the bound and the upper at most 0.05 above.

    Args:
        name: of the row.
        bound: None only reports.
        one: nanoseconds, a round each.
        other: those of the system that it is compared with.
        flags: why the machine was not fit to be measured on.
        note: what else the reader must know.
    """
    ratio, low, high = ratio_interval(one, other)
    own = [against_itself(samples) for samples in (one, other)]
    said = f"95 %: {low:.3f} to {high:.3f}; A/A " + " and ".join(f"{a:.2f} ({b:.2f} to {c:.2f})" for a, b, c in own)
    doubts = [*flags]
    if len(one) < MIN_PAIRS:
        doubts.append(f"fewer than {MIN_PAIRS} pairs")
    elif is_noisy(one) or is_noisy(other):
        doubts.append("too noisy, run it again")
    holds = bound is None or (low <= bound and high <= bound + 0.05)
    return row(
        name,
        ratio,
        bound,
        None if doubts and bound is not None else holds,
        len(one),
        "; ".join(filter(None, [*doubts, said, note])),
    )


def row(name: str, value: float | None, bound: float | None, holds: bool | None, n: int, note: str = "") -> Row:
    """A row of a budget."""
    return {"name": name, "value": value, "bound": bound, "holds": holds, "n": n, "note": note}
