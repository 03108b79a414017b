"""Guest instructions and modelled cycles of one inference on emulated Raspberry Pis: int8 against fp32, as ratios.

qemu executes a Pi's real instructions, and a plugin (`blocks.c`) counts them; how long they take, only a model of
the processor says: llvm-mca, whose caches never miss and whose branches are always guessed. Neither is a latency.
On a Pi 3 or 4, whose int8 kernels need as many instructions as the float ones, the two disagree: both are given.

>>> instructions(Path("bundles/foodvision-mini"), manifest, ["pi5"])                            # doctest: +SKIP
>>> manifest["artifacts"][2]["instructions"]["pi5"]["ratio_to_fp32"]                            # doctest: +SKIP
0.503
"""

from __future__ import annotations

import logging
import re
import shutil
import signal
import subprocess
import tempfile
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edge_runtime.errors import Missing
from edge_runtime.host import usable_cores
from edge_runtime.spec import DTYPES
from export import boards as emulated

log = logging.getLogger(__name__)
RUNS = 5  # counts repeat to a few thousandths; the median leaves out the interpreter's odd errand
LIMIT_S = 120  # of processor time, a board and artifact: float multiplications are emulated one by one
HERE = Path(__file__).resolve().parent
# qemu's processor: LLVM's model of it. Its cortex-a76 is a copy of the A57's; the Neoverse N1 has the A76's core.
MODELS = {"cortex-a53": "cortex-a53", "cortex-a72": "cortex-a72", "cortex-a76": "neoverse-n1"}
ASSEMBLER, ANALYSER = "llvm-mc-19", "llvm-mca-19"  # 14 and 16 model the Neoverse N1 as an A57
FEATURES = "+v8.2a,+dotprod,+fullfp16,+lse,+crc,+aes"
COVERED = 0.97  # of the instructions; the rest is spread over thousands of blocks
ITERATIONS = 100

Blocks = Mapping[tuple[str, ...], int]  # a block's instructions, eight hexadecimal digits each: how often it ran


def instructions(folder: Path, manifest: dict[str, Any], boards: Sequence[str] = tuple(emulated.BOARDS)) -> None:
    """Fills `artifact["instructions"]`: for each board `instructions`, `cycles` and both ratios to fp32, or why not.

    Args:
        folder: the bundle, or one that is being made: artifacts and golden cases are read.
        manifest: changed in place.
        boards: keys of `export.boards.BOARDS`.

    Raises:
        Missing: a board cannot be emulated here, or the plugin not be compiled.
        BadRequest: another process is at work on the boards.
    """
    with (
        emulated.alone(),
        tempfile.TemporaryDirectory() as scratch,
        ThreadPoolExecutor(usable_cores()) as pool,
    ):
        emulated.prepare()
        plugin, given = _compiled(Path(scratch)), Path(scratch) / "input"
        given.write_bytes(golden_tensor(folder, manifest))
        cells = [(artifact, board) for artifact in manifest["artifacts"] for board in boards]
        rows = pool.map(lambda cell: _row(plugin, folder, cell[0], given, cell[1]), cells)
        for artifact in manifest["artifacts"]:
            artifact["instructions"] = {}
        for (artifact, board), row in zip(cells, rows, strict=True):
            artifact["instructions"][board] = row
    for artifact in manifest["artifacts"]:
        for board, row in artifact["instructions"].items():
            row |= ratios(row, _fp32(artifact, manifest, board))


def ratios(row: Mapping[str, Any], base: Mapping[str, Any] | None) -> dict[str, float | None]:
    """Both ratios of a row to that of fp32 on the same board and engine; None where one of the two is not known.

    >>> ratios({"instructions": 60, "cycles": None}, {"instructions": 100, "cycles": 50})
    {'ratio_to_fp32': 0.6, 'cycles_ratio_to_fp32': None}
    """
    base = base or {}

    def of(key: str) -> float | None:
        return round(row[key] / base[key], 3) if row.get(key) and base.get(key) else None

    return {"ratio_to_fp32": of("instructions"), "cycles_ratio_to_fp32": of("cycles")}


def runs_of(text: str) -> list[Blocks]:
    """What the plugin wrote, a run at a time; a last one that was cut off is dropped.

    >>> runs_of("3 d503201f d65f03c0\\nEND 1\\n2 d503")
    [Counter({('d503201f', 'd65f03c0'): 3})]
    """
    runs: list[Blocks] = []
    *whole, _ = re.split(r"^END \d+\n", text, flags=re.MULTILINE)
    for part in whole:
        blocks = Counter[tuple[str, ...]]()
        for line in part.splitlines():
            count, *words = line.split()
            blocks[tuple(words)] += int(count)
        runs.append(blocks)
    return runs


def length(blocks: Blocks) -> int:
    """The instructions of a run."""
    return sum(len(words) * count for words, count in blocks.items())


