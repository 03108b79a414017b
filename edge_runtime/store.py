"""Where lokma keeps things on this machine, and how it writes a folder: whole, or not at all.

`LOKMA_HOME` (default `~/.cache/lokma`) holds downloads, caches and the hashes of files already checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_runtime.errors import BadRequest, Missing

MAX_REMEMBERED = 500
_SETTLED_NS = 2_000_000_000  # a file changed again within one tick of its file system's clock looks unchanged


def home() -> Path:
    """The folder for downloads and caches: `$LOKMA_HOME`, else `~/.cache/lokma`. It may not exist yet.

    Raises:
        Missing: this user has no home folder and `LOKMA_HOME` is not set.
    """
    try:
        return Path(os.environ.get("LOKMA_HOME") or "~/.cache/lokma").expanduser()
    except RuntimeError as error:
        raise Missing("this user has no home folder; set LOKMA_HOME to one that can be written") from error


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Gives an empty folder to fill; at the end it becomes `target` by a rename, flushed to disk.

    After an error, Ctrl-C or a full disk nothing is left of it, and what stood at `target` still stands.
    After a kill the next call for the same `target` clears up.

    Raises:
        BadRequest: the folder cannot be made or written there (no permission, no space, a file of that name).
    """
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise BadRequest(f"cannot write the folder {target}: a file or a link of that name is there")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        building = Path(tempfile.mkdtemp(prefix=f".{target.name}.{os.getpid()}.", dir=target.parent))
    except OSError as error:
        raise BadRequest(f"cannot write beside {target}: {error.strerror or error}") from error
    try:
        yield building
        building.chmod(0o755)
        _flush(building)
        _put(building, target)
    except OSError as error:
        about = f" ({error.filename})" if error.filename else ""
        problem = f"{error.strerror or error}{about}"
        raise BadRequest(f"cannot write {target}: {problem}; nothing was changed there") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
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
        home().mkdir(parents=True, exist_ok=True)
        fresh = home() / f"seen.json.{os.getpid()}.{threading.get_ident()}"
        fresh.write_text(json.dumps(newest))
        fresh.replace(home() / "seen.json")


def _put(building: Path, target: Path) -> None:
    """Renames `building` to `target`; an older folder there steps aside first and is removed after."""
    if target.exists():
        aside = building.with_name(building.name + ".old")
        try:
            target.rename(aside)
            building.rename(target)
        finally:  # also where Ctrl-C falls between the two
            if aside.exists() and not target.exists():
                aside.rename(target)
            shutil.rmtree(aside, ignore_errors=True)
    else:
        building.rename(target)
    _flush_one(target.parent)


def _sweep(target: Path) -> None:
    """Removes what a killed process left half built; brings back an old folder that it had set aside."""
    ours = re.compile(rf"\.{re.escape(target.name)}\.([0-9]+)\.[a-z0-9_]{{8}}(\.old)?")
    for stale in list(target.parent.iterdir()):
        name = ours.fullmatch(stale.name)
        if name is None or not stale.is_dir() or _is_running(int(name[1])):
            continue
        if stale.suffix == ".old" and not target.exists():
            stale.rename(target)
        else:
            shutil.rmtree(stale, ignore_errors=True)


def _is_running(process: int) -> bool:
    if os.name == "nt":  # there signal 0 is Ctrl-C
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _flush(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        _flush_one(path)


def _flush_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
