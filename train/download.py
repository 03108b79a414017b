"""Fetching an archive without trusting it: bounded in size and time, and no file leaves its folder."""

from __future__ import annotations

import http.client
import struct
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from edge_runtime.errors import BadData, Missing

TIMEOUT_S = 30
MAX_ARCHIVE_BYTES = 200_000_000
MAX_UNPACKED_BYTES = 1_000_000_000
MAX_FILES = 100_000
_CHUNK = 1 << 20
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# what zipfile raises on damaged archives; the last three where an offset or a name is nonsense
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError),
    *(OSError, ValueError, OverflowError),
)


def unpack_url(url: str, folder: Path) -> None:
    """Downloads a zip archive and unpacks it into `folder`.

    Raises:
        Missing: the server cannot be reached, does not have it, or the connection breaks off.
        BadData: it is not a zip file, is damaged or too large, or a member's path leaves the folder.
    """
    with tempfile.TemporaryFile(dir=folder.parent) as archive:
        _fetch(url, archive)
        unpack(archive, folder, url)


def unpack(archive: IO[bytes], folder: Path, name: str) -> None:
    """Unpacks an open zip file into `folder`; see `unpack_url`."""
    for path, content in _members(archive, name):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _members(archive: IO[bytes], name: str) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The files of an archive. An error in writing them is not raised in here, so each error here is damage."""
    try:
        with zipfile.ZipFile(archive) as members:
            files = [member for member in members.infolist() if not member.is_dir()]
            _check(files, name)
            for member in files:
                with members.open(member) as source:
                    # the size that the directory of the archive states was checked; a lie ends here
                    yield PurePosixPath(member.filename), source.read(member.file_size)
    except DAMAGE as error:
        raise BadData(f"{name} is not a whole zip file: {error}") from error


def _check(files: list[zipfile.ZipInfo], name: str) -> None:
    if len(files) > MAX_FILES or sum(member.file_size for member in files) > MAX_UNPACKED_BYTES:
        raise BadData(f"{name} is too large: {len(files)} files (of {MAX_FILES}) or above {MAX_UNPACKED_BYTES} bytes")
    for member in files:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if not path.parts or path.is_absolute() or ".." in path.parts or ":" in member.filename:
            raise BadData(f"{name} has a member {member.filename!r} that would leave its folder")
        if member.compress_type not in PACKED:
            raise BadData(f"{name} has a member {member.filename!r} that is neither stored nor deflated")


def _fetch(url: str, target: IO[bytes]) -> None:
    size = 0
    for chunk in _chunks(url):
        size += len(chunk)
        if size > MAX_ARCHIVE_BYTES:
            raise BadData(f"{url} is larger than {MAX_ARCHIVE_BYTES} bytes; nothing was kept")
        target.write(chunk)


def _chunks(url: str) -> Iterator[bytes]:
    """What the server sends. An error in keeping it is not raised in here, so each error here is the network's."""
    size = 0
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            while chunk := response.read(_CHUNK):
                size += len(chunk)
                yield chunk
            if missing := getattr(response, "length", None):  # http.client takes a body cut short for its end
                raise http.client.IncompleteRead(b"", missing)
    except urllib.error.URLError as error:
        raise Missing(f"{url} cannot be fetched ({error.reason})") from error
    except (OSError, http.client.HTTPException) as error:
        raise Missing(f"{url} broke off after {size} bytes ({error})") from error
