"""How lokma writes: a file or a folder whole, or not at all, whatever stops it; and one writer at a time.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as scratch:
...     with whole_folder(Path(scratch) / "one") as building:
...         _ = (building / "file").write_text("all of it")
...     (Path(scratch) / "one" / "file").read_text()
'all of it'
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from edge_runtime.errors import BadRequest

# what whole_folder builds and, with the last group, sets aside: the target's name, the process
LEFT = re.compile(r"\.(.+)\.([0-9]+)\.[a-z0-9_]{8}(\.old)?")


def replace_file(path: Path, data: bytes) -> None:
    """Writes a file, flushed to disk; what stood there stands until the new one is whole."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with fresh.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        fresh.replace(path)
        _flush_one(path.parent)
    finally:
        fresh.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Holds the lock file `path`, which the system frees when the process ends, however it ends.

    Raises:
        BadRequest: another process holds it (the message is `busy`), or it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("ab")
    except OSError as error:
        raise BadRequest(f"cannot write {path}: {error.strerror or error}") from error
    with handle:
        try:
            if os.name == "nt":
                import msvcrt

                handle.seek(0)
                msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
            else:
                import fcntl

                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise BadRequest(busy) from error
        except OSError as error:
            raise BadRequest(f"cannot lock {path}: {error.strerror or error}") from error
        yield


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
        sweep(target)
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


def sweep(target: Path) -> None:
    """Removes what a killed process left half built; brings back an old folder that it had set aside."""
    for stale in list(target.parent.iterdir()):
        left = LEFT.fullmatch(stale.name)
        if left is None or left[1] != target.name or not stale.is_dir() or _is_running(int(left[2])):
            continue
        if left[3] and not target.exists():
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
    if os.name == "nt":  # there neither a folder nor a file open for reading can be flushed
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
