"""What this device can do, what it lacks, and what to install. Nothing that it looks at can end it.

Engines are tried in processes of their own (`python -m edge_runtime.doctor onnxruntime`), so that a wheel with
instructions that this processor lacks is a finding. What reads the system's files and tools takes their text.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_runtime import engines, host, signature, store
from edge_runtime.errors import LokmaError
from edge_runtime.findings import Finding, report

MIN_PYTHON = (3, 11)
LOW_MEMORY, LOW_DISK = 200 << 20, 500 << 20
HOT_C = 80.0  # a Raspberry Pi slows down from here on
PROBE_S = 120
_CORES = {"0xd03": "Cortex-A53", "0xd05": "Cortex-A55", "0xd08": "Cortex-A72", "0xd0b": "Cortex-A76"}
# what the engines' kernels ask for: (the word in /proc/cpuinfo, what it is called); the first of a list counts
_FEATURES = {
    "arm": ((("asimddp",), "dotprod"), (("i8mm",), "i8mm"), (("asimdhp",), "fp16")),
    "x86": ((("avx2",), "AVX2"), (("avx512_vnni", "avx_vnni"), "VNNI")),
}
# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled; from bit 16 on: since the start
_THROTTLED = ("the supply's voltage is too low", "the clock is capped", "throttled", "too warm, the clock is lowered")
_TOOLS = {"ssh": "lokma install --on", "ssh-keygen": "signed bundles"}


def doctor() -> dict[str, Any]:
    """Looks at everything; `{"ok", "checks"}` as `check` gives, where only what breaks use is not ok."""
    here = host.host()
    findings = [
        python(sys.version_info[:3], struct.calcsize("P") * 8, here["machine"]),
        cpu(host.read(host.CPUINFO) or "", here["cpu"]),
        Finding("cores", True, f"{host.usable_cores()} of {here['cores']} may be used"),
        memory(host.read(Path("/proc/meminfo")) or "", here["memory_bytes"]),
        gpu(_said("nvidia-smi", "-q")),
        Finding("governor", None, host.read(host.GOVERNOR) or "the system does not say"),
        throttling(_said("vcgencmd", "get_throttled")),
        temperature({zone: host.read(zone) or "" for zone in Path("/sys/class/thermal").glob("thermal_zone*/temp")}),
        *_engines(),
        _home(),
        *(_tool(name, use) for name, use in _TOOLS.items()),
    ]
    return report(findings)


def python(version: Sequence[int], bits: int, machine: str) -> Finding:
    """The interpreter: Python 3.11 or newer, 64-bit."""
    said = f"Python {'.'.join(map(str, version))}, {bits}-bit, on {machine}"
    if bits != 64:
        kernel = "; the kernel is 64-bit, the system on it is not" if "64" in machine else ""
        return Finding("python", False, f"{said}: 32-bit systems are not supported{kernel}; install a 64-bit system")
    if tuple(version[:2]) < MIN_PYTHON:
        return Finding("python", False, f"{said}: lokma needs Python {'.'.join(map(str, MIN_PYTHON))} or newer")
    return Finding("python", True, said)


def cpu(cpuinfo: str, name: str) -> Finding:
    """The processor, and whether it has the instructions that make int8 fast."""
    words = {key.strip(): value.split() for key, _, value in (line.partition(":") for line in cpuinfo.splitlines())}
    kind = "arm" if "Features" in words else "x86" if "flags" in words else None
    if kind is None:
        return Finding("cpu", None, f"{name}; the system does not list its features")
    listed = words["Features" if kind == "arm" else "flags"]
    core = _CORES.get(words.get("CPU part", [""])[0] if words.get("CPU part") else "")
    has = [f"{'has' if set(names) & set(listed) else 'no'} {called}" for names, called in _FEATURES[kind]]
    fast = set(listed) & {"asimddp", "i8mm", "avx512_vnni", "avx_vnni"}
    gain = "int8 gains most" if fast else "int8 may gain little over fp32: lokma tune measures it"
    return Finding("cpu", True, f"{name}{f' ({core})' if core else ''}: {', '.join(has)}; {gain}")


def memory(meminfo: str, total: int | None) -> Finding:
    """All, and what is free for a model."""
    free = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.MULTILINE)
    said = "the system does not say" if total is None else f"{total / 1e9:.1f} GB"
    if free is None:
        return Finding("memory", None, said)
    enough = int(free[1]) * 1024 >= LOW_MEMORY
    return Finding("memory", enough or None, f"{said}, {int(free[1]) / 1e6:.1f} GB free{'' if enough else ': little'}")


def gpu(said: str | None) -> Finding:
    """One line from `nvidia-smi -q`; the engines here run on the processor in any case."""
    if said is None:
        return Finding("gpu", None, "no NVIDIA driver here; the engines run on the processor")
    names = re.findall(r"Product Name\s*: (.+)", said)
    versions = [re.search(rf"{what} Version\s*: (\S+)", said) for what in ("Driver", "CUDA")]
    driver, cuda = (found[1] if found else "unknown" for found in versions)
    return Finding("gpu", None, f"{', '.join(names) or 'none answers'}; driver {driver}, CUDA {cuda}; not used here")


def throttling(said: str | None) -> Finding:
    """`vcgencmd get_throttled` of a Raspberry Pi in words."""
    found = re.fullmatch(r"throttled=0x([0-9a-fA-F]+)", said or "")
    if found is None:
        return Finding("throttling", None, "not known: there is no vcgencmd here, or it did not answer")
    bits = int(found[1], 16)
    words = [word for bit, word in enumerate(_THROTTLED) if bits >> bit & 1]
    since = [f"{word} at times since the start" for bit, word in enumerate(_THROTTLED) if bits >> bit + 16 & 1]
    advice = "; a stronger supply helps" if bits & 0x10001 else ""
    return Finding("throttling", None if bits else True, ("; ".join([*words, *since]) or "never") + advice)


def temperature(zones: dict[Path, str]) -> Finding:
    """The warmest of the thermal zones, which sysfs gives in thousandths of a degree."""
    degrees = [int(text) / 1000 for text in zones.values() if re.fullmatch(r"-?\d+", text)]
    if not degrees:
        return Finding("temperature", None, "the system does not say")
    warm = max(degrees)
    return Finding("temperature", warm < HOT_C or None, f"{warm:.1f} °C{'' if warm < HOT_C else ': cool it'}")


def engine(name: str, code: int, said: str, complaint: str) -> Finding:
    """What the process that tried an engine ended with: a SIGILL is an instruction that this processor lacks."""
    from edge_runtime.worker import killed_by

    lines = complaint.strip().splitlines() or ["it said nothing"]
    if code == 0:
        return Finding(name, True, said.strip())
    if code == -4 or code & 0xFFFFFFFF == 0xC000001D:  # SIGILL; Windows' STATUS_ILLEGAL_INSTRUCTION
        why = "ends with SIGILL here: its wheel uses instructions that this processor lacks"
        return Finding(name, False, f"{why}; {_instead(name)}")
    return Finding(name, False, f"does not run here: {killed_by(code) or lines[-1]}; {_instead(name)}")


def _instead(name: str) -> str:
    other = next(row[2] for key, row in engines.ENGINES.items() if key != name)
    return f"use {other} artifacts, or install another version"


def _engines() -> list[Finding]:
    found = []
    for name, (_, _, suffix, brings) in engines.ENGINES.items():
        if not engines.available(name):
            found.append(Finding(name, None, f"not installed, so no {suffix} runs here: {brings}"))
            continue
        found.append(tried(name))
    if any(entry.ok for entry in found):  # then another that does not run breaks nothing
        return [entry if entry.ok else replace(entry, ok=None) for entry in found]
    if all(entry.ok is None for entry in found):
        found.append(Finding("engines", False, "there is none, so nothing can run: pip install 'lokma[onnx]'"))
    return found


def tried(name: str) -> Finding:
    """Runs the example by an installed engine, in a process of its own."""
    command = [sys.executable, "-m", "edge_runtime.doctor", name]
    # the example in this installation is not what the user's signers are asked about
    environment = {key: value for key, value in os.environ.items() if key != signature.VARIABLE}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=PROBE_S, env=environment
        )
        return engine(name, done.returncode, done.stdout, done.stderr)
    except subprocess.TimeoutExpired:
        return Finding(name, False, f"did not answer within {PROBE_S} s")
    except OSError as error:
        return Finding(name, False, f"cannot be tried: {error.strerror or error}")


def _home() -> Finding:
    """Whether `LOKMA_HOME` can be written, and how much room is there."""
    try:
        home = store.home()
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
        free = shutil.disk_usage(home).free
    except (OSError, LokmaError) as error:
        why = f"cannot be written, so nothing can be installed or tuned; set LOKMA_HOME to a folder that can: {error}"
        return Finding("home", False, why)
    return Finding("home", free >= LOW_DISK or None, f"{home}, {free / 1e9:.1f} GB free on its disk")


def _tool(name: str, use: str) -> Finding:
    if shutil.which(name):
        return Finding(name, True, f"here, for {use}")
    return Finding(name, None, f"not here, so no {use}: on Debian and Raspberry Pi OS, apt install openssh-client")


def _said(*command: str) -> str | None:
    """What a tool of the system prints; None where it is not here or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def probe(name: str) -> str:
    """Runs the example bundle by one engine; what it says is that engine's line."""
    from edge_runtime import examples, load
    from edge_runtime.bundle import open_bundle

    path = examples.path("digits.zip")
    artifact = next(artifact.id for artifact in open_bundle(path).artifacts if artifact.engine == name)
    predictor = load(path, artifact)
    answer = predictor.predict(examples.path("seven.png"))
    if answer.label != "7":
        raise SystemExit(f"the example's seven came out as {answer.label}")
    versions = " ".join(predictor.session.versions.values())
    return f"{name} {versions} answers the example with {artifact}"


if __name__ == "__main__":
    sys.stdout.write(probe(sys.argv[1]))
