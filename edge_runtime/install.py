"""The device store: a bundle is copied, checked and tuned here, and then made active by one atomic switch.

A kill at any moment leaves the version active that was; the next install clears up what the killed one
left. The version before stays for `rollback`, older ones are removed. `load("NAME")` opens the active one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime import store
from edge_runtime.bundle import SIGNATURE, Bundle, open_bundle
from edge_runtime.check import open_whole
from edge_runtime.errors import BadBundle, BadInput, BadRequest, GateFailed, LokmaError
from edge_runtime.store import Installed
from edge_runtime.writing import LEFT, locked, replace_file, whole_folder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What an install did. `changed` is False where this very bundle was active and whole already."""

    installed: Installed
    changed: bool
    checks: list[dict[str, Any]]
    tuned: str


def install(path: str | Path, *, tune: bool = True) -> Outcome:
    """Installs a bundle: copies it, hashes every file, checks its golden cases here, tunes, activates.

    Args:
        path: a bundle folder or its `.zip`.
        tune: measure which artifact is fastest here (`lokma tune`); one that cannot be tuned is
            installed all the same.

    Raises:
        BadInput: nothing is at `path`, or a bare artifact.
        BadBundle: it is damaged, unsafe, too new, or not signed where a signature is asked for.
        BadRequest: a newer version is active, this one is here with other artifacts, another install runs,
            or the store cannot be written.
        GateFailed: its check failed here.
    """
    bundle = open_whole(path)
    if not store.NAME.fullmatch(bundle.name) or bundle.version < 0:
        what = f"the name {bundle.name!r} and version {bundle.version}"
        raise BadBundle(f"{path} has {what}; to be installed it needs one of letters, digits, . _ - and none below 0")
    with _lock(bundle.name) as folder:
        before = _before(bundle.name)
        if before is not None:
            _clear(folder, before)
            _refuse_older(bundle, before)
            here = bundle.version in (before.active, before.previous)
            if here and _is_standing(bundle, folder / str(bundle.version)) and bundle.version == before.active:
                return Outcome(before, False, [], "")
        target = folder / str(bundle.version)
        log.info("copying and checking %s %d", bundle.name, bundle.version)
        with whole_folder(target) as building:
            _copy(bundle, building)
            report = _checked(building, path)
        tuned = _tuned(target) if tune else "not asked for"
        after = Installed(bundle.name, bundle.version, None)
        if before is not None:
            repaired = bundle.version == before.active
            after = Installed(bundle.name, bundle.version, before.previous if repaired else before.active)
        _activate(folder, after)
        _clear(folder, after)
        return Outcome(after, True, report["checks"], tuned)


def rollback(name: str) -> Installed:
    """Makes the version before active again; a second rollback undoes the first.

    Raises:
        BadRequest: nothing of that name is installed, or no version before it.
        BadBundle: the version before is damaged.
    """
    if store.installed(name) is None:
        here = ", ".join(store.installed_names()) or "none"
        raise BadRequest(f"no bundle {name!r} is installed here; there are: {here}")
    with _lock(name) as folder:
        now = store.installed(name)
        if now is None or now.previous is None:
            raise BadRequest(f"{name} has no version before the active one here, so there is nothing to go back to")
        open_bundle(folder / str(now.previous)).verify()
        after = Installed(name, now.previous, now.active)
        _activate(folder, after)
        return after


@contextlib.contextmanager
def _lock(name: str) -> Iterator[Path]:
    folder = store.home() / "bundles" / name
    with locked(folder / store.LOCK, f"another lokma is installing {name} here; try again when it has ended"):
        yield folder


def _before(name: str) -> Installed | None:
    try:
        return store.installed(name)
    except BadBundle as error:
        log.warning("%s", error)  # this install is the mending
        return None


def _refuse_older(bundle: Bundle, now: Installed) -> None:
    if bundle.version < now.active:
        older = f"{bundle.name} {bundle.version} is older than {now.active}, which is active here"
        before = "nothing" if now.previous is None else now.previous
        raise BadRequest(f"{older}; `lokma install --rollback {bundle.name}` goes back to what was before it: {before}")


def _is_standing(bundle: Bundle, folder: Path) -> bool:
    """Whether the installed copy of this version is this bundle to the byte. A damaged one is written again."""
    try:
        standing = open_bundle(folder)
        standing.verify()  # first: a damaged manifest has other hashes too
    except (BadBundle, BadInput) as error:
        log.warning("the installed copy is replaced: %s", error)
        return False
    if {one.id: one.sha256 for one in standing.artifacts} != {one.id: one.sha256 for one in bundle.artifacts}:
        raise BadRequest(
            f"{bundle.name} {bundle.version} is installed here with other artifacts than "
            f"{bundle.source.path} has; export it again under a higher version"
        )
    signed = _signature(bundle)
    return standing.manifest == bundle.manifest and (signed is None or signed == _signature(standing))


def _signature(bundle: Bundle) -> bytes | None:
    limit = bundle.files().get(SIGNATURE)
    return None if limit is None else bundle.source.read(SIGNATURE, limit)


def _copy(bundle: Bundle, folder: Path) -> None:
    for name, limit in bundle.files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bundle.source.read(name, limit))
    try:
        copied = open_bundle(folder)
        copied.verify()
    except BadBundle as error:  # what was given is wrong; the copy is gone when this is read
        raise BadBundle(str(error).replace(str(folder), str(bundle.source.path))) from error
    if copied.manifest != bundle.manifest:
        raise BadBundle(f"{bundle.source.path} changed while it was copied; install it again")


def _checked(folder: Path, path: str | Path) -> dict[str, Any]:
    from edge_runtime.check import check

    report = check(folder)
    if not report["ok"]:
        failed = [f"{entry['name']}: {entry['detail']}" for entry in report["checks"] if entry["ok"] is False]
        raise GateFailed(f"{path} failed the check here and was not installed: {failed[0]}")
    return report


def _tuned(folder: Path) -> str:
    from edge_runtime.tune import tune

    try:
        choice = tune(folder)
    except (LokmaError, OSError) as error:  # OSError: a full disk of temporary files
        return f"not tuned: {error}"
    busy = any(flag.startswith("other work") for flag in choice.evidence["flags"])
    again = ", on a busy machine: tune again when idle" if busy else ""
    return f"{choice.artifact}, threads {choice.threads}{again}"


def _activate(folder: Path, state: Installed) -> None:
    data = json.dumps({"active": state.active, "previous": state.previous}).encode()
    try:
        replace_file(folder / store.ACTIVE, data)
    except OSError as error:
        raise BadRequest(f"cannot write {folder / store.ACTIVE}: {error.strerror or error}; nothing changed") from error


def _clear(folder: Path, state: Installed) -> None:
    """Removes older versions and what a killed install left; the caller holds the lock."""
    keep = {str(state.active), str(state.previous)}
    for entry in list(folder.iterdir()):
        left = LEFT.fullmatch(entry.name)
        if left and left[3] and left[1] in keep and not (folder / left[1]).exists():
            entry.rename(folder / left[1])
        elif left or (re.fullmatch("[0-9]+", entry.name) and entry.name not in keep):
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name.startswith(f"{store.ACTIVE}."):
            entry.unlink(missing_ok=True)
