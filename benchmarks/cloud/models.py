"""The models that a server holds: bundles by name and version, each loaded once and batched on its own."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.cloud import protocol
from benchmarks.cloud.batching import QUEUE, WAIT_MS, Answer, Batcher, best_batch
from edge_runtime import load
from edge_runtime.bundle import Artifact, Bundle, open_bundle
from edge_runtime.errors import BadInput, BadRequest, EngineError
from edge_runtime.postprocess import Prediction
from edge_runtime.predictor import Predictor
from edge_runtime.spec import DTYPES, TensorSpec

_NAME = re.compile(r"[^/\\%?#\s]{1,200}")  # what may stand in a path of the protocol
_TOGETHER = {"onnxruntime"}  # a .pte is exported for one sample
_PLATFORMS = {"onnxruntime": "onnxruntime_onnx", "executorch": "executorch_pte"}


@dataclass(frozen=True)
class Batching:
    """How requests are put together; a mapping says it by the model's name.

    Attributes:
        max_batch: the most rows that run together; None, and for a model that is not named, the best is measured.
        max_wait_ms: how long a batch that is not full waits for more.
        queue: how many requests of a model may wait.
    """

    max_batch: int | Mapping[str, int] | None = None
    max_wait_ms: float | Mapping[str, float] = WAIT_MS
    queue: int = QUEUE

    def of(self, name: str) -> tuple[int | None, float]:
        """`max_batch` and `max_wait_ms` of one model."""
        most, wait = self.max_batch, self.max_wait_ms
        return (
            most.get(name) if isinstance(most, Mapping) else most,
            wait.get(name, WAIT_MS) if isinstance(wait, Mapping) else wait,
        )


BATCHING = Batching()


class Queue(Protocol):
    """What stands between a model's requests and its engine: a `Batcher` here, replicas in a cluster."""

    def waiting(self) -> int:
        """How many requests wait."""

    def refuse_full(self) -> None:
        """Raises Refused where no more can wait."""

    async def submit(self, tensor: memoryview, rows: int) -> Answer:
        """Runs one request's rows."""

    async def close(self) -> None:
        """Ends it; what still waits is refused."""


class Engine:
    """A loaded artifact as a function of flat bytes: some rows in the model's units to their outputs."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self._session = predictor, predictor.session
        self._takes, self._gives = predictor.spec.inputs[0].name, predictor.spec.outputs[0].name
        self.together = predictor.artifact.engine in _TOGETHER

    def __call__(self, tensor: memoryview | bytes, rows: int) -> memoryview:
        """Runs `rows` rows: together where the engine can, else one by one."""
        if self.together or rows == 1:
            return self._session.run({self._takes: tensor})[self._gives].cast("B")
        view, width = memoryview(tensor), len(tensor) // rows
        parts = (view[at : at + width] for at in range(0, len(view), width))
        return memoryview(b"".join([self._session.run({self._takes: part})[self._gives] for part in parts]))


class Model:
    """One bundle's artifact that is served: what it takes and gives, and its queue."""

    def __init__(self, bundle: Bundle, artifact: Artifact, queue: Queue, threads: int, max_batch: int) -> None:
        self.name, self.version, self.spec = bundle.name, bundle.version, bundle.spec
        self.artifact, self.queue, self.threads, self.max_batch = artifact, queue, threads, max_batch
        self.takes, self.gives = bundle.spec.inputs[0], bundle.spec.outputs[0]

    async def answer(self, tensor: memoryview, rows: int) -> Answer:
        """Runs one request through the queue.

        Raises:
            Refused: the queue is full.
            EngineError: the engine failed, or answered with something that is not a finite number.
        """
        found = await self.queue.submit(tensor, rows)
        if not all(map(math.isfinite, found.values.cast("f"))):  # every spec's output is float32
            raise EngineError(f"{self.name} answered with numbers that are not finite")
        return found

    def prediction(self, answer: Answer, ms: dict[str, float]) -> Prediction:
        """One row's answer as the device gives it; `ms` is filled with the stages that run here."""
        start = time.perf_counter_ns()
        values = tuple(answer.values.cast("f"))
        ms["inference"] = answer.inference_ns / 1e6
        ms["postprocess"] = (time.perf_counter_ns() - start) / 1e6
        return Prediction(self.spec.task, self.spec.labels, values, ms, self.gives.unit, self.spec.unsure_below)

    def metadata(self, versions: Sequence[int]) -> dict[str, Any]:
        """The protocol's model metadata; `versions` are all of this name that are served."""
        return {
            "name": self.name,
            "versions": [str(version) for version in versions],
            "platform": _PLATFORMS[self.artifact.engine],
            "inputs": [protocol.metadata(self.takes)],
            "outputs": [protocol.metadata(self.gives)],
        }


