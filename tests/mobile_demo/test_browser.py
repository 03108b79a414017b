import contextlib
import json

import pytest

from edge_runtime.errors import Missing
from mobile_demo import screenshot
from mobile_demo.server import free_port, serve
from mobile_demo.words import Words

TITLES = {"": "keeps", "compare": "ask_compare", "model": "ask_model", "devices": "ask_devices"}
TOKEN = "token-of-the-test"


@pytest.fixture(scope="module")
def site(made, tmp_path_factory):
    """The dashboard with records and bundles, and a browser."""
    pytest.importorskip("streamlit", reason="streamlit is not installed (extra demo)")
    pytest.importorskip("onnx", reason="onnx is not installed (extra export): the test bundle is made with it")
    try:
        screenshot.chromium()
    except Missing as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("site")
    field = [made.field(seed % 4 > 0, seed) for seed in range(8)]
    made.write(folder / "results", [*made.policy_run(), *made.run(notes=["a note"]), made.phone(), *field])
    for name in ("foodvision-mini", "cartpole"):
        made.bundle(folder / "bundles", name, policy=name == "cartpole")
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(serve(folder / "results", folder / "bundles", free_port(), TOKEN))
        yield stack.enter_context(screenshot.browser()), url, folder


@pytest.mark.parametrize(
    ("language", "name", "bundle", "width"),
    [
        ("tr", "", "foodvision-mini", 390),
        ("en", "compare", "foodvision-mini", 390),
        ("tr", "model", "cartpole", 390),
        ("en", "devices", "foodvision-mini", 1440),
    ],
)
def test_each_page_fits_its_width_without_console_error_foreign_request_or_barrier(
    site, barriers, language, name, bundle, width
):
    browser, url, _ = site
    context = browser.new_context(viewport={"width": width, "height": 844}, locale="en-US")
    said, asked = [], []
    context.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: said.append(str(error.error)))
    context.on("request", lambda request: asked.append(request.url))
    try:
        page = screenshot.open_page(context, f"{url}/{name}?lang={language}&bundle={bundle}")
        title = page.locator("h1").inner_text()
        assert title == Words(language)(TITLES[name]) if name else "30 FPS" in title
        assert page.evaluate("document.documentElement.lang") == language
        wide = page.evaluate(
            """() => [...document.querySelectorAll('.stMain, .block-container, .block-container *')]
                .filter(one => !one.closest('.lk-scroll, svg, .st-key-nav, [role=tablist]'))
                .filter(one => one.getBoundingClientRect().right > window.innerWidth + 1)
                .map(one => one.className.toString().slice(0, 80))"""
        )
        assert wide == []
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert said == []
        foreign = [one for one in asked if not one.startswith((url, "data:", "blob:", url.replace("http", "ws")))]
        assert foreign == []
        assert barriers(page) == []
    finally:
        context.close()


def test_the_language_switch_survives_a_reload(site):
    browser, url, _ = site
    context = browser.new_context(viewport={"width": 390, "height": 844}, locale="tr-TR")
    try:
        page = screenshot.open_page(context, f"{url}/devices")
        page.get_by_role("heading", level=1, name=Words("tr")("ask_devices")).wait_for()
        page.get_by_text("English", exact=True).click()
        page.get_by_role("heading", level=1, name=Words("en")("ask_devices")).wait_for()
        page.wait_for_function("document.documentElement.lang === 'en'")
        assert "lang=en" in page.url
        page.reload()
        page.get_by_role("heading", level=1, name=Words("en")("ask_devices")).wait_for()
    finally:
        context.close()


def test_a_phone_that_reports_appears_without_a_reload(site, made):
    browser, url, folder = site
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    try:
        page = screenshot.open_page(context, f"{url}/devices?lang=en")
        late = made.phone()
        late["host"] = {**late["host"], "cpu": "Late phone", "fingerprint": "ffffffffffff"}
        with (folder / "results" / "late.jsonl").open("w") as file:
            file.write(json.dumps(late) + "\n")
        page.get_by_text("Late phone").first.wait_for(timeout=10_000)
    finally:
        context.close()
