"""Where a result comes from: the commit, the code that decides it, and the versions of the libraries.

>>> code_sha256("train.tasks") == code_sha256("train.tasks") != code_sha256("train.fit")
True
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import platform
import subprocess
from pathlib import Path

from edge_runtime.store import sha256_of

LIBRARIES = ("gymnasium", "numpy", "pillow", "scikit-learn", "torch")
GIT_TIMEOUT_S = 10


def commit() -> str | None:
    """The commit of the clone that this file lies in, with `-dirty` where tracked files differ from it.

    None outside a clone, before the first commit, or where git does not answer.
    """
    try:
        found = _git("rev-parse", "--verify", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{found}-dirty" if changed else found


def code_sha256(*modules: str) -> str:
    """One hash of the sources of modules, named as they are imported; none of them is imported for it."""
    return hashlib.sha256("".join(f"{sha256_of(_source(m))}  {m}\n" for m in sorted(modules)).encode()).hexdigest()


def room_modules() -> list[str]:
    """The modules of this room that may decide a result: all but the command line and the recipes."""
    return [f"train.{path.stem}" for path in Path(__file__).parent.glob("*.py") if path.stem not in ("__init__", "cli")]


def versions() -> dict[str, str | None]:
    """Python's version and those of the libraries that a result depends on; None for one that is not here."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "--no-optional-locks", *arguments],
        cwd=Path(__file__).parent, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=True,
    ).stdout.strip()  # fmt: skip


def _source(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin)
