"""The three Raspberry Pis that lokma promises: what each one's kernel says of its processor.

qemu shows a guest these files in place of the host's. They and qemu's `-cpu` must be of one kind: libraries
choose their kernels by both, and onnxruntime does not start where it finds an x86 processor's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

OLD = "fp asimd evtstrm crc32 cpuid"
NEW = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"


@dataclass(frozen=True)
class Board:
    """`cpu` is qemu's name for it; `cores` are those that share one second-level cache."""

    model: str
    cpu: str
    part: str
    variant: str
    revision: int
    features: str
    mhz: tuple[int, int]
    cache: str
    cores: str


BOARDS = {  # the Zero 2 W has the Pi 3's die
    "pi3": Board("Raspberry Pi 3 Model B Rev 1.2", "cortex-a53", "0xd03", "0x0", 4, OLD, (600, 1200), "512K", "0-3"),
    "pi4": Board("Raspberry Pi 4 Model B Rev 1.4", "cortex-a72", "0xd08", "0x0", 3, OLD, (600, 1800), "1024K", "0-3"),
    "pi5": Board("Raspberry Pi 5 Model B Rev 1.0", "cortex-a76", "0xd0b", "0x4", 1, NEW, (1500, 2400), "512K", ""),
}


def write_files(board: Board, root: Path) -> None:
    """Writes the files under `root` that libraries read (strace shows them), and the device tree's model."""
    system = "sys/devices/system/cpu"
    files = {"proc/device-tree/model": f"{board.model}\0", f"{system}/kernel_max": "7\n"}
    files |= {f"{system}/{name}": "0-3\n" for name in ("online", "possible", "present")}
    described = ""
    for core in range(4):
        lines: dict[str, object] = {
            "processor": core,
            "BogoMIPS": "108.00",
            "Features": board.features,
            "CPU implementer": "0x41",
        }
        lines |= {"CPU architecture": 8, "CPU variant": board.variant, "CPU part": board.part}
        lines |= {"CPU revision": board.revision}
        described += "".join(f"{name}\t: {value}\n" for name, value in lines.items()) + "\n"
        here: dict[str, object] = {
            f"cpufreq/cpuinfo_{name}_freq": mhz * 1000 for name, mhz in zip(("min", "max"), board.mhz, strict=True)
        }
        here |= {"topology/physical_package_id": 0, "topology/cluster_cpus_list": "0-3"}
        here |= {"cache/index2/level": 2, "cache/index2/size": board.cache}
        here |= {"cache/index2/shared_cpu_list": board.cores or core}
        files |= {f"{system}/cpu{core}/{name}": f"{value}\n" for name, value in here.items()}
    files["proc/cpuinfo"] = f"{described}Model\t\t: {board.model}\n"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