class Models:
    """What is served, by name and version."""

    def __init__(self, models: Sequence[Model]) -> None:
        self._by_name: dict[str, dict[int, Model]] = {}
        for model in models:
            versions = self._by_name.setdefault(model.name, {})
            if model.version in versions:
                raise BadRequest(f"version {model.version} of {model.name} was given twice; give each bundle once")
            versions[model.version] = model

    def find(self, name: str | None, version: str | None = None) -> Model:
        """The model of that name; without a version the newest, without a name the only one.

        Raises:
            BadRequest: there is none.
            BadInput: no name, and several models.
        """
        if name is None and len(self._by_name) == 1:
            name = next(iter(self._by_name))
        served = ", ".join(self.names())
        if name is None:
            raise BadInput(f"this server has several models; name one, ?model=NAME, of {served}")
        versions = self._by_name.get(name)
        if versions is None:
            raise BadRequest(f"there is no model {name[:100]!r} here; there are {served}")
        if version is None:
            return versions[max(versions)]
        found = {str(number): model for number, model in versions.items()}.get(version)
        if found is None:
            raise BadRequest(f"{name} has no version {version[:100]!r} here; it has {', '.join(map(str, versions))}")
        return found

    def versions(self, name: str) -> list[int]:
        """All versions of a name, oldest first."""
        return sorted(self._by_name[name])

    def names(self) -> list[str]:
        """Every name."""
        return sorted(self._by_name)

    def all(self) -> list[Model]:
        """Every model."""
        return [model for versions in self._by_name.values() for model in versions.values()]

    async def close(self) -> None:
        """Ends the queues."""
        for model in self.all():
            await model.queue.close()


def open_models(
    paths: Sequence[str], artifact: str | None = None, threads: int | None = None, batching: Batching = BATCHING
) -> Models:
    """Loads bundles.

    Args:
        paths: bundle folders, zips, or names of installed bundles.
        artifact: the id of the artifact that is served of each; None as in `edge_runtime.load`.
        threads: as in `edge_runtime.load`.
        batching: how requests are put together.

    Raises:
        BadRequest: a bundle twice, no such artifact, or a name that cannot stand in an address.
        BadInput, BadBundle, Missing, EngineError: as `edge_runtime.load`.
    """
    return Models([_opened(served_bundle(path), path, artifact, threads, batching) for path in paths])


def served_bundle(path: str) -> Bundle:
    """A bundle whose name can stand in an address.

    Raises:
        BadRequest: it cannot.
        BadBundle: it cannot be read.
    """
    bundle = open_bundle(path)
    if not _NAME.fullmatch(bundle.name) or bundle.name in (".", ".."):
        raise BadRequest(f"{bundle.name!r} cannot stand in an address: a served name has no space or slash")
    return bundle


def row_bytes(takes: TensorSpec) -> int:
    """How many bytes one sample has."""
    return math.prod(takes.sample_shape) * DTYPES[takes.dtype][1]


def _opened(bundle: Bundle, path: str, artifact: str | None, threads: int | None, batching: Batching) -> Model:
    predictor = load(path, artifact, threads)
    engine, width = Engine(predictor), row_bytes(predictor.spec.inputs[0])
    engine(bytes(width), 1)  # an engine's first run is slow; no client should be the one to wait
    most, wait_ms = batching.of(bundle.name)
    best = (most or best_batch(engine, width)) if engine.together else 1
    queue = Batcher(bundle.name, engine, best, wait_ms, batching.queue)
    return Model(bundle, predictor.artifact, queue, predictor.session.threads, best)
