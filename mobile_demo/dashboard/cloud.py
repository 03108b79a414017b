"""The cloud beside the device: what each took, and the network from which on the cloud would be faster.

Where `python -m benchmarks.break_even` has measured on this device where the two cross, that is said. Else the
break-even is reckoned from measured medians, and said to be: the cloud's time without its network against the device's.

>>> break_even(device, cloud)                                                           # doctest: +SKIP
BreakEven(network_ns=9_100_000, needed_ns=7_400_000)
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mobile_demo.dashboard.runs import NOT_WHOLE, Measurement
from mobile_demo.dashboard.said import in_words
from mobile_demo.dashboard.views import Row, where
from mobile_demo.words import Words

STUDY = "break-even"  # of `benchmarks.break_even_study`, which a page does not import: it brings half of benchmarks
KEYS = ("system", "p50", "p90", "", "inference")


@dataclass(frozen=True)
class BreakEven:
    """The median time in the network, and below which it would have to lie; not above 0 where no network helps."""

    network_ns: int
    needed_ns: int


def break_even(device: Measurement, cloud: Measurement) -> BreakEven | None:
    """The network with which both take the same; None where the record does not part the network from the rest."""
    network = cloud.stages_ns.get("network", 0)
    return BreakEven(network, device.p50_ns - (cloud.p50_ns - network)) if network else None


@dataclass(frozen=True)
class Crossing:
    """What links of growing round trips showed: `at_ms` is where the two crossed, None where one won on all."""

    device: str
    cloud: str
    first_ms: float
    last_ms: float
    mbit: float
    at_ms: float | None
    device_won: bool


def crossing(studies: Sequence[Mapping[str, Any]], fingerprint: str, system: str) -> Crossing | None:
    """The measured break-even of a device: that of this system where there is one, else of any; the newest.

    Args:
        studies: records of `benchmarks.break_even_study`, the newest first, beside others.
        fingerprint: of the device.
        system: the one that the page speaks of.
    """
    mine = [one for one in studies if one["host"].get("fingerprint") == fingerprint]
    for record in sorted(mine, key=lambda one: one["artifact"].get("id") != system):
        try:
            return _crossing(record)
        except NOT_WHOLE:
            continue
    return None


def _crossing(record: Mapping[str, Any]) -> Crossing:
    apart = [(float(one["rtt_ms"]), float(one["device_ns"]) - float(one["cloud_ns"])) for one in record["points"]]
    at_ms = None
    for (before_ms, before), (after_ms, after) in itertools.pairwise(apart):
        if before > 0 >= after:
            at_ms = before_ms + (after_ms - before_ms) * before / (before - after)
            break
    scenario = record["scenario"]
    ends = (apart[0][0], apart[-1][0], float(scenario["mbit"]))
    return Crossing(str(record["artifact"]["id"]), str(scenario["cloud"]), *ends, at_ms, apart[0][1] <= 0)


def measured_even(found: Crossing, words: Words) -> str:
    """The break-even that was measured, in one sentence."""
    key = "even_measured" if found.at_ms is not None else "even_device" if found.device_won else "even_cloud"
    first, last = (f"{words.number(ms)}\xa0ms" for ms in (found.first_ms, found.last_ms))
    return words(
        key,
        device=found.device,
        cloud=found.cloud,
        at=words.duration((found.at_ms or 0) * 1e6),
        first=first,
        last=last,
        links=words.span(first, last),
        mbit=words.number(found.mbit),
    )


def sentences(device: Measurement, measured: Sequence[Measurement], words: Words, reckon: bool = True) -> list[str]:
    """A sentence for the fastest of the cloud's measurements: who was faster, and from which network on it turns.

    Args:
        device: the file on the device.
        measured: those of the cloud.
        words: the page's language.
        reckon: whether to reckon the break-even; False where it was measured.
    """
    best = min(measured, key=lambda one: one.p50_ns)
    said = {"device": device.system, "own": words.duration(device.p50_ns), "cloud": words.duration(best.p50_ns)}
    lines = [words("cloud_faster" if best.p50_ns < device.p50_ns else "cloud_slower", **said)]
    found = break_even(device, best) if reckon else None
    if found is None:
        return lines
    network, server = words.duration(found.network_ns), words.duration(best.p50_ns - found.network_ns)
    if found.needed_ns <= 0:
        return [*lines, words("even_never", server=server, own=said["own"])]
    return [*lines, words("even_at", needed=words.duration(found.needed_ns), network=network)]


def heads(words: Words) -> tuple[str, ...]:
    """The heads of the table."""
    return tuple(words(key) for key in ("system", "p50", "p90", "network", "inference"))


def rows(device: Measurement, measured: Sequence[Measurement], words: Words) -> list[Row]:
    """The device's file first, then what the cloud took."""
    return [_row(one, one is device, words) for one in (device, *measured)]


def _row(one: Measurement, chosen: bool, words: Words) -> Row:
    network, inference = (one.stages_ns.get(stage, 0) for stage in ("network", "inference"))
    none = "\u2013" if chosen else words("not_measured")
    return Row(
        (
            one.system,
            words.duration(one.p50_ns),
            words.duration(one.p90_ns),
            words.duration(network) if network else none,
            words.duration(inference) if inference else words("not_measured"),
        ),
        ("; ".join(filter(None, (where(one, words), one.cpu, in_words(one.notes, words)))), *[""] * 4),
        chosen=chosen,
        numeric=(False, True, True, True, True),
    )
