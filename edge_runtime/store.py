"""Where lokma keeps things on this machine.

`LOKMA_HOME` (default `~/.lokma`; not a cache folder, which anybody may empty) holds installed bundles,
what was measured here, downloads, and the hashes of files already checked. An installed bundle lies in
`bundles/NAME/VERSION/`; `bundles/NAME/active.json` says which version counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any

from edge_runtime.errors import BadBundle, BadRequest, Missing
from edge_runtime.frozen import frozen

ACTIVE = "active.json"
LOCK = ".lock"  # held by an install
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # of an installed bundle: it becomes a folder's name
MAX_REMEMBERED = 500
_SETTLED_NS = 2_000_000_000  # a file changed again within one tick of its file system's clock looks unchanged


def home() -> Path:
    """The device store: `$LOKMA_HOME`, else `~/.lokma`. It may not exist yet.

    Raises:
        Missing: this user has no home folder and `LOKMA_HOME` is not set.
    """
    try:
        return Path(os.environ.get("LOKMA_HOME") or "~/.lokma").expanduser()
    except RuntimeError as error:
        raise Missing("this user has no home folder; set LOKMA_HOME to one that can be written") from error


@frozen
class Installed:
    """Which version of a bundle counts here, and which one `--rollback` goes back to."""

    name: str
    active: int
    previous: int | None

    @property
    def folder(self) -> Path:
        """Where the active version lies."""
        return home() / "bundles" / self.name / str(self.active)


def installed(name: str) -> Installed | None:
    """What `lokma install` made active under this name, or None.

    Raises:
        BadBundle: the file that says so is damaged.
    """
    if not NAME.fullmatch(name):
        return None
    try:
        path = home() / "bundles" / name / ACTIVE
    except Missing:
        return None
    try:
        found = json.loads(path.read_bytes())
        state = Installed(name, found["active"], found["previous"])
        if type(state.active) is not int or type(state.previous) not in (int, type(None)):
            raise TypeError("a version is a whole number")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadBundle(f"{path} cannot be read ({error!r}); install {name} again") from error
    if not state.folder.exists():
        from edge_runtime.writing import locked, sweep

        # A kill may have fallen between the two renames of a repair. Whoever holds the lock clears up by itself,
        # and in another container its process would look ended from here and its work left over.
        with contextlib.suppress(OSError, BadRequest), locked(path.with_name(LOCK), "an install runs"):
            sweep(state.folder)
    return state


def installed_names() -> list[str]:
    """The names of the bundles that are installed here."""
    try:
        return sorted(path.parent.name for path in (home() / "bundles").glob(f"*/{ACTIVE}"))
    except Missing:
        return []


def sha256_of_bytes(data: bytes) -> str:
    """The SHA-256 of bytes, in hexadecimal."""
    import hashlib

    return hashlib.sha256(data).hexdigest()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    import hashlib

    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def remembered_sha256(path: Path) -> str:
    """The SHA-256 of a file, read again only if its path, inode, size or a time stamp changed since."""
    stat = path.stat()
    key = [str(path.resolve()), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    memory = _remembered()
    entry = memory.pop(str(key[0]), None)
    if isinstance(entry, list) and entry[:-1] == key:
        return str(entry[-1])
    digest = sha256_of(path)
    if time.time_ns() - stat.st_ctime_ns > _SETTLED_NS:
        _remember({**memory, str(key[0]): [*key, digest]})
    return digest


def _remembered() -> dict[str, Any]:
    try:
        memory = json.loads((home() / "seen.json").read_bytes())
    except (
        OSError,
        ValueError,
        RecursionError,
        Missing,
    ):  # no memory, or a damaged one: files are hashed again
        return {}
    return memory if isinstance(memory, dict) else {}


def _remember(memory: dict[str, Any]) -> None:
    newest = dict(list(memory.items())[-MAX_REMEMBERED:])
    with contextlib.suppress(OSError, Missing):  # a read-only home costs a hash at every start and nothing else
        from edge_runtime.writing import replace_file  # not every start writes

        home().mkdir(parents=True, exist_ok=True)
        replace_file(home() / "seen.json", json.dumps(newest).encode())
