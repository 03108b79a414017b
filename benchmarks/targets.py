"""Where a bundle is measured: one row a target. To add one, add a row and a function that lists its systems."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import eager
from edge_runtime import engines, worker
from edge_runtime.bundle import Bundle
from edge_runtime.errors import BadInput, BadRequest, Missing
from edge_runtime.store import sha256_of


@dataclass(frozen=True)
class System:
    """A system under test: its record fields and how to start it in a process of its own."""

    name: str
    target: str
    artifact: dict[str, Any]
    start: Callable[[], worker.Worker]


def device(bundle: Bundle, run: Path, threads: int) -> list[System]:
    """Every artifact of the bundle that an engine here can run, through the runtime."""
    del run
    return [
        System(
            name=artifact.id,
            target="device",
            artifact={
                "id": artifact.id,
                "engine": artifact.engine,
                "precision": artifact.precision,
                "sha256": artifact.sha256,
                "size_bytes": artifact.size_bytes,
            },
            start=functools.partial(worker.device, bundle.source.path, artifact.id, threads),
        )
        for artifact in bundle.artifacts
        if engines.available(artifact.engine)
    ]


def eager_torch(bundle: Bundle, run: Path, threads: int) -> list[System]:
    """The trained model in eager torch, the course's way.

    Raises:
        BadInput: its run folder is not there, or the bundle was made from another one.
        Missing: torch or torchvision is not installed here.
    """
    for name in ("torch", "torchvision"):
        if importlib.util.find_spec(name) is None:
            raise Missing(f"the eager baseline needs {name}: pip install 'lokma[train]', or measure --on device alone")
    weights = run / "model.safetensors"
    if not weights.is_file():
        raise BadInput(f"the eager baseline needs the run that the bundle came from; {weights} does not exist (--run)")
    digest = sha256_of(weights)
    if digest != bundle.manifest.get("provenance", {}).get("model_sha256"):
        raise BadInput(
            f"{bundle.source.path} was not made from {run} as it is now; export it again, or name its run (--run)"
        )
    artifact = {
        "id": "eager",
        "engine": "torch",
        "precision": "fp32",
        "sha256": digest,
        "size_bytes": weights.stat().st_size,
    }
    return [System("eager", "eager", artifact, functools.partial(eager.start, run, threads))]


TARGETS = {
    "device": device,
    "eager": eager_torch,
}


def systems(names: Sequence[str], bundle: Bundle, run: Path, threads: int) -> list[System]:
    """The systems of the targets asked for.

    Raises:
        BadRequest: a target is unknown, or none of them has a system here.
    """
    names = list(dict.fromkeys(name.strip() for name in names))
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        raise BadRequest(f"there is no target {', '.join(map(repr, unknown))}; the targets are {', '.join(TARGETS)}")
    found = [system for name in names for system in TARGETS[name](bundle, run, threads)]
    if not found:
        raise BadRequest(f"nothing here can run {bundle.source.path} on {', '.join(names)}; see `lokma check`")
    return found
