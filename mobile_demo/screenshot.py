"""A picture of the dashboard, or with `--phone BUNDLE` of the phone page and its answer to our own picture of a seven.

`python -m mobile_demo.screenshot OUT.png [--lang tr] [--width 1440]` makes the README's pictures, so that they cannot
drift from the pages. Needs Playwright
(`pip install playwright`) and a Chromium, its own or the system's.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import results
from edge_runtime import examples
from edge_runtime.errors import LokmaError, Missing
from mobile_demo.phone_host import Site
from mobile_demo.server import free_port, serve
from mobile_demo.words import LANGUAGES

# A headless browser asks its maker's servers for this and that; none of it is needed here.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
NAMES = ("chromium", "chromium-browser", "google-chrome")
HEIGHT = 900
PHONE_WIDTH, PHONE_HEIGHT = 390, 844
DRAWN_WITHIN_MS = 60_000


def chromium() -> str:
    """The system's Chromium.

    Raises:
        Missing: Playwright or Chromium is not here; the message says what brings it.
    """
    if importlib.util.find_spec("playwright") is None:
        raise Missing("a picture of the page needs Playwright: pip install playwright")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise Missing(f"a picture of the page needs Chromium; none of {', '.join(NAMES)} is on the path")
    return found


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium.

    Raises:
        Missing: it is not here.
    """
    program = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        try:
            yield opened
        finally:
            opened.close()


def open_page(context: Any, url: str) -> Any:
    """Opens the dashboard in a browser context and waits until Streamlit has drawn all of it."""
    page = context.new_page()
    page.goto(url)
    page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for(timeout=DRAWN_WITHIN_MS)
    for chart in page.locator('[data-testid="stVegaLiteChart"]').all():
        chart.locator("canvas, svg").first.wait_for(timeout=DRAWN_WITHIN_MS)
    page.wait_for_function("document.fonts.status === 'loaded'")
    return page


def fit(page: Any, width: int) -> None:
    """Makes the window as tall as the page, since Streamlit scrolls inside it."""
    height = page.evaluate("document.querySelector('.block-container').getBoundingClientRect().height")
    page.set_viewport_size({"width": width, "height": max(HEIGHT, int(height) + 1)})
    page.wait_for_timeout(800)  # the charts are drawn anew


def take(out: Path, records: Path, bundles: Path, language: str, width: int, dark: bool, bundle: str | None) -> None:
    """Starts the dashboard, takes the picture, ends it.

    Args:
        out: the PNG.
        records: the folder of records.
        bundles: the folder of bundles.
        language: a key of `LANGUAGES`.
        width: of the window in pixels.
        dark: the dark theme.
        bundle: the bundle to show; None takes the one measured last.

    Raises:
        Missing: Playwright or Chromium is not here.
    """
    chosen = f"&bundle={bundle}" if bundle else ""
    with browser() as opened, serve(records, bundles, free_port()) as url:
        context = opened.new_context(
            viewport={"width": width, "height": HEIGHT},
            color_scheme="dark" if dark else "light",
            device_scale_factor=2 if width < 600 else 1,
        )
        page = open_page(context, f"{url}/?lang={language}{chosen}")
        fit(page, width)
        out.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(out))


def take_phone(out: Path, bundle: Path, language: str, dark: bool) -> None:
    """Serves the phone page with a bundle of pictures, shows it the example's seven, takes the picture.

    Raises:
        Missing: Playwright, Chromium or onnxruntime-web is not here.
    """
    with browser() as opened, Site(bundle) as site:
        context = opened.new_context(
            viewport={"width": PHONE_WIDTH, "height": PHONE_HEIGHT},
            color_scheme="dark" if dark else "light",
            device_scale_factor=2,
        )
        page = context.new_page()
        page.set_default_timeout(DRAWN_WITHIN_MS)
        page.goto(f"{site.url}?lang={language}")
        page.locator("html[data-ready=yes]").wait_for()
        page.locator("#choose").set_input_files(str(examples.path("seven.png")))
        page.locator("#answer:not([hidden])").wait_for()
        page.wait_for_timeout(300)  # its picture is drawn
        out.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(out), full_page=True)


def main(argv: list[str]) -> int:
    """Parses and takes."""
    parser = argparse.ArgumentParser(prog="python -m mobile_demo.screenshot", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the PNG to write")
    parser.add_argument("--lang", choices=list(LANGUAGES), default="en")
    parser.add_argument("--width", type=int, default=1440, help="of the window in pixels (1440)")
    parser.add_argument("--dark", action="store_true", help="the dark theme")
    parser.add_argument("--bundle", help="the bundle to show (the one measured last)")
    parser.add_argument("--phone", type=Path, metavar="BUNDLE", help="the phone page with this bundle instead")
    parser.add_argument("--results", type=Path, help="a folder of records (LOKMA_RESULTS, else results)")
    parser.add_argument("--bundles", type=Path, help="a folder of bundles (LOKMA_BUNDLES, else bundles)")
    args = parser.parse_args(argv)
    bundles = args.bundles or Path(os.environ.get("LOKMA_BUNDLES") or "bundles")
    try:
        if args.phone:
            take_phone(args.out, args.phone, args.lang, args.dark)
            return 0
        take(args.out, args.results or results.folder(), bundles, args.lang, args.width, args.dark, args.bundle)
    except LokmaError as error:
        print(f"screenshot: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
