"""Past one machine: the same app as a Ray Serve application, with models in replicas that come and go.

`Front` is the server of `benchmarks.cloud.app`, doors and all; what stands behind each model is no `Batcher` but
`Replicas`, which hands a request to a `Replica` on some node, and to another where that one dies under it: an inference
can be asked twice. `lokma serve --engine ray` runs it; `serve deploy benchmarks/cloud/cluster.yaml` does on a cluster.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle

from benchmarks.cloud import log
from benchmarks.cloud.app import server
from benchmarks.cloud.batching import Answer
from benchmarks.cloud.limits import LIMITS, read_token
from benchmarks.cloud.models import Batching, Model, Models, open_models, row_bytes, served_bundle
from benchmarks.cloud.refusals import Refused
from edge_runtime.errors import BadRequest, EngineError, LokmaError, Missing, one_line

APPLICATION = "lokma"
TRIES = 5  # of one request, each at another replica
PAUSE_S = 0.1  # until the router has heard that a replica is gone


@dataclass(frozen=True)
class Cluster:
    """What is served on a cluster, and how far it may grow: the `args` of `cluster.yaml`.

    `replicas` are the fewest and the most of each model; `threads` None is one, for a replica asks for as many cores.
    """

    bundles: Sequence[str]
    artifact: str | None = None
    threads: int | None = None
    replicas: Sequence[int] = (1, 4)
    batching: Mapping[str, Any] = field(default_factory=dict)
    token_file: str | None = None


@serve.deployment(health_check_period_s=2, health_check_timeout_s=20, graceful_shutdown_timeout_s=LIMITS.request_s)
class Replica:
    """One bundle in a process of its own."""

    def __init__(self, path: str, artifact: str | None, threads: int, batching: Mapping[str, Any]) -> None:
        log.to_stderr()
        (self._model,) = open_models([path], artifact, threads, Batching(**batching)).all()
        self._row = memoryview(bytes(row_bytes(self._model.takes)))

    async def about(self) -> dict[str, Any]:
        """What runs here, and in which process."""
        model = self._model
        return {
            "artifact": model.artifact.id,
            "threads": model.threads,
            "max_batch": model.max_batch,
            "pid": os.getpid(),
        }

    async def answer(self, tensor: bytes, rows: int) -> tuple[bytes, int, int, int] | LokmaError:
        """One request's answer; a refusal comes back as what it is, for what is raised here reads as a failure."""
        try:
            found = await self._model.answer(memoryview(tensor), rows)
        except LokmaError as error:
            return error
        return bytes(found.values), found.queue_ns, found.inference_ns, found.batch

    async def check_health(self) -> None:
        """Answers one row; Ray replaces a replica that cannot. A full queue is no illness."""
        try:
            await self._model.answer(self._row, 1)
        except Refused:
            return


class Replicas:
    """The replicas of one model, as its queue.

    Args:
        name: the model's, for messages.
        handle: Ray's way to them.
        most: how many requests may be under way.
    """

    def __init__(self, name: str, handle: DeploymentHandle, most: int) -> None:
        self.name, self.most = name, most
        self._handle, self._asked = handle, 0

    def waiting(self) -> int:
        """How many requests are under way, those that run included."""
        return self._asked

    def refuse_full(self) -> None:
        """Raises Refused (503) where too many are under way."""
        if self._asked >= self.most:
            raise Refused(503, f"the queue of {self.name} is full; try again later", {"Retry-After": "1"})

    async def submit(self, tensor: memoryview, rows: int) -> Answer:
        """Asks a replica, and another one where it dies.

        Raises:
            Refused: too many are under way.
            EngineError: the engine failed, or one replica after another died.
        """
        self.refuse_full()
        self._asked += 1
        try:
            return await self._answered(bytes(tensor), rows)
        finally:
            self._asked -= 1

    async def _answered(self, tensor: bytes, rows: int) -> Answer:
        for _ in range(TRIES):
            try:
                found = await self._handle.answer.remote(tensor, rows)
            except RayActorError:
                await asyncio.sleep(PAUSE_S)
                continue
            if isinstance(found, LokmaError):
                raise found
            values, *times = found
            return Answer(memoryview(values), *times)
        raise EngineError(f"{TRIES} replicas of {self.name} died, one after another")

    async def close(self) -> None:
        """Nothing: Ray ends the replicas."""


