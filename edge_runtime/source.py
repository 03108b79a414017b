"""Where a bundle's files lie: in a folder (here) or in a `.zip` (`zipped.py`). No name of a stranger's leaves them.

>>> safe("../escape")
Traceback (most recent call last):
edge_runtime.errors.BadBundle: the bundle names the file '../escape'; only plain names inside the bundle are read
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from edge_runtime.errors import BadBundle
from edge_runtime.spec import is_text

MANIFEST = "manifest.json"
MAX_ENTRIES = 1000


class Source(Protocol):
    """Where a bundle's files lie. `read` never returns more than `limit` bytes: it refuses instead."""

    path: Path

    def size(self, name: str) -> int:
        """The file's size in bytes."""

    def read(self, name: str, limit: int) -> bytes:
        """The whole file."""

    def file(self, name: str) -> Path | None:
        """Where the file lies on disk, or None inside a zip."""


def safe(name: Any) -> str:
    """Refuses a file name that could leave the bundle."""
    if is_text(name):
        path = PurePosixPath(name)
        if not path.is_absolute() and ".." not in path.parts and "\\" not in name and ":" not in name:
            return str(name)
    raise BadBundle(f"the bundle names the file {name!r}; only plain names inside the bundle are read")


class Folder:
    """A bundle as a folder. Links that lead out of it are refused."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = path.resolve()

    def file(self, name: str) -> Path:
        """Where the file lies on disk."""
        try:
            found = (self._root / safe(name)).resolve()
            if not found.is_relative_to(self._root):
                raise BadBundle(f"{name} of {self.path} is a link out of the bundle")
            if not found.is_file():
                raise BadBundle(f"{self.path} has no {name}; it is not a bundle, or not a whole one")
        except (OSError, RuntimeError) as error:  # RuntimeError: a circle of links
            raise BadBundle(f"{name} of {self.path} cannot be read: {error}") from error
        return found

    def size(self, name: str) -> int:
        """The file's size in bytes."""
        return self.file(name).stat().st_size

    def read(self, name: str, limit: int) -> bytes:
        """The whole file, refused above `limit` bytes."""
        try:
            with self.file(name).open("rb") as handle:
                return bounded(handle.read(limit + 1), name, limit)
        except OSError as error:
            raise BadBundle(f"{name} of {self.path} cannot be read: {error.strerror or error}") from error


def bounded(data: bytes, name: str, limit: int) -> bytes:
    """Refuses more than `limit` bytes."""
    if len(data) > limit:
        raise BadBundle(f"{name} is larger than the {limit} bytes that are read")
    return data
