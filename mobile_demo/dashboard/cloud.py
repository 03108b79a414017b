"""The cloud beside the device: what each took, and the network from which on the cloud would be faster.

The break-even is reckoned from measured medians, and said to be: the cloud's time without its network against the
device's. What the network between really took stands beside it.

>>> break_even(device, cloud)                                                           # doctest: +SKIP
BreakEven(network_ns=9_100_000, needed_ns=7_400_000)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mobile_demo.dashboard.runs import Measurement
from mobile_demo.dashboard.views import Row, where
from mobile_demo.words import Words

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


def sentences(device: Measurement, measured: Sequence[Measurement], words: Words) -> list[str]:
    """A sentence for the fastest of the cloud's measurements: who was faster, and from which network on it turns."""
    best = min(measured, key=lambda one: one.p50_ns)
    said = {"device": device.system, "own": words.duration(device.p50_ns), "cloud": words.duration(best.p50_ns)}
    lines = [words("cloud_faster" if best.p50_ns < device.p50_ns else "cloud_slower", **said)]
    found = break_even(device, best)
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
        ("; ".join(filter(None, (where(one, words), one.cpu, one.notes))), *[""] * 4),
        chosen=chosen,
        numeric=(False, True, True, True, True),
    )
