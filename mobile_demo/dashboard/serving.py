"""The one server of all pages: Streamlit's, with the phone page and its collector mounted beside the dashboard.

`streamlit run serving.py` finds `app`. What Streamlit would serve at `/` and at each page is its own `index.html`;
here it is told where its backend is, which it else looks for below each page first (two 404 in the console).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import streamlit as st
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.routing import BaseRoute, Route
from streamlit.file_util import get_static_dir

from benchmarks import results
from edge_runtime.bundle import open_bundle
from edge_runtime.errors import LokmaError
from mobile_demo import phone_routes
from mobile_demo.dashboard import live
from mobile_demo.dashboard.app import PAGES, PHONE, TOKEN
from mobile_demo.words import Words

log = logging.getLogger(__name__)
DRAWS = ("charts", "model_charts", "try_tab", "policy_tab")  # with what they import, all that the pages do
SCRIPT = Path(__file__).resolve().with_name("app.py")
_HOME = "<script>window.__streamlit = {BACKEND_BASE_URL: location.origin}</script>"


def index() -> str:
    """Streamlit's page, with the project's title and the place of its backend."""
    page = (Path(get_static_dir()) / "index.html").read_text(encoding="utf-8")
    titled = page.replace("<title>Streamlit</title>", "<title>lokma</title>")
    return titled.replace("<head>", f"<head>{_HOME}", 1)


def routes() -> list[BaseRoute]:
    """The pages, then whatever the phone page brings."""
    html = index()

    async def page(request: Request) -> HTMLResponse:
        del request
        return HTMLResponse(html, headers={"Cache-Control": "no-cache"})

    async def first(request: Request) -> RedirectResponse:
        return RedirectResponse(request.url.replace(path="/"))

    pages = [Route(path, page) for path in ("/", *(f"/{name}" for name in PAGES[1:]))]
    return [Route(f"/{PAGES[0]}", first), *pages, *_phone()]


def _phone() -> list[BaseRoute]:
    """The phone page of every bundle that is here, with its collector; none where the page cannot be served."""
    token, there = os.environ.get(TOKEN), _bundles(Path(os.environ.get("LOKMA_BUNDLES") or "bundles"))
    if not (token and there):
        return []
    try:
        return phone_routes.routes(there, token, results.folder(), PHONE)
    except LokmaError as error:
        log.warning("the phone page is not served: %s", error)
        return []


def _bundles(folder: Path) -> list[Path]:
    """The folders and zips that hold a bundle which a browser can run; another one is named in the log."""
    found = []
    folders = [path.parent for path in folder.glob("[!.]*/manifest.json")]
    for path in sorted([*folders, *(one for one in folder.glob("[!.]*.zip") if not one.with_suffix("").is_dir())]):
        try:
            artifacts = open_bundle(path).artifacts
        except LokmaError as error:
            log.warning("not on the phone page: %s", error)
            continue
        if any(one.engine == "onnxruntime" for one in artifacts):
            found.append(path)
    return found


def failed(error: Exception) -> bool:
    """One sentence in place of a stack trace; the trace goes to the terminal."""
    log.error("a page failed", exc_info=error)
    st.error(Words(str(st.session_state.get("language", "en")))("failed"))
    return True


@contextlib.asynccontextmanager
async def ready(app: st.App) -> AsyncIterator[None]:
    """What the first visitor would else wait for is there before anybody can come: the modules, and the records."""
    del app
    await asyncio.to_thread(_warm)
    yield


def _warm() -> None:
    for name in DRAWS:
        importlib.import_module(f"mobile_demo.dashboard.{name}")
    try:
        folder = results.folder()
        live.opened(folder, live.stamps(folder)).bundles()
    except LokmaError as error:
        log.warning("%s", error)  # the page says it too


app = st.App(SCRIPT, routes=routes(), lifespan=ready, on_script_error=failed)