def cycles(blocks: Blocks, cpu: str) -> tuple[int | None, str | None]:
    """The cycles that llvm-mca's model of a processor needs for a run, or None and why.

    Args:
        blocks: a run.
        cpu: qemu's name of the processor.
    """
    if lacks := [tool for tool in (ASSEMBLER, ANALYSER) if not shutil.which(tool)]:
        return None, f"{' and '.join(lacks)} is not installed; on Debian: apt install llvm-19"
    total, chosen, covered = length(blocks), [], 0
    for words, count in sorted(blocks.items(), key=lambda item: -len(item[0]) * item[1]):
        if covered >= COVERED * total:
            break
        chosen.append((words, count))
        covered += len(words) * count
    text = _disassembled([word for words, _ in chosen for word in words])
    if text is None:
        return None, f"{ASSEMBLER} does not know an instruction that ran"
    source, at = [], 0
    for number, (words, _) in enumerate(chosen):
        source += [f"# LLVM-MCA-BEGIN {number}", *text[at : at + len(words)], "# LLVM-MCA-END"]
        at += len(words)
    command = [ANALYSER, "-mtriple=aarch64", f"-mcpu={MODELS[cpu]}", f"-mattr={FEATURES}"]
    command += [f"-iterations={ITERATIONS}", "-instruction-info=0", "-resource-pressure=0"]
    command += ["-skip-unsupported-instructions=lack-sched"]
    done = subprocess.run(command, input="\n".join(source), capture_output=True, text=True)
    spent = [int(number) for number in re.findall(r"Total Cycles:\s+(\d+)", done.stdout)]
    if len(spent) != len(chosen):
        return None, f"{ANALYSER} cannot model a block that ran for {MODELS[cpu]}"
    modelled = sum(count * each / ITERATIONS for (_, count), each in zip(chosen, spent, strict=True))
    return round(modelled * total / covered), None


def golden_tensor(folder: Path, manifest: Mapping[str, Any]) -> bytes:
    """The bytes of the first golden case's input tensor, batch size 1."""
    from PIL import Image

    case = manifest["golden"][0]
    if "input" in case:
        return array(DTYPES[manifest["spec"]["inputs"][0]["dtype"]][0], case["input"]).tobytes()
    with Image.open(folder / case["tensor"]["file"]) as picture:
        return picture.convert("RGB").tobytes()


def _row(plugin: Path, folder: Path, artifact: Mapping[str, Any], given: Path, board: str) -> dict[str, Any]:
    """One artifact on one board: its median run, without the ratios."""
    cpu = emulated.BOARDS[board].cpu
    runs, why = _counted(plugin, folder / artifact["file"], artifact["engine"], given, board)
    if not runs:
        log.warning("%s on %s: instructions are not counted: %s", artifact["id"], board, why)
        return {"cpu": cpu, "n": 0, "instructions": None, "cycles": None, "reason": why, "cycles_reason": why}
    median = sorted(runs, key=length)[len(runs) // 2]
    modelled, unmodelled = cycles(median, cpu)
    row = {"cpu": cpu, "n": len(runs), "instructions": length(median), "cycles": modelled}
    return {**row, "reason": None, "cycles_reason": unmodelled}


def _counted(plugin: Path, file: Path, engine: str, given: Path, board: str) -> tuple[list[Blocks], str]:
    """The runs that fitted into the time limit, and why there are none where there are none."""
    out = given.with_name(f"{file.name}.{board}")
    environment = {"QEMU_PLUGIN": f"{plugin},out={out}"}
    command = [HERE / "counted.py", engine, file.resolve(), given, RUNS, LIMIT_S]
    done = emulated.run(board, command, env=environment, capture_output=True, text=True)
    why = (done.stderr.strip().splitlines() or [f"qemu ended with {done.returncode} and said nothing"])[-1]
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        why = f"the load and two inferences took more than {LIMIT_S} s in the emulation"
    return (runs_of(out.read_text()) if out.exists() else []), why


def _compiled(into: Path) -> Path:
    """The plugin."""
    plugin = into / "blocks.so"
    if not shutil.which("gcc"):
        raise Missing("counting instructions needs gcc, which is not installed; on Debian: apt install gcc")
    command = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(plugin), str(HERE / "blocks.c")]
    if subprocess.run(command).returncode:
        raise Missing("gcc cannot compile export/blocks.c; what it says stands above")
    return plugin


def _disassembled(words: Sequence[str]) -> list[str] | None:
    """One line of assembly an instruction; None where one is unknown."""
    octets = "\n".join(" ".join(f"0x{word[at : at + 2]}" for at in (6, 4, 2, 0)) for word in words)
    command = [ASSEMBLER, "--disassemble", "-triple=aarch64", f"-mattr={FEATURES},+sve"]
    said = subprocess.run(command, input=octets, capture_output=True, text=True).stdout
    lines = [line.strip() for line in said.splitlines()]
    text = [line for line in lines if line and not line.startswith(".text")]
    return text if len(text) == len(words) else None


def _fp32(artifact: Mapping[str, Any], manifest: Mapping[str, Any], board: str) -> Mapping[str, Any] | None:
    """What was counted of the fp32 artifact of the same engine; None where there is none."""
    for other in manifest["artifacts"]:
        if other["engine"] == artifact["engine"] and other["precision"] == "fp32":
            return dict(other["instructions"][board])
    return None
