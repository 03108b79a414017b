"""What `lokma tune` chose for a bundle on this device, as `load` reads it: one small file, named by what it is true of.

The name is a hash over the processor, the engines' versions and the artifacts' hashes, so that a choice is void, by
not being found, as soon as one of them changes. An update of the system's kernel leaves it standing.
"""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

from edge_runtime import engines, store
from edge_runtime.bundle import Bundle
from edge_runtime.errors import BadRequest, Missing
from edge_runtime.frozen import frozen
from edge_runtime.host import host, usable_cores


@frozen
class Choice:
    """The artifact to load, and the threads to run it with."""

    artifact: str
    threads: int


def remembered(bundle: Bundle) -> Choice | None:
    """What was chosen for this bundle on this device as it now is; None where nothing was."""
    found = evidence(bundle)
    if found is None:
        return None
    artifact, threads = found["choice"].get("artifact"), found["choice"].get("threads")
    known = [entry.id for entry in bundle.artifacts if engines.available(entry.engine)]
    # a container or taskset may leave this process fewer cores than tune had
    if artifact not in known or type(threads) is not int or not 1 <= threads <= usable_cores():
        return None
    return Choice(artifact, threads)


def evidence(bundle: Bundle) -> dict[str, Any] | None:
    """The whole record that `tune` wrote; None where there is none, or a damaged one."""
    try:
        folder = _folder()
        if not folder.is_dir():
            return None
        found = json.loads((folder / _name(identity(bundle))).read_bytes())
    except (OSError, ValueError, RecursionError, Missing):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("choice"), dict) else None


def remember(bundle: Bundle, found: dict[str, Any]) -> None:
    """Writes a record whole or not at all.

    Raises:
        BadRequest: `LOKMA_HOME` cannot be written.
    """
    from edge_runtime.writing import replace_file

    folder = _folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / _name(identity(bundle)), json.dumps(found, indent=1).encode())
    except OSError as error:
        raise BadRequest(f"cannot remember the choice in {folder}: {error.strerror or error}") from error


def identity(bundle: Bundle) -> dict[str, Any]:
    """All that a choice depends on: the machine, the engines' versions, the artifacts' hashes."""
    wanted = sorted({artifact.engine for artifact in bundle.artifacts})
    return {
        "host": host(),
        "versions": {engine: engine_version(engine) for engine in wanted},
        "artifacts": {artifact.id: artifact.sha256 for artifact in bundle.artifacts},
    }


def engine_version(engine: str) -> str | None:
    """An engine's version, without importing it; None where it is not installed here."""
    if not engines.available(engine):
        return None
    module, needs, _, _ = engines.ENGINES[engine]
    if needs is None:
        return str(importlib.import_module(module).EXECUTORCH)
    from importlib.util import find_spec

    found = find_spec(needs)
    assert found is not None and found.origin is not None  # as `available` saw
    # importlib.metadata would do too, but takes longer to import than all of this
    said = re.search(r"^__version__ = [\"']([^\"']+)", Path(found.origin).read_text(errors="replace"), re.MULTILINE)
    return said[1] if said else f"of {Path(found.origin).stat().st_mtime_ns}"


def _name(parts: dict[str, Any]) -> str:
    # not the fingerprint: it holds the kernel's release; nor the memory: how much there is, is less what a kernel keeps
    kept = {**parts, "host": {key: parts["host"][key] for key in ("cpu", "machine", "cores")}}
    return store.sha256_of_bytes(json.dumps(kept, sort_keys=True).encode()) + ".json"


def _folder() -> Path:
    return store.home() / "tuned"
