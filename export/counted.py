"""On an emulated board: runs one artifact several times, with a mark between that `blocks.c` sees.

`python counted.py ENGINE FILE INPUT RUNS SECONDS`; INPUT is a file of the first input tensor's bytes, and the kernel
ends the process after so many seconds of processor time, however busy the machine is.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from pathlib import Path

from edge_runtime.engines import open_session
from edge_runtime.spec import ModelSpec

MARK = 0x51570000


def mark(number: int) -> None:
    """A system call that does nothing: there is no such process."""
    with contextlib.suppress(ProcessLookupError):
        os.getpriority(os.PRIO_PROCESS, MARK | number)


def main(engine: str, file: str, given: str, runs: str, seconds: str) -> None:
    """Runs once to warm up, then `runs` times; mark N ends run N."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
    spec = ModelSpec.from_dict(open_session(engine, Path(file), 1).embedded_spec())
    session = open_session(engine, Path(file), 1, spec.inputs, spec.outputs)
    inputs = {spec.inputs[0].name: Path(given).read_bytes()}
    session.run(inputs)
    mark(0)
    for number in range(1, int(runs) + 1):
        session.run(inputs)
        mark(number)


if __name__ == "__main__":
    main(*sys.argv[1:])
