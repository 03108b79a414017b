"""The server's routes: the Open Inference Protocol v2, `/predict` for pictures, and `/metrics`.

Each route reads, asks a model and writes; what they refuse is raised, and answered in one place.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import ClientDisconnect

import edge_runtime
from benchmarks.cloud import document, pictures, protocol
from benchmarks.cloud.desk import Desk, Lane, timing
from benchmarks.cloud.limits import LIMITS, App, Doors, Limits, Log, response_to
from benchmarks.cloud.metrics import CONTENT_TYPE, Metrics
from benchmarks.cloud.models import Models
from benchmarks.cloud.refusals import error_body
from edge_runtime.errors import BadInput, LokmaError

INFER, VERSIONED = "/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"


def server(models: Models, limits: Limits = LIMITS, token: str | None = None, log: Log | None = None) -> Doors:
    """The whole server as an ASGI app, with its doors.

    Args:
        models: what it serves; closed when it ends.
        limits: what one client may ask.
        token: what clients must send; None lets everybody in.
        log: told of each answered request.
    """
    metrics = Metrics(models)
    desk = Desk(limits, metrics)
    return Doors(application(models, desk), limits, metrics, token, _lanes(models, desk), log)


def _lanes(models: Models, desk: Desk) -> dict[str, App]:
    """Every address of a model's `infer`, with and without a version."""
    lanes: dict[str, App] = {}
    for model in models.all():
        newest = models.find(model.name)
        for pattern, asked in ((INFER, newest), (VERSIONED, model)):
            lane = ServerErrorMiddleware(Lane(desk, asked, pattern), handler=_broken)
            lanes[pattern.format(name=model.name, version=model.version)] = lane
    return lanes


def application(models: Models, desk: Desk) -> FastAPI:
    """The routes, without doors."""
    decoders = pictures.Decoders()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        decoders.close()
        await models.close()

    app = FastAPI(title="lokma", version=edge_runtime.__version__, lifespan=lifespan, redirect_slashes=False)
    app.add_exception_handler(LokmaError, _refusal)
    app.add_exception_handler(HTTPException, _http_refusal)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(Exception, _broken)

    def per_model(method: Callable[..., Any], suffix: str, said: dict[str, Any]) -> Callable[[Any], Any]:
        """Registers a route of a model, with and without a version."""

        def register(endpoint: Any) -> Any:
            for names in (("name",), ("name", "version")):
                path = "/v2/models/{name}" + "/versions/{version}" * (len(names) == 2) + suffix
                method(path, **document.with_path(said, names, models.names()))(endpoint)
            return endpoint

        return register

    @app.get("/v2/health/live", **document.HEALTH)
    async def live() -> Response:
        """Whether the server runs."""
        return JSONResponse({"live": True})

    @app.get("/v2/health/ready", **document.HEALTH)
    async def ready() -> Response:
        """Whether every model can be asked."""
        return JSONResponse({"ready": True})  # models are loaded before the server listens

    @app.get("/v2", **document.SERVER)
    async def server_metadata() -> Response:
        """What this server is."""
        extensions = ["binary_tensor_data"]
        return JSONResponse({"name": "lokma", "version": edge_runtime.__version__, "extensions": extensions})

    @per_model(app.get, "", document.MODEL)
    async def model_metadata(request: Request) -> Response:
        """What a model takes and gives."""
        model = models.find(*_asked(request))
        return JSONResponse(model.metadata(models.versions(model.name)))

    @per_model(app.get, "/ready", document.MODEL)
    async def model_ready(request: Request) -> Response:
        """Whether a model can be asked."""
        return JSONResponse({"name": models.find(*_asked(request)).name, "ready": True})

    @per_model(app.post, "/infer", document.INFER)
    async def infer(request: Request) -> Response:
        """Answers tensors, as JSON or with the binary-tensor extension."""
        model = models.find(*_asked(request))
        model.queue.refuse_full()  # before its body is read
        length = request.headers.get(protocol.HEAD_LENGTH)
        written, headers = await desk.infer(model, length, await request.body())
        return Response(written, headers=headers)

    @app.post("/predict", **document.with_model(document.PREDICT, models.names()))
    async def predict(request: Request) -> Response:
        """Answers one picture with labels, as `lokma run --json` does."""
        query = request.query_params
        model, top = models.find(query.get("model"), query.get("version")), pictures.top_of(request)
        image = model.spec.image
        if image is None:
            raise BadInput(f"{model.name} takes no pictures; ask it by /v2/models/{model.name}/infer")
        model.queue.refuse_full()
        name, encoded = await pictures.uploaded(request)
        pixels, ms = await decoders.pixels(encoded, image)
        answer = await desk.run(model, memoryview(pixels), 1)
        line = pictures.line_of(name, model, answer, ms, top)
        return JSONResponse(line, headers={"Server-Timing": timing(answer)})

    @app.get("/metrics", **document.METRICS)
    async def read_metrics() -> Response:
        """Counters for Prometheus."""
        return Response(desk.metrics.text(), media_type=CONTENT_TYPE)

    return app


def _asked(request: Request) -> tuple[str, str | None]:
    return request.path_params["name"], request.path_params.get("version")


async def _refusal(request: Request, error: Any) -> Response:
    return response_to(error, request.state.request_id)


async def _http_refusal(_: Request, error: Any) -> Response:
    return Response(error_body(str(error.detail)), error.status_code, error.headers, media_type="application/json")


async def _left(_: Request, __: Any) -> Response:
    return Response(status_code=499)  # nobody reads it


async def _broken(_: Request, __: Any) -> Response:
    return Response(error_body("the server failed; its log says more"), 500, media_type="application/json")
