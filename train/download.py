"""Fetching an archive without trusting it: bounded in size and time, and no file leaves its folder."""

from __future__ import annotations

import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

from edge_runtime.errors import BadData, Missing

TIMEOUT_S = 30
MAX_ARCHIVE_BYTES = 200_000_000
MAX_UNPACKED_BYTES = 1_000_000_000
MAX_FILES = 100_000
_CHUNK = 1 << 20


def unpack_url(url: str, folder: Path) -> None:
    """Downloads a zip archive and unpacks it into `folder`.

    Raises:
        Missing: the server cannot be reached, or does not have it.
        BadData: it is not a zip file, is damaged or too large, or a member's path leaves the folder.
    """
    with tempfile.TemporaryFile(dir=folder.parent) as archive:
        _fetch(url, archive)
        unpack(archive, folder, url)


def unpack(archive: IO[bytes], folder: Path, name: str) -> None:
    """Unpacks an open zip file into `folder`; see `unpack_url`."""
    try:
        with zipfile.ZipFile(archive) as members:
            files = [member for member in members.infolist() if not member.is_dir()]
            _check(files, name)
            for member in files:
                target = folder.joinpath(*PurePosixPath(member.filename).parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with members.open(member) as source:
                    # the size that the directory of the archive states was checked; a lie ends here
                    target.write_bytes(source.read(member.file_size))
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadData(f"{name} is not a whole zip file: {error}") from error


def _check(files: list[zipfile.ZipInfo], name: str) -> None:
    if len(files) > MAX_FILES or sum(member.file_size for member in files) > MAX_UNPACKED_BYTES:
        raise BadData(f"{name} is too large: {len(files)} files (of {MAX_FILES}) or above {MAX_UNPACKED_BYTES} bytes")
    for member in files:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in member.filename:
            raise BadData(f"{name} has a member {member.filename!r} that would leave its folder")


def _fetch(url: str, target: IO[bytes]) -> None:
    size = 0
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            while chunk := response.read(_CHUNK):
                size += len(chunk)
                if size > MAX_ARCHIVE_BYTES:
                    raise BadData(f"{url} is larger than {MAX_ARCHIVE_BYTES} bytes; nothing was kept")
                target.write(chunk)
    except urllib.error.URLError as error:
        raise Missing(f"{url} cannot be fetched ({error.reason})") from error
    except (TimeoutError, ConnectionError) as error:
        raise Missing(f"{url} broke off after {size} bytes ({error})") from error
