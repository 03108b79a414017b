"""The walk of a class: a photo on the phone, its answer, *was it right?*, the speed test, and a row for the teacher."""

import contextlib

import pytest

from benchmarks import results
from edge_runtime import examples
from edge_runtime.errors import Missing
from mobile_demo import phone_site, screenshot
from mobile_demo.server import free_port, serve
from mobile_demo.words import Words

TOKEN, WITHIN_MS = "token-of-the-class", 60_000


@pytest.fixture
def classroom(made, tmp_path):
    """The one server with a tiny seeded bundle that a laptop has measured, and a browser."""
    pytest.importorskip("streamlit", reason="streamlit is not installed (extra demo)")
    pytest.importorskip("onnx", reason="onnx is not installed (extra export): the test bundle is made with it")
    if not phone_site.ENGINE.is_dir():
        pytest.skip("onnxruntime-web is not installed: npm ci")
    try:
        screenshot.chromium()
    except Missing as error:
        pytest.skip(str(error))
    made.bundle(tmp_path / "bundles")
    made.write(tmp_path / "results", made.run())
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(serve(tmp_path / "results", tmp_path / "bundles", free_port(), TOKEN))
        yield stack.enter_context(screenshot.browser()), url, tmp_path / "results"


def test_photo_answer_right_speed_test_and_the_row_in_the_dashboard(classroom):
    browser, url, records = classroom
    words, problems = Words("tr"), []
    teacher = browser.new_context(viewport={"width": 1440, "height": 900}, locale="tr-TR")
    student = browser.new_context(viewport={"width": 390, "height": 844}, locale="tr-TR", has_touch=True)
    for context in (teacher, student):
        context.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        context.on("weberror", lambda error: problems.append(str(error.error)))
    table = screenshot.open_page(teacher, f"{url}/compare?bundle=foodvision-mini")
    assert table.get_by_text("Cep telefonu 1").count() == 0

    phone = student.new_page()
    phone.set_default_timeout(WITHIN_MS)
    phone.goto(f"{url}/phone/#token={TOKEN}")
    phone.locator("html[data-ready=yes]").wait_for()
    phone.locator("#choose").set_input_files(examples.path("seven.png"))
    phone.locator("#answer:not([hidden])").wait_for()
    assert "telefonunda" in phone.locator("#where").inner_text()
    phone.locator("#yes").click()
    phone.locator("#speed summary").click()
    phone.locator("#phone").fill("Cep telefonu 1")
    phone.locator("#start").click()
    phone.get_by_text(words("phone_speed_sent")).wait_for()

    table.locator(".lk-table", has_text="Cep telefonu 1").first.wait_for(timeout=WITHIN_MS)
    row = table.locator(".lk-table tr", has_text="Cep telefonu 1").first.inner_text()
    assert words("on_a_phone") in row
    assert words("not_measured") in row  # its memory: a browser does not say it
    devices = screenshot.open_page(teacher, f"{url}/devices")
    devices.locator(".lk-table", has_text=words("field_accuracy")).get_by_text("1/1").wait_for()
    kept = results.read(records)
    assert kept.dropped == 0
    mine = [one for one in kept.records if one["target"] == "phone"]
    assert sorted((one["kind"], one["artifact"]["id"]) for one in mine)[-1][0] == "field"
    assert all(one["cold_start_p50_ns"]["total"] > 0 for one in mine if one["kind"] == "bench")
    assert problems == []
