"""A bundle as a `.zip`. A module of its own, because a start from a folder need not import zipfile.

>>> from edge_runtime import examples
>>> Zip(examples.path("digits.zip")).size("golden/0.png") < 1000
True
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from pathlib import Path

from edge_runtime.errors import BadBundle
from edge_runtime.source import MANIFEST, MAX_ENTRIES, bounded, safe

MAX_RATIO = 100  # weights hardly shrink in a .zip; what grows more than this and above 64 MB is a bomb
_ZIP_ERRORS = (  # what zipfile lets through from a damaged or hostile file
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


class Zip:
    """A bundle as a `.zip`; members are read into memory, nothing is unpacked to disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except _ZIP_ERRORS as error:
            problem = f"neither a folder nor a readable .zip ({error})"
            raise BadBundle(f"{path} is not a bundle: {problem}") from error
        if len(entries) > MAX_ENTRIES:
            raise BadBundle(f"{path} holds {len(entries)} files; a bundle has at most {MAX_ENTRIES}")
        for entry in entries:
            _check_entry(path, entry)
        self._sizes = {entry.filename: entry.file_size for entry in entries}
        if len(self._sizes) != len(entries):
            raise BadBundle(f"{path} holds a file twice")
        self._prefix = _prefix(path, list(self._sizes))

    def file(self, name: str) -> None:
        """None: nothing of a zip lies on disk."""

    def size(self, name: str) -> int:
        """The member's size in bytes, unpacked."""
        try:
            return self._sizes[self._prefix + safe(name)]
        except KeyError as error:
            raise BadBundle(f"{self.path} has no {name}; it is not a bundle, or not a whole one") from error

    def read(self, name: str, limit: int) -> bytes:
        """The whole member, refused above `limit` bytes."""
        if self.size(name) > limit:
            raise BadBundle(f"{name} unpacks to {self.size(name)} bytes; at most {limit} are read")
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self._prefix + name) as member:
                return bounded(member.read(limit + 1), name, limit)
        except _ZIP_ERRORS as error:
            raise BadBundle(f"{name} of {self.path} is damaged: {error}") from error


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    safe(entry.filename)
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise BadBundle(f"{entry.filename} of {path} is a link; a bundle holds plain files only")
    if entry.flag_bits & 1:
        raise BadBundle(f"{entry.filename} of {path} is encrypted; zip the bundle without a password")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadBundle(f"{entry.filename} of {path} is compressed in a way that is not read; use deflate")
    if entry.file_size > max(64 << 20, MAX_RATIO * entry.compress_size):
        sizes = f"{entry.compress_size} bytes that unpack to {entry.file_size}"
        raise BadBundle(f"{entry.filename} of {path} is a bomb: {sizes}")


def _prefix(path: Path, names: list[str]) -> str:
    """A zip made by right-clicking the folder holds everything one level down; both forms are read."""
    inside = [name for name in names if name.endswith("/" + MANIFEST) and name.count("/") == 1]
    if MANIFEST in names:
        return ""
    if len(inside) != 1:
        raise BadBundle(f"{path} has no {MANIFEST}; it is not a bundle, or not a whole one")
    return inside[0].removesuffix(MANIFEST)
