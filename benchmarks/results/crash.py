"""Appends from processes that are killed at random moments: nothing acknowledged is lost, nothing torn swallows.

`python -m benchmarks.results crash` runs 10,000 appends from 8 processes; the tests run a small number.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import results
from benchmarks.results import compact

# Appends records until it is killed, and says each id only once it is on disk. Every third is large, so that a
# kill can come in the middle of a write.
CHILD = """
import sys
from pathlib import Path
from benchmarks import results
path, sizes = Path(sys.argv[1]), (5, 5, 100_000)
for number in range(int(sys.argv[2])):
    whole = results.record(kind="study", bundle={}, artifact={}, target="device", host={}, scenario={},
                           latency_ns=[123456789] * sizes[number % 3], validity={"valid": True})
    results.append([whole], path)
    sys.stdout.write(whole["id"] + "\\n")
    sys.stdout.flush()
"""


@dataclass(frozen=True)
class Crashed:
    """What came of it."""

    appends: int
    killed: int
    lost: int
    unacknowledged: int
    dropped: int
    compactions: int

    @property
    def holds(self) -> bool:
        """Nothing acknowledged was lost, and no more lines were torn than processes were killed."""
        return self.lost == 0 and self.dropped <= self.killed

    def __str__(self) -> str:
        return (
            f"{self.appends} acknowledged appends, {self.killed} kills, {self.compactions} compactions meanwhile: "
            f"{self.lost} lost, {self.unacknowledged} more written than acknowledged, {self.dropped} torn lines dropped"
        )


def crash(appends: int, processes: int, seed: int = 0, compacting: bool = False) -> Crashed:
    """Runs writers on one file and kills them at random moments until enough appends were acknowledged.

    Args:
        appends: acknowledged ones.
        processes: at once.
        seed: of the moments.
        compacting: compact the folder again and again meanwhile (not killed).
    """
    draw = random.Random(seed)
    acknowledged: list[str] = []
    killed = compactions = 0
    with tempfile.TemporaryDirectory(prefix="lokma-crash-") as scratch:
        path = Path(scratch) / "records" / "a.jsonl"
        while len(acknowledged) < appends:
            each = min(200, max(1, (appends - len(acknowledged)) // processes + 1))
            said = [Path(scratch) / f"said-{number}" for number in range(processes)]
            doomed = processes // 2
            with contextlib.ExitStack() as opened:
                children = [
                    subprocess.Popen(
                        [sys.executable, "-c", CHILD, str(path), str(10**6 if number < doomed else each)],
                        stdout=opened.enter_context(said[number].open("wb")),
                    )
                    for number in range(processes)
                ]
                for child, file in zip(children[:doomed], said, strict=False):
                    while child.poll() is None and not file.stat().st_size:
                        time.sleep(0.01)
                    if compacting:
                        compact.compact(path.parent)
                        compactions += 1
                    time.sleep(draw.uniform(0, 0.3))
                    killed += child.poll() is None
                    child.kill()
                for child in children:
                    child.wait()
            acknowledged += [line for p in said for line in p.read_text().split("\n")[:-1]]
        found = results.read(path.parent)
    there = {entry["id"] for entry in found.records}
    lost = len(set(acknowledged) - there)
    return Crashed(len(acknowledged), killed, lost, len(there - set(acknowledged)), found.dropped, compactions)
