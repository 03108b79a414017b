"""Whether this machine is fit to be measured on, before anything is measured: each thing that speaks against it.

An unfit one is refused; `--anyway` measures all the same and marks the records.

>>> [one.name for one in preflight(seconds=0.01)]
['governor', 'load', 'processes', 'throttling', 'battery', 'clock']
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from edge_runtime import doctor, host
from edge_runtime.errors import GateFailed
from edge_runtime.findings import Finding

log = logging.getLogger(__name__)
HEAVY = 0.2  # of one core
PROC, SUPPLIES = Path("/proc"), Path("/sys/class/power_supply")
GOOD_GOVERNORS = ("performance", "schedutil")
CLOCK_S = 1.0  # the wall clock may differ from the steady one by so much and a thousandth of the time


def preflight(seconds: float = 1.0) -> list[Finding]:
    """Watches the machine for a moment. `ok` is False where it is unfit, None where the system does not say."""
    before = _times()
    busy = host.busy(seconds)
    after = _times()
    load = next((flag for flag in busy if flag.startswith("other work")), "")
    known = host.read(Path("/proc/stat")) is not None
    return [
        governor(host.read(host.GOVERNOR)),
        Finding("load", False if load else (True if known else None), load or "nothing else of weight runs"),
        processes(before, after, seconds),
        throttled(doctor._said("vcgencmd", "get_throttled")),
        battery(SUPPLIES),
        Finding("clock", True, "watched while it measures"),
    ]


def refuse_unfit(anyway: bool, seconds: float = 1.0) -> list[str]:
    """What speaks against this machine, for the records.

    Raises:
        GateFailed: something does, and `anyway` does not say to go on.
    """
    unfit = [one.detail for one in preflight(seconds) if one.ok is False]
    if unfit and not anyway:
        raise GateFailed(
            f"this machine is not fit to be measured on: {'; '.join(unfit)}. --anyway measures and says so"
        )
    for detail in unfit:
        log.warning("measured anyway: %s", detail)
    return unfit


def governor(said: str | None) -> Finding:
    """The clock of the processor."""
    if said is None:
        return Finding("governor", None, "the system does not say")
    return Finding("governor", said in GOOD_GOVERNORS, f"cpu governor is {said}")


def processes(before: dict[int, tuple[str, float]], after: dict[int, tuple[str, float]], seconds: float) -> Finding:
    """Other processes that kept a core busy in between, the heaviest first, by their short names.

    >>> processes({7: ("chromium", 1.0)}, {7: ("chromium", 1.9)}, 1.0).detail
    'heavy processes: chromium (90 % of a core)'
    """
    spent = [(now - before[pid][1], name) for pid, (name, now) in after.items() if pid in before]
    heavy = sorted(((used / seconds, name) for used, name in spent if used > HEAVY * seconds), reverse=True)
    if heavy:
        said = ", ".join(f"{name} ({share * 100:.0f} % of a core)" for share, name in heavy[:3])
        return Finding("processes", False, f"heavy processes: {said}")
    return Finding("processes", True if after else None, "none is heavy" if after else "the system does not say")


def throttled(said: str | None) -> Finding:
    """What a Raspberry Pi says of its supply and heat: only what holds now speaks against measuring."""
    found = doctor.throttling(said)
    bits = re.fullmatch(r"throttled=0x([0-9a-fA-F]+)", said or "")
    now = bits is not None and int(bits[1], 16) & 0xF != 0
    return Finding("throttling", False if now else found.ok, f"throttled: {found.detail}" if now else found.detail)


def battery(root: Path) -> Finding:
    """A machine that runs on its battery saves power, and not twice alike."""
    states = [host.read(path) for path in sorted(root.glob("*/status"))]
    if "Discharging" in states:
        return Finding("battery", False, "it runs on its battery; plug it in")
    return Finding("battery", True if states else None, "not in use" if states else "there is none")


class Clock:
    """Tells whether the wall clock jumped, or the machine slept, between two moments.

    >>> Clock().doubts()
    []
    """

    def __init__(self) -> None:
        self._wall, self._steady = time.time(), time.monotonic()

    def doubts(self) -> list[str]:
        """What the records are told of it."""
        steady = time.monotonic() - self._steady
        ahead = time.time() - self._wall - steady
        if abs(ahead) <= CLOCK_S + steady / 1000:
            return []
        return [f"the clock jumped by {ahead:+.1f} s while it was measured, or the machine slept"]


def _times() -> dict[int, tuple[str, float]]:
    """Each other process's name and the seconds of processor time it has used; empty where the system does not say."""
    found: dict[int, tuple[str, float]] = {}
    for path in PROC.glob("[0-9]*/stat"):
        said = host.read(path)
        if said is None or int(path.parent.name) == os.getpid():
            continue
        name, _, rest = said.partition(" (")[2].rpartition(") ")
        fields: Sequence[str] = rest.split()
        if len(fields) > 12:
            found[int(path.parent.name)] = (name, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
    return found
