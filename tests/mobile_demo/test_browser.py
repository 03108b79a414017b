import contextlib

import pytest

from edge_runtime.errors import Missing
from mobile_demo import screenshot
from mobile_demo.server import free_port, serve
from mobile_demo.words import Words


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
    made.write(folder / "results", [*made.policy_run(), *made.run(notes=["a note"])])
    for name in ("foodvision-mini", "cartpole"):
        made.bundle(folder / "bundles", name, policy=name == "cartpole")
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(serve(folder / "results", folder / "bundles", free_port()))
        yield stack.enter_context(screenshot.browser()), url


@pytest.mark.parametrize(
    ("language", "bundle", "width"),
    [
        ("en", "foodvision-mini", 390),
        ("tr", "foodvision-mini", 390),
        ("tr", "cartpole", 390),
        ("en", "cartpole", 1440),
    ],
)
def test_the_page_fits_its_width_without_a_console_error_or_a_foreign_request(site, language, bundle, width):
    browser, url = site
    context = browser.new_context(viewport={"width": width, "height": 844}, locale="en-US")
    page = None
    said, asked = [], []
    context.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: said.append(str(error.error)))
    context.on("request", lambda request: asked.append(request.url))
    try:
        page = screenshot.open_page(context, f"{url}/?lang={language}&bundle={bundle}")
        assert page.locator("h1").inner_text() == Words(language)("ask_which")
        assert page.evaluate("document.documentElement.lang") == language
        wide = page.evaluate(
            """() => [...document.querySelectorAll('.stMain, .block-container, .block-container *')]
                .filter(one => !one.closest('.lk-scroll, svg'))
                .filter(one => one.getBoundingClientRect().right > window.innerWidth + 1)
                .map(one => one.className.toString().slice(0, 80))"""
        )
        assert wide == []
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert said == []
        foreign = [one for one in asked if not one.startswith((url, "data:", "blob:", url.replace("http", "ws")))]
        assert foreign == []
    finally:
        context.close()


def test_the_language_switch_survives_a_reload(site):
    browser, url = site
    context = browser.new_context(viewport={"width": 390, "height": 844}, locale="tr-TR")
    try:
        page = screenshot.open_page(context, url)
        page.get_by_role("heading", level=1, name=Words("tr")("ask_which")).wait_for()
        page.get_by_text("English", exact=True).click()
        page.get_by_role("heading", level=1, name=Words("en")("ask_which")).wait_for()
        page.wait_for_function("document.documentElement.lang === 'en'")
        assert "lang=en" in page.url
        page.reload()
        page.get_by_role("heading", level=1, name=Words("en")("ask_which")).wait_for()
    finally:
        context.close()