@serve.deployment(max_ongoing_requests=LIMITS.connections)
@serve.ingress()
class Front:
    """The server in front of the replicas."""

    async def __init__(  # type: ignore[misc]  # Ray awaits it
        self, paths: Sequence[str], handles: Sequence[DeploymentHandle], cluster: Cluster
    ) -> None:
        log.to_stderr()
        most = max(cluster.replicas) * Batching(**cluster.batching).queue
        models = []
        for path, handle in zip(paths, handles, strict=True):
            bundle, said = served_bundle(path), await handle.about.remote()
            queue = Replicas(bundle.name, handle, most)
            artifact = bundle.artifact(said["artifact"])
            models.append(Model(bundle, artifact, queue, said["threads"], said["max_batch"]))
        token = read_token(None if cluster.token_file is None else Path(cluster.token_file))
        self._server = server(Models(models), LIMITS, token, log.answered)

    def __serve_build_asgi_app__(self) -> Any:
        """What Ray calls with each request."""
        return self._server


def application(args: dict[str, Any]) -> serve.Application:
    """The whole server; what `cluster.yaml` names.

    Args:
        args: the fields of `Cluster`.

    Raises:
        BadRequest: an unknown field, or a number of replicas that cannot be.
        BadBundle: a bundle cannot be read here.
    """
    unknown = sorted(set(args) - {one.name for one in fields(Cluster)})
    if unknown or not args.get("bundles"):
        problem = f"there is no {', '.join(unknown)}" if unknown else "bundles are missing"
        raise BadRequest(f"{problem}; a cluster's args are {', '.join(one.name for one in fields(Cluster))}")
    cluster = Cluster(**args)
    least, most = cluster.replicas
    if not 1 <= least <= most:
        raise BadRequest(f"replicas are the fewest and the most, from 1 on; got {least} and {most}")
    handles = [_replicas(path, cluster) for path in cluster.bundles]
    front: Any = Front  # what the decorators made of it
    return front.bind(list(cluster.bundles), handles, cluster)


def _replicas(path: str, cluster: Cluster) -> serve.Application:
    bundle, batching, threads = served_bundle(path), Batching(**cluster.batching), cluster.threads or 1
    least, most = cluster.replicas
    grown = {"min_replicas": least, "max_replicas": most, "target_ongoing_requests": max(2, batching.queue // 4)}
    how: dict[str, Any] = {"autoscaling_config": grown} if most > least else {"num_replicas": least}
    replica: Any = Replica
    deployment = replica.options(
        name=f"{bundle.name}-{bundle.version}",
        max_ongoing_requests=batching.queue,
        ray_actor_options={"num_cpus": threads},
        **how,
    )
    return deployment.bind(path, cluster.artifact, threads, asdict(batching))


def run(cluster: Cluster, address: str | None, http: Mapping[str, Any]) -> None:
    """Starts the application, and returns when it answers.

    Args:
        cluster: what is served.
        address: of a cluster that runs (`ray start --head` prints it); None starts one on this machine.
        http: Ray's `HTTPOptions`: host, port, certificates.

    Raises:
        Missing: no cluster answers at that address.
        EngineError: a replica does not start; Ray's log says why.
    """
    try:
        ray.init(address=address or "local", namespace=APPLICATION, log_to_driver=False, include_dashboard=False)
    except (ConnectionError, ValueError) as error:
        raise Missing(f"no Ray cluster answers at {address}: {error}") from error
    serve.start(http_options={**http, "request_timeout_s": LIMITS.request_s + LIMITS.read_s})
    args = {one.name: getattr(cluster, one.name) for one in fields(Cluster)}
    try:
        serve.run(application(args), name=APPLICATION, route_prefix="/")
    except RuntimeError as error:
        raise EngineError(f"the application does not start on Ray: {one_line(str(error))[:300]}") from error


def stop(address: str | None) -> None:
    """Ends the application, and the cluster where `run` started it. Replicas finish what they took."""
    if address is None:
        serve.shutdown()
    else:
        serve.delete(APPLICATION)
    ray.shutdown()
