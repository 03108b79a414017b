"""From which round trip, payload, batch, price and energy on does the device beat the cloud? Pure, from two times.

>>> sides = Sides(device_ns=30e6, cloud_ns=12e6, rtt_ms=0.2, payload_bytes=150_528, server_ns=8e6)
>>> round(round_trip_ms(sides), 1), round(round_trip_ms(sides, mbit=100), 1), batch(sides, rtt_ms=70)
(18.2, 6.2, 4)
>>> sentence(found(sides, rtt_ms=70, mbit=12))
'An answer takes 30.0 ms on the device and 182.2 ms in the cloud at a round trip of 70 ms and 12 Mbit/s up: ...'

The model: a cloud's answer costs one round trip, the payload over the line, and what client and server compute. It is
measured at one round trip and moved to others: those figures are *modelled*. `python -m benchmarks.break_even BUNDLE`
checks it against emulated links (`benchmarks.break_even_study`).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

ROUND_TRIPS_MS = (0, 5, 10, 20, 40, 70, 100, 150, 300)


@dataclass(frozen=True)
class Sides:
    """What was measured: `cloud_ns` at a round trip of `rtt_ms`, over a line of `mbit` up (None: not shaped).

    `server_ns` is what the server alone spends on one more row of a batch; `device_joules` those of one answer, None
    where the machine does not say.
    """

    device_ns: float
    cloud_ns: float
    rtt_ms: float
    payload_bytes: int
    server_ns: float
    mbit: float | None = None
    device_joules: float | None = None


@dataclass(frozen=True)
class Prices:
    """What the user pays; None is not known, and then nothing is said of it.

    Attributes:
        cloud_per_1000: answers of the cloud.
        device: one device.
        kwh: a kilowatt-hour.
        radio_joules_per_mb: what the device's radio spends on a megabyte.
    """

    cloud_per_1000: float | None = None
    device: float | None = None
    kwh: float | None = None
    radio_joules_per_mb: float | None = None


def cloud_ns(sides: Sides, rtt_ms: float, mbit: float | None = None, row_bytes: int | None = None, n: int = 1) -> float:
    """What the cloud takes for `n` rows at another round trip, line and payload."""
    payload = sides.payload_bytes if row_bytes is None else row_bytes
    apart = sides.cloud_ns - sides.rtt_ms * 1e6 - _line_ns(sides.payload_bytes, sides.mbit)
    return apart + rtt_ms * 1e6 + n * _line_ns(payload, mbit) + (n - 1) * sides.server_ns


def round_trip_ms(sides: Sides, mbit: float | None = None) -> float:
    """The round trip beyond which the device is faster; 0 or less: at every one."""
    return (sides.device_ns - cloud_ns(sides, 0, mbit)) / 1e6


def payload_bytes(sides: Sides, rtt_ms: float, mbit: float) -> float:
    """The payload beyond which the device is faster; 0 or less: at every one."""
    return (sides.device_ns - cloud_ns(sides, rtt_ms, mbit, 0)) / _line_ns(1, mbit)


def batch(sides: Sides, rtt_ms: float, mbit: float | None = None) -> int | None:
    """From how many rows at once on the cloud is faster; None: the device always is."""
    a_row = sides.device_ns - sides.server_ns - _line_ns(sides.payload_bytes, mbit)
    fixed = cloud_ns(sides, rtt_ms, mbit) - sides.server_ns - _line_ns(sides.payload_bytes, mbit)
    return None if a_row <= 0 else max(1, math.floor(fixed / a_row) + 1)


def found(sides: Sides, rtt_ms: float, mbit: float | None = None, prices: Prices | None = None) -> dict[str, Any]:
    """All break-even points for one network, and what was measured.

    Returns:
        `measured`, `network`, `device_ms`, `cloud_ms`, `round_trip_ms`, `payload_bytes` (None where the line is not
        limited), `batch` (None: the device always wins), `answers_until_paid` and `radio_joules` (None: a price is not
        known), and `chart`: device and cloud at `ROUND_TRIPS_MS`.
    """
    prices = prices or Prices()
    return {
        "measured": asdict(sides),
        "modelled": True,
        "network": {"rtt_ms": rtt_ms, "mbit": mbit},
        "device_ms": sides.device_ns / 1e6,
        "cloud_ms": cloud_ns(sides, rtt_ms, mbit) / 1e6,
        "round_trip_ms": round_trip_ms(sides, mbit),
        "payload_bytes": None if mbit is None else payload_bytes(sides, rtt_ms, mbit),
        "batch": batch(sides, rtt_ms, mbit),
        "answers_until_paid": _answers_until_paid(sides, prices),
        "device_joules": sides.device_joules,
        "radio_joules": None
        if prices.radio_joules_per_mb is None
        else prices.radio_joules_per_mb * sides.payload_bytes / 1e6,
        "chart": [
            {"rtt_ms": rtt, "device_ms": sides.device_ns / 1e6, "cloud_ms": cloud_ns(sides, rtt, mbit) / 1e6}
            for rtt in ROUND_TRIPS_MS
        ],
    }


def sentence(said: Mapping[str, Any]) -> str:
    """What `found` says, in English."""
    mbit = said["network"]["mbit"]
    line = "" if mbit is None else f" and {mbit:g} Mbit/s up"
    parts = [
        f"An answer takes {said['device_ms']:.1f} ms on the device and {said['cloud_ms']:.1f} ms in the cloud at a "
        f"round trip of {said['network']['rtt_ms']:g} ms{line}"
    ]
    crossing = said["round_trip_ms"]
    parts.append(
        "the device is faster at every round trip" if crossing <= 0
        else f"the device is faster from a round trip of {crossing:.1f} ms on"
    )  # fmt: skip
    if (payload := said["payload_bytes"]) is not None:
        parts.append("with any payload" if payload <= 0 else f"from a payload of {payload / 1e3:.0f} kB on")
    parts.append("with any batch" if said["batch"] is None else f"and with fewer than {said['batch']} rows at once")
    if (answers := said["answers_until_paid"]) is not None:
        parts.append("it never pays" if math.isinf(answers) else f"it has paid for itself after {answers:,.0f} answers")
    if said["radio_joules"] is not None and said["device_joules"] is None:
        parts.append("what it needs of energy this machine does not say")
    elif said["radio_joules"] is not None:
        saves = "less" if said["device_joules"] < said["radio_joules"] else "more"
        parts.append(
            f"it needs {saves} energy than sending ({said['device_joules']:.3f} J, {said['radio_joules']:.3f} J)"
        )
    return f"{parts[0]}: {', '.join(parts[1:])} (modelled from what was measured)."


def chart(said: Mapping[str, Any], width: int = 40) -> str:
    """The cloud's time over the round trip, and the device's, as bars of text.

    >>> sides = Sides(device_ns=30e6, cloud_ns=12e6, rtt_ms=2, payload_bytes=1, server_ns=8e6)
    >>> print("\\n".join(chart(found(sides, 70), 31).splitlines()[:4]))
    device             30.0 ms ###
    cloud at   0 ms    10.0 ms #
    cloud at   5 ms    15.0 ms ##
    cloud at  10 ms    20.0 ms ##
    """
    rows = [("device", said["device_ms"])]
    rows += [(f"cloud at {point['rtt_ms']:>3g} ms", point["cloud_ms"]) for point in said["chart"]]
    scale = width / max(took for _, took in rows)
    return "\n".join(f"{name:<15} {took:7.1f} ms {'#' * round(took * scale)}" for name, took in rows)


def _answers_until_paid(sides: Sides, prices: Prices) -> float | None:
    if prices.cloud_per_1000 is None or prices.device is None:
        return None
    power = 0.0
    if prices.kwh is not None and sides.device_joules is not None:
        power = sides.device_joules / 3.6e6 * prices.kwh
    saved = prices.cloud_per_1000 / 1000 - power
    return math.inf if saved <= 0 else prices.device / saved


def _line_ns(payload: float, mbit: float | None) -> float:
    return 0.0 if mbit is None else payload * 8 / mbit * 1e3


if __name__ == "__main__":
    from benchmarks.break_even_study import main

    sys.exit(main(sys.argv[1:]))
