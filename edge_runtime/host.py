"""What machine this is: its fingerprint, and whether it is fit to be measured on. Standard library only.

>>> cpu_of(["processor : 0", "model name : AMD EPYC", "model name : AMD EPYC"])
'AMD EPYC'
>>> sorted(host())[:3]
['cores', 'cpu', 'fingerprint']
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edge_runtime.store import sha256_of_bytes

MAX_BUSY = 0.2
CPUINFO = Path("/proc/cpuinfo")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def host() -> dict[str, Any]:
    """The machine: processor, cores, memory, system. `fingerprint` is the same for the same hardware and system."""
    system, release, machine = _system()
    fields = {
        "cpu": _cpu() or machine,
        "cores": os.cpu_count(),
        "usable_cores": min(4, usable_cores()),
        "machine": machine,
        "system": f"{system} {release.split('-')[0]}",
        "memory_bytes": _memory(),
        "python": sys.version.split()[0],
    }
    stable = "|".join(str(fields[key]) for key in ("cpu", "cores", "machine", "system", "memory_bytes"))
    return {"fingerprint": sha256_of_bytes(stable.encode())[:12], **fields}


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy(seconds: float = 1.0) -> list[str]:
    """Flags of an unfit host at this moment, after watching it; empty where nothing speaks against."""
    share, governor = _busy_share(seconds), read(GOVERNOR)
    busy_now = share is not None and share > MAX_BUSY
    flags = [f"other work: {share:.0%} of the processors busy before the run"] if busy_now else []
    if governor not in (None, "performance", "schedutil"):
        flags.append(f"cpu governor is {governor}")
    return flags


def cpu_of(cpuinfo: Iterable[str]) -> str | None:
    """The processor's (or the board's) name from the lines of /proc/cpuinfo; None where none stands there.

    On x86 the name stands in the first lines, and the rest of a big server's takes longer to make than to read.
    """
    others: dict[str, str] = {}
    for line in cpuinfo:
        key, _, value = line.partition(":")
        if key.startswith("model name"):
            return value.strip()
        others.setdefault(key.strip(), value.strip())
    return others.get("Model") or others.get("Hardware")


def read(path: Path) -> str | None:
    """A small text file of the system, stripped; None where there is none."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def _cpu() -> str | None:
    try:
        with CPUINFO.open(errors="replace") as lines:
            return cpu_of(lines)
    except OSError:
        import platform

        return platform.processor() or None


def _system() -> tuple[str, str, str]:
    if hasattr(os, "uname"):
        here = os.uname()
        return here.sysname, here.release, here.machine
    import platform

    return platform.system(), platform.release(), platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # AttributeError: Windows
        return None


def _busy_share(seconds: float) -> float | None:
    """The share of all processors' time that was not idle; None where the system does not say."""

    def times() -> list[int] | None:
        said = read(Path("/proc/stat"))
        return [int(part) for part in said.splitlines()[0].split()[1:9]] if said else None

    before = times()
    time.sleep(seconds if before else 0)
    after = times()
    if before is None or after is None:
        return None
    spent = [b - a for a, b in zip(before, after, strict=True)]
    idle = spent[3] + spent[4]  # idle and waiting for a disk; man 5 proc
    return 1 - idle / max(1, sum(spent))
