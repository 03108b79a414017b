"""What machine a number came from: the host's fingerprint, and whether it was fit to be measured on."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from pathlib import Path
from typing import Any

from edge_runtime import engines

MAX_BUSY = 0.2


def host() -> dict[str, Any]:
    """The machine: processor, cores, memory, system. `fingerprint` is the same for the same hardware and system."""
    fields = {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "usable_cores": engines.default_threads(),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "memory_bytes": _memory(),
        "python": platform.python_version(),
    }
    stable = "|".join(str(fields[key]) for key in ("cpu", "cores", "machine", "system", "memory_bytes"))
    return {"fingerprint": hashlib.sha256(stable.encode()).hexdigest()[:12], **fields}


def busy() -> list[str]:
    """Flags of an unfit host at this moment, after watching it for a second; empty where nothing speaks against."""
    flags = []
    share = _busy_share(1.0)
    if share is not None and share > MAX_BUSY:
        flags.append(f"other work: {share:.0%} of the processors busy before the run")
    governor = _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))
    if governor not in (None, "performance", "schedutil"):
        flags.append(f"cpu governor is {governor}")
    return flags


def _busy_share(seconds: float) -> float | None:
    """The share of all processors' time that was not idle; None where the system does not say."""

    def times() -> list[int] | None:
        said = _read(Path("/proc/stat"))
        return [int(part) for part in said.splitlines()[0].split()[1:9]] if said else None

    before = times()
    time.sleep(seconds)
    after = times()
    if before is None or after is None:
        return None
    spent = [b - a for a, b in zip(before, after, strict=True)]
    idle = spent[3] + spent[4]  # idle and waiting for a disk; man 5 proc
    return 1 - idle / max(1, sum(spent))


def _cpu() -> str:
    info = _read(Path("/proc/cpuinfo")) or ""
    for key in ("model name", "Model", "Hardware"):
        for line in info.splitlines():
            if line.startswith(key) and ":" in line:
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None
