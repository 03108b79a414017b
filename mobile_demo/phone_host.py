"""The phone page on a port of its own, for what measures it: a count of the bytes that went out, pictures beside it.

>>> with Site(Path("bundles/foodvision-mini")) as site:                                 # doctest: +SKIP
...     print(site.url, site.sent_bytes)
http://localhost:41234/ 0
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from mobile_demo.server import free_port


class Site:
    """The page on a port of its own: pictures beside it, and a count of the bytes that went out.

    Args:
        bundle: the folder.
        pictures: name -> encoded picture, served at `/pictures/NAME`.
    """

    def __init__(self, bundle: Path, pictures: dict[str, bytes] | None = None) -> None:
        import uvicorn
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.responses import Response
        from starlette.routing import Route

        from mobile_demo.phone_routes import HEADERS, routes

        given = pictures or {}

        async def picture(request: Request) -> Response:
            return Response(given[request.path_params["name"]], headers=HEADERS)

        self._records = tempfile.TemporaryDirectory(prefix="lokma-phone-")
        page = routes([bundle], "budget", Path(self._records.name))
        self._app = Starlette(routes=[Route("/pictures/{name}", picture), *page])
        self.sent_bytes = 0
        self.url = f"http://localhost:{(port := free_port())}/"
        self._server = uvicorn.Server(
            uvicorn.Config(self._counted, port=port, log_level="error", lifespan="off", interface="asgi3")
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    async def _counted(self, scope: Any, receive: Any, send: Any) -> None:
        async def counting(message: Any) -> None:
            heads = sum(len(name) + len(value) + 4 for name, value in message.get("headers", ()))
            self.sent_bytes += len(message.get("body", b"")) + heads
            await send(message)

        await self._app(scope, receive, counting)

    def __enter__(self) -> Site:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._records.cleanup()
