"""What the runtime is compared with: each script as a user would write it, started in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_runtime import worker
from edge_runtime.errors import EngineError

HERE = Path(__file__).parent


def first_line(command: Sequence[Any], environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Starts a program and waits for its first line.

    Args:
        command: of python's arguments: a script and its own, or `-c` and code.
        environment: variables beside this process's own.

    Returns:
        Nanoseconds from before the process was there until the line was read, and the line.

    Raises:
        EngineError: the program failed; the message is its own.
    """
    with tempfile.TemporaryFile() as said:
        began = time.monotonic_ns()
        child = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        assert child.stdout is not None
        line = child.stdout.readline()
        took = time.monotonic_ns() - began
        child.communicate()
        if child.returncode or not line:
            said.seek(0)
            words = said.read().decode(errors="replace").strip().splitlines()
            raise EngineError(f"{' '.join(map(str, command[:2]))} failed: {words[-1] if words else 'it said nothing'}")
    return took, line.strip()


def script(name: str, *arguments: Any) -> list[str]:
    """The command of a script of this folder."""
    return [str(HERE / f"{name}.py"), *map(str, arguments)]


def served(name: str, *arguments: Any) -> worker.Worker:
    """A script of this folder, kept running; its arguments are those after PICTURE."""
    return worker.Worker([sys.executable, "-m", "benchmarks.rivals.serve", name, *map(str, arguments)])
