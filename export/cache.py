"""What was lowered before, under a key of everything that decides the result: `LOKMA_HOME/exports/KEY.npz`.

A changed list of recipes then lowers only what is new. An entry is plain arrays and JSON, and never a pickle; one
that cannot be read, or a store that cannot be written, costs lowering again and nothing else.

>>> put("0" * 64, pack(Lowered(b"file", {"quantization": None})))                       # doctest: +SKIP
>>> get("0" * 64).data                                                                  # doctest: +SKIP
b'file'
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.errors import Missing
from edge_runtime.host import host
from edge_runtime.store import home, sha256_of
from edge_runtime.writing import replace_file
from export.lowering import TOOLS
from export.recipes import Job, Lowered

MAX_BYTES = 2 << 30  # of all entries; those that were not asked for the longest go first
_ROOMS = Path(__file__).parent.parent
CODE = ("export/*.py", "edge_runtime/*.py", "edge_runtime/engines/*.py", "edge_runtime/native.cpp", "train/fit.py")
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, Missing)


def key_of(name: str, job: Job) -> str:
    """Changes when anything does that the recipe's result depends on, and with the machine, whose times it holds."""
    from export.fold import program_of
    from export.program import program_hash

    parts = {
        "recipe": name,
        "model": program_hash(program_of(job.model, job.spec)),
        "spec": job.spec.to_dict(),
        "inputs": [hashlib.sha256(given.numpy().tobytes()).hexdigest() for given in (job.calibration, job.probe)],
        "in_float": sorted(job.in_float),
        "tools": {tool: importlib.metadata.version(tool) for tool in TOOLS},
        "code": [sha256_of(path) for pattern in CODE for path in sorted(_ROOMS.glob(pattern))],
        "host": host()["fingerprint"],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def get(key: str) -> Lowered | None:
    """What was put under a key; None where nothing was, or nothing whole."""
    with contextlib.suppress(*_DAMAGED):
        path = home() / "exports" / f"{key}.npz"
        found = unpack(path.read_bytes())
        os.utime(path)
        return found
    return None


def put(key: str, packed: bytes) -> None:
    """Keeps what `pack` made, and removes the oldest entries where all are too large."""
    with contextlib.suppress(OSError, Missing):
        folder = home() / "exports"
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / f"{key}.npz", packed)
        room = MAX_BYTES
        for entry in sorted(folder.iterdir(), key=lambda path: -path.stat().st_mtime_ns):
            room -= entry.stat().st_size
            if room < 0:
                entry.unlink()


def pack(lowered: Lowered) -> bytes:
    """As bytes; the details are those of a manifest, which are JSON."""
    said = json.dumps({"details": dict(lowered.details), "stages": list(lowered.stages)}).encode()
    handle = io.BytesIO()
    named: dict[str, Any] = {f"stage {number}": outputs for number, outputs in enumerate(lowered.stages.values())}
    np.savez(handle, said=np.frombuffer(said, np.uint8), data=np.frombuffer(lowered.data, np.uint8), **named)
    return handle.getvalue()


def unpack(packed: bytes) -> Lowered:
    """What `pack` was given.

    Raises:
        ValueError, KeyError, EOFError, OSError, BadZipFile: it is damaged; each part has a checksum.
    """
    with np.load(io.BytesIO(packed), allow_pickle=False) as parts:
        said = json.loads(parts["said"].tobytes())
        stages = {name: parts[f"stage {number}"] for number, name in enumerate(said["stages"])}
        return Lowered(parts["data"].tobytes(), said["details"], stages)
