"""The energy that the whole machine spent between two moments, where it says so; standard library only.

Three sources, the best first: RAPL's counters (x86), the Raspberry Pi 5's own measuring (`vcgencmd pmic_read_adc`),
a battery's power. The counters are exact; the other two are samples at both ends, whose mean is taken for the time
between. All of the machine is in it, not one process: it says something while nothing else runs.

>>> watts_of_pmic("VDD_CORE_A current(7)=2.0A\\nVDD_CORE_V volt(15)=0.8V\\nEXT5V_V volt(24)=5.1V")
1.6
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RAPL = Path("/sys/class/powercap")
BATTERIES = Path("/sys/class/power_supply")
NONE = "this machine reports no energy: no readable RAPL counter, no vcgencmd pmic_read_adc, no battery in use"


class Meter:
    """Starts counting when it is made.

    >>> sorted(Meter().read()) in (["joules"], ["no_joules"])
    True
    """

    def __init__(self) -> None:
        self._counters = counters()
        self._watts = None if self._counters else watts()
        self._began = time.monotonic()

    def read(self) -> dict[str, Any]:
        """`{"joules": float}` since it was made, or `{"no_joules": why}`."""
        if self._counters:
            return {"joules": joules_between(self._counters, counters())}
        after = None if self._watts is None else watts()
        if self._watts is None or after is None:
            return {"no_joules": NONE}
        return {"joules": (self._watts + after) / 2 * (time.monotonic() - self._began)}


def counters(root: Path = RAPL) -> dict[str, tuple[int, int]]:
    """RAPL's packages: name to (microjoules so far, where the counter starts again). Only root may read some."""
    found = {}
    for package in sorted(root.glob("intel-rapl:?")):
        try:
            energy, wraps = (int((package / name).read_text()) for name in ("energy_uj", "max_energy_range_uj"))
        except (OSError, ValueError):
            continue
        found[package.name] = (energy, wraps)
    return found


def joules_between(before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]) -> float:
    """What the counters moved, each at most once around.

    >>> joules_between({"intel-rapl:0": (900, 1000)}, {"intel-rapl:0": (100, 1000)})
    0.0002
    """
    moved = ((after[name][0] - start, wraps) for name, (start, wraps) in before.items() if name in after)
    return sum(step if step >= 0 else step + wraps for step, wraps in moved) / 1e6


def watts() -> float | None:
    """The power at this moment: of the Pi's rails, else of a battery that is being emptied; None where neither is."""
    try:
        done = subprocess.run(["vcgencmd", "pmic_read_adc"], capture_output=True, text=True, timeout=5)
        rails = watts_of_pmic(done.stdout)
    except (OSError, subprocess.TimeoutExpired):
        rails = None
    return watts_of_battery() if rails is None else rails


def watts_of_pmic(said: str) -> float | None:
    """The sum over the rails that say both their current and their voltage; None where none does."""
    values = re.findall(r"(\w+)_([AV]) (?:current|volt)\(\d+\)=([\d.]+)[AV]", said)
    amperes, volts = ({name: float(value) for name, kind, value in values if kind == unit} for unit in "AV")
    rails = amperes.keys() & volts.keys()
    return sum(amperes[name] * volts[name] for name in rails) if rails else None


def watts_of_battery(root: Path = BATTERIES) -> float | None:
    """What the batteries that are being emptied give; None where none is."""
    total = None
    for battery in sorted(root.glob("*")):
        try:
            if (battery / "status").read_text().strip() != "Discharging":
                continue
            if (battery / "power_now").exists():
                watts_now = int((battery / "power_now").read_text()) / 1e6
            else:
                watts_now = (
                    int((battery / "current_now").read_text()) * int((battery / "voltage_now").read_text()) / 1e12
                )
        except (OSError, ValueError):
            continue
        total = (total or 0.0) + watts_now
    return total


def _micro(path: Path) -> float:
    return int(path.read_text()) / 1e6
