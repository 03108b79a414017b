"""What a machine is prepared with before it is measured, and what it is: `edge_runtime.host` by its old name."""

from __future__ import annotations

import compileall
from pathlib import Path

import edge_runtime
from edge_runtime.host import busy, host

__all__ = ["as_installed", "busy", "host"]


def as_installed() -> None:
    """Compiles the runtime's modules to bytecode, as pip does with all that it installs.

    In a clone each start would do it where Python may not write (`PYTHONDONTWRITEBYTECODE`): 25 ms that no user waits.
    """
    compileall.compile_dir(Path(edge_runtime.__file__).parent, quiet=2)
