"""On an emulated board: a child process that is Python runs in the emulation too.

The host's kernel does not start arm64 files by itself (no binfmt is registered), so qemu is put before the
command, below `subprocess`: Python imports this file at the start of every guest process.
"""

import _posixsubprocess
import os
import sys
from typing import Any

PYTHON = sys.executable  # which a test may replace
ROOT, CPU, QEMU = (os.environ[name] for name in ("QEMU_LD_PREFIX", "QEMU_CPU", "LOKMA_ARM_QEMU"))
start: Any = _posixsubprocess.fork_exec


def fork_exec(command: Any, executables: Any, *rest: Any) -> Any:
    """As `_posixsubprocess.fork_exec`."""
    if os.fsdecode(command[0]) == PYTHON:
        command, executables = [QEMU, "-L", ROOT, "-cpu", CPU, *command], (os.fsencode(QEMU),)
    return start(command, executables, *rest)


_posixsubprocess.fork_exec = fork_exec
