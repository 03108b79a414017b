"""The phone page and its collector as Starlette routes: `lokma phone` serves them, the dashboard mounts them.

>>> from starlette.applications import Starlette
>>> app = Starlette(routes=routes(["bundles/cartpole"], "secret", Path("results")))    # doctest: +SKIP
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from edge_runtime.bundle import open_bundle
from mobile_demo import collector
from mobile_demo.phone_site import File, files

RECORDS = "api/records"
HEADERS = {
    "Cache-Control": "no-cache",  # kept, and asked about each time: an ETag answers
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' "
    "blob:; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self' blob: data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Embedder-Policy": "require-corp",  # with the next, threads
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_TEXT = ("text/", "application/json", "application/manifest+json", "image/svg+xml")


def routes(bundles: Sequence[str | Path], token: str, records: Path, prefix: str = "") -> list[BaseRoute]:
    """The page under `prefix/`, and `POST prefix/api/records`.

    Args:
        bundles: folders or zips; the page opens the first where its address (`?bundle=NAME`) names none.
        token: what a post must bear; it is in the QR code's address behind `#token=`, which browsers send to nobody.
        records: the folder of results.
        prefix: where it is mounted, such as `/phone`; empty at the root.

    Raises:
        LokmaError: as opening the bundles does, and where the engine is not installed.
    """
    site = files([open_bundle(path) for path in bundles], RECORDS)

    async def get(request: Request) -> Response:
        name = request.path_params["name"] or "index.html"
        file = site.get(name)
        if file is None:
            return PlainTextResponse(f"{name} is not part of the phone page", 404)
        return await run_in_threadpool(_response, file, request)

    async def post(request: Request) -> Response:
        data = b""
        try:
            async for chunk in request.stream():
                data += chunk
                if len(data) > collector.MAX_BYTES:
                    break
        except ClientDisconnect:
            return Response(status_code=400)
        bearer = request.headers.get("authorization", "")
        status, said = await run_in_threadpool(collector.answer, data, bearer, token, records)
        return JSONResponse(said, status, headers={"Cache-Control": "no-store"})

    async def home(request: Request) -> Response:
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"{request.url.path}/{query}")

    found: list[BaseRoute] = [Route(f"{prefix}/{RECORDS}", post, methods=["POST"])]
    if prefix:
        found.append(Route(prefix, home))
    return [*found, Route(f"{prefix}/{{name:path}}", get)]


def _response(file: File, request: Request) -> Response:
    """A file, compressed where it is text, in part where a cut download asks for its rest."""
    headers = {**HEADERS, "ETag": f'"{file.sha256[:32]}"', "Content-Type": file.media}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if isinstance(file.content, Path):
        return FileResponse(file.content, headers=headers)
    if file.media.startswith(_TEXT) and "gzip" in request.headers.get("accept-encoding", ""):
        compressed = {**headers, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return Response(gzip.compress(file.content, 6, mtime=0), headers=compressed)
    return Response(file.content, headers=headers)
