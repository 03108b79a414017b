"""Where a bundle is measured: one row a target. To add one, add a row and a function that lists its systems.

>>> sorted(TARGETS)
['cloud', 'device', 'eager', 'gpu', 'phone', 'ssh']
>>> parsed(["device", "cloud=http://pi:8000", "ssh://pi@kitchen"])
[('device', ''), ('cloud', 'http://pi:8000'), ('ssh', 'pi@kitchen')]
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import client, eager, gpu, serving, shell
from edge_runtime import engines, worker
from edge_runtime.bundle import Artifact, Bundle
from edge_runtime.errors import BadInput, BadRequest, LokmaError, Missing
from edge_runtime.store import sha256_of

Start = Callable[[], worker.Worker]


@dataclass(frozen=True)
class System:
    """A system under test: its record fields, and how to start it in a process of its own.

    `prepare` opens what must stand while it is measured (a server) and gives what starts the process.
    """

    name: str
    target: str
    artifact: dict[str, Any]
    start: Start | None = None
    prepare: Callable[[contextlib.ExitStack], Start] | None = None
    fields: dict[str, Any] = field(default_factory=dict)  # of the record: host, network
    notes: tuple[str, ...] = ()

    def opened(self, stack: contextlib.ExitStack) -> Start:
        """What starts its process, once whatever it needs stands."""
        if self.prepare is not None:
            return self.prepare(stack)
        assert self.start is not None
        return self.start


@dataclass(frozen=True)
class Asked:
    """What the targets are asked for: `artifacts` None takes all, `networks` are the profiles of the own cloud."""

    bundle: Bundle
    run: Path
    threads: int
    artifacts: tuple[str, ...] | None = None
    networks: tuple[str, ...] = ()
    wheel: Path | None = None
    inputs: tuple[Any, ...] = ()  # what will be asked: another machine needs the files

    def chosen(self) -> list[Artifact]:
        """The artifacts asked for.

        Raises:
            BadRequest: one of them is not in the bundle.
        """
        if self.artifacts is None:
            return list(self.bundle.artifacts)
        return [self.bundle.artifact(name) for name in self.artifacts]

    def runnable(self) -> list[Artifact]:
        """Those that an engine here can run.

        Raises:
            Missing: there is none.
        """
        found = [artifact for artifact in self.chosen() if engines.available(artifact.engine)]
        if not found:
            wanted = ", ".join(artifact.id for artifact in self.chosen())
            raise Missing(f"nothing here can run {wanted} of {self.bundle.source.path}; see `lokma doctor`")
        return found


def device(asked: Asked, where: str) -> list[System]:
    """Every artifact of the bundle that an engine here can run, through the runtime."""
    _no_address("device", where)
    path = asked.bundle.source.path
    return [
        System(
            artifact.id,
            "device",
            described(artifact),
            functools.partial(worker.device, path, artifact.id, asked.threads),
        )
        for artifact in asked.runnable()
    ]


def eager_torch(asked: Asked, where: str) -> list[System]:
    """The trained model in eager torch, the course's way.

    Raises:
        BadInput: its run folder is not there, or the bundle was made from another one.
        Missing: torch or torchvision is not installed here.
    """
    _no_address("eager", where)
    artifact = trained(asked, "eager")
    return [System("eager", "eager", artifact, functools.partial(eager.start, asked.run, asked.threads))]


def gpu_torch(asked: Asked, where: str) -> list[System]:
    """On a CUDA device: torch eager and compiled, and each `.onnx` by onnxruntime's CUDA provider.

    Raises:
        Missing: there is no CUDA device here.
    """
    _no_address("gpu", where)
    card = gpu.cuda_device()
    notes = (f"on {card}",)
    systems = []
    for mode in ("eager", "compiled"):
        artifact = {**trained(asked, "gpu"), "id": f"torch-{mode}"}
        start = functools.partial(eager.start, asked.run, asked.threads, "cuda", mode)
        systems.append(System(f"gpu torch-{mode}", "gpu", artifact, start, notes=notes))
    for one in asked.chosen():
        if one.engine == "onnxruntime":
            start = functools.partial(gpu.start, asked.bundle.source.path, one.id, asked.threads)
            systems.append(System(f"gpu {one.id}", "gpu", described(one), start, notes=notes))
    return systems


def cloud(asked: Asked, where: str) -> list[System]:
    """A server of the Open Inference Protocol: the one at the address, or `lokma serve`, started here for the bundle.

    Raises:
        NoAnswer: nothing answers at the address, or not for this model.
        Missing: tritonclient is not installed, or a network cannot be emulated here.
    """
    if importlib.util.find_spec("tritonclient") is None:
        raise Missing("the target cloud asks through tritonclient: pip install 'tritonclient[http]'")
    bundle, path = asked.bundle, asked.bundle.source.path
    if where:
        said = client.server_of(where, bundle.name)
        server = " ".join(str(said["server"].get(key, "")) for key in ("name", "version")).strip()
        artifact = {"id": bundle.name, "engine": str(said["model"].get("platform") or server), "precision": "unknown",
                    "sha256": None, "size_bytes": None}  # fmt: skip
        start = functools.partial(client.start, where, path)
        notes = (f"the server says it is {server or 'nothing'}; which file it runs is not known here", client.OWN)
        return [System(f"cloud {where}", "cloud", artifact, start, fields={"server": server}, notes=notes)]
    served = asked.runnable() if asked.artifacts is not None else [serving.usual(asked)]
    return [serving.system(asked, one, profile) for one in served for profile in asked.networks or ("",)]


def ssh(asked: Asked, where: str) -> list[System]:
    """Another machine: the wheel, the bundle and the inputs are sent there, and lokma's own worker runs there.

    Raises:
        BadRequest: no host was named.
        Missing: it does not answer, or has no lokma that could run it.
    """
    if not where:
        raise BadRequest("the target ssh needs a host: ssh://user@host")
    return shell.systems(asked, where)


def phone(asked: Asked, where: str) -> list[System]:
    """Phones measure themselves and post their records; here they are only listed (`benchmarks.bench`)."""
    del asked
    _no_address("phone", where)
    return []


def described(artifact: Artifact) -> dict[str, Any]:
    """An artifact as a record has it."""
    return {key: getattr(artifact, key) for key in ("id", "engine", "precision", "sha256", "size_bytes")}


def trained(asked: Asked, target: str) -> dict[str, Any]:
    """The run's weights as a record's artifact.

    Raises:
        BadInput: they are not there, or the bundle was made from others.
        Missing: torch or torchvision is not installed here.
    """
    for name in ("torch", "torchvision"):
        if importlib.util.find_spec(name) is None:
            raise Missing(
                f"the {target} baseline needs {name}: pip install 'lokma[train]', or measure --on device alone"
            )
    weights = asked.run / "model.safetensors"
    if not weights.is_file():
        raise BadInput(
            f"the {target} baseline needs the run that the bundle came from; {weights} does not exist (--run)"
        )
    digest = sha256_of(weights)
    if digest != asked.bundle.manifest.get("provenance", {}).get("model_sha256"):
        raise BadInput(
            f"{asked.bundle.source.path} was not made from {asked.run} as it is now; export it again, "
            "or name its run (--run)"
        )
    size = weights.stat().st_size
    return {"id": target, "engine": "torch", "precision": "fp32", "sha256": digest, "size_bytes": size}


TARGETS: dict[str, Callable[[Asked, str], list[System]]] = {
    "device": device,
    "eager": eager_torch,
    "gpu": gpu_torch,
    "cloud": cloud,
    "ssh": ssh,
    "phone": phone,
}


def parsed(names: Sequence[str]) -> list[tuple[str, str]]:
    """Targets as they are typed, as (row of the table, address or "").

    Raises:
        BadRequest: a target is unknown.
    """
    found = []
    for typed in dict.fromkeys(name.strip() for name in names):
        name, _, where = typed.partition("=") if "://" not in typed.partition("=")[0] else typed.partition("://")
        if name not in TARGETS:
            raise BadRequest(
                f"there is no target {typed!r}; the targets are {', '.join(TARGETS)} (cloud=URL, ssh://user@host)"
            )
        found.append((name, where))
    return found


def systems(names: Sequence[str], asked: Asked) -> tuple[list[System], list[tuple[str, LokmaError]]]:
    """The systems of the targets asked for, and the targets that cannot be measured, each with the reason.

    Raises:
        BadRequest: a target or an artifact is unknown.
    """
    wanted = parsed(names)
    asked.chosen()
    found: list[System] = []
    failed: list[tuple[str, LokmaError]] = []
    for name, where in wanted:
        try:
            found += TARGETS[name](asked, where)
        except BadRequest:
            raise
        except LokmaError as error:
            failed.append((name, error))
    return found, failed


def _no_address(name: str, where: str) -> None:
    if where:
        raise BadRequest(f"the target {name} takes no address; got {name}={where}")
