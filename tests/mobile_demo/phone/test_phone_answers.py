"""The phone page in Chromium: its answers are the runtime's, and its records are what the dashboard reads."""

import contextlib
import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import results
from edge_runtime import examples, load

SEVEN = examples.path("seven.png")


def test_a_photo_is_answered_on_the_phone_without_a_request_in_both_languages(url, phone):
    phone.ready(url)
    asked = []
    phone.wait_for_timeout(500)  # the service worker keeps its files
    phone.context.on("request", lambda request: asked.append(request.url))
    phone.photo("seven.png", SEVEN.read_bytes())
    phone.locator("#answer:not([hidden])").wait_for()
    assert phone.locator("#said").inner_text().startswith("7 %")
    assert "telefonunda" in phone.locator("#where").inner_text()
    assert "Fotoğrafın telefonundan çıkmaz" in phone.locator("#where").inner_text()
    assert [one for one in asked if not one.startswith("blob:")] == []
    phone.locator("#language").click()
    phone.locator("html[lang=en]").wait_for()
    assert phone.locator("#where").inner_text().endswith("Your photo stays on your phone")
    assert phone.problems == []


def test_the_answer_is_the_runtimes(url, phone):
    with contextlib.closing(load(examples.path("digits.zip"), "onnx-int8")) as predictor:
        theirs = predictor.predict(SEVEN).top(3)
    phone.ready(url)
    phone.photo("seven.png", SEVEN.read_bytes())
    phone.locator("#answer:not([hidden])").wait_for()
    lines = [line.split("\n") for line in phone.locator("#top li").all_inner_texts()]
    assert [line[0] for line in lines] == [label for label, _ in theirs]
    assert lines[0][1] == f"%{100 * theirs[0][1]:.1f}".replace(".", ",")


def test_a_transparent_rotated_picture_is_what_the_runtime_sees(url, phone):
    picture = Image.open(SEVEN).convert("RGBA")
    picture.putalpha(200)
    exif = Image.Exif()
    exif[0x0112] = 6
    handle = io.BytesIO()
    picture.save(handle, "PNG", exif=exif)
    with contextlib.closing(load(examples.path("digits.zip"), "onnx-int8")) as predictor:
        theirs = predictor.predict(handle.getvalue()).top(3)
    phone.ready(url)
    phone.photo("turned.png", handle.getvalue())
    phone.locator("#answer:not([hidden])").wait_for()
    lines = [line.split("\n")[0] for line in phone.locator("#top li").all_inner_texts()]
    assert lines[0] == theirs[0][0]


@pytest.mark.parametrize("bundle", ["digits", "cartpole"])
def test_every_artifact_passes_its_golden_cases(url, phone, bundle):
    phone.ready(f"{url}?bundle={bundle}")
    phone.locator("#checks summary").click()
    phone.locator("#check").click()
    phone.locator("#findings li[data-finding]").nth(1).wait_for()
    found = [json.loads(line.get_attribute("data-finding")) for line in phone.locator("#findings li").all()]
    assert [(one["artifact"], one["ok"], one["cases"]) for one in found] == [
        ("onnx-fp32", True, 3),
        ("onnx-int8", True, 3),
    ]
    assert all(one["pixels"] == (0 if bundle == "digits" else None) for one in found)


def test_the_exported_policy_balances_the_pole(url, phone):
    phone.ready(f"{url}?bundle=cartpole&lang=en")
    phone.locator("#play").click()
    phone.locator("#said").get_by_text(re.compile(r"[1-5]\d\d of 500 steps")).wait_for()


def test_an_unsure_answer_says_so(url, phone):
    def unsure(route):
        manifest = route.fetch().json()
        manifest["spec"]["unsure_below"] = 0.9999999
        route.fulfill(json=manifest)

    phone.route("**/manifest.json", unsure)
    phone.ready(f"{url}?lang=en")
    phone.locator("#samples button").nth(1).click()
    phone.locator("#answer:not([hidden])").wait_for()
    assert phone.locator("#said").inner_text() == "I am not sure"


def test_photo_answer_right_and_speed_test_come_back_as_records(app, url, phone):
    phone.ready(f"{url}#token=right-token")
    assert "token" not in phone.url
    phone.photo("seven.png", SEVEN.read_bytes())
    phone.locator("#no").click()
    phone.locator("#actual").select_option("1")
    phone.locator("#tell").click()
    phone.locator("#thanks").get_by_text(phone.sentence("thanks")).wait_for()
    phone.locator("#speed summary").click()
    phone.locator("#phone").fill("Redmi Note 12")
    phone.locator("#start").click()
    phone.get_by_text(phone.sentence("speed_sent")).wait_for()
    found = results.read(app.state.records)
    assert found.dropped == 0
    field, *bench = found.records
    assert (field["kind"], field["target"], field["answer"]["predicted"], field["answer"]["actual"]) == (
        "field",
        "phone",
        "7",
        "1",
    )
    assert field["answer"]["right"] is False
    assert [one["artifact"]["id"] for one in bench] == ["onnx-fp32", "onnx-int8"]
    for one in bench:
        assert (one["kind"], one["target"], one["host"]["cpu"]) == ("bench", "phone", "Redmi Note 12")
        assert one["n"] >= 30
        assert one["scenario"]["warm_up"] >= 15
        assert set(one["stages_ns"]) == {"decode", "preprocess", "inference", "postprocess"}
        assert one["cold_start_ns"][0]["total"] > one["cold_start_ns"][0]["load"] > 0
        assert one["bundle"]["sha256"] == json.loads(json.dumps(bench[0]["bundle"]["sha256"]))
    assert all("picture" not in json.dumps(one).lower() for one in found.records)


def test_without_a_collector_records_are_saved_to_a_file_that_the_collector_accepts(url, phone):
    from mobile_demo.collector import accept

    phone.ready(url)
    phone.photo("seven.png", SEVEN.read_bytes())
    phone.locator("#yes").click()
    phone.locator("#outbox:not([hidden])").wait_for()
    with phone.expect_download() as saved:
        phone.locator("#save").click()
    records = accept(Path(saved.value.path()).read_bytes())
    assert [one["answer"]["right"] for one in records] == [True]


def test_torn_and_forged_posts_over_http_are_refused(app, url):
    import urllib.error
    import urllib.request

    def status(data, token="right-token"):
        asked = urllib.request.Request(f"{url}api/records", data, {"Authorization": f"Bearer {token}"})
        try:
            return urllib.request.urlopen(asked, timeout=10).status
        except urllib.error.HTTPError as refused:
            return refused.code

    before = len(results.read(app.state.records).records)
    assert [status(b"{torn"), status(b"{}", "wrong"), status(b" " * 300_000)] == [400, 401, 413]
    assert len(results.read(app.state.records).records) == before
