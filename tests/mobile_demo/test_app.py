import io
import json
import sys

import pytest
from PIL import Image

from benchmarks import results
from mobile_demo.server import APP
from mobile_demo.words import Words

testing = pytest.importorskip("streamlit.testing.v1", reason="streamlit is not installed (extra demo)")


def open_app(language=None, locale=None, name="", **params):
    """A page as a browser opens it; `name` is that of another than the first."""
    app = testing.AppTest.from_file(str(APP), default_timeout=60)
    for key, value in {"lang": language, **params}.items():
        if value:
            app.query_params[key] = value
    if locale:
        app.context = {"locale": locale}
    app.run()
    if name:
        app.switch_page(f"{name}_page.py").run()
    assert not app.exception
    return app


def answered(app):
    return next(part.value for part in app.get("html") if "lk-answer" in part.value)


def texts(app):
    parts = [*app.title, *app.header, *app.markdown, *app.caption, *app.warning, *app.info, *app.error]
    return [part.value for part in parts] + [part.body for part in app.code if hasattr(part, "body")]


def html(app):
    return "\n".join(part.value for part in app.get("html"))


def answers_of(app):
    return [part.value for part in app.get("html") if 'class="lk-table"' in part.value][-1]


def picture():
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "orange").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("language", ["en", "tr"])
def test_the_first_page_answers_its_question_in_both_languages(made, page, language):
    made.write(page / "results", made.run())
    app, words = open_app(language), Words(language)
    assert app.title[0].value.startswith({"en": "Which model file keeps 95", "tr": "Hangi model dosyası %95"}[language])
    keys = ("ask_why", "ask_cloud", "ask_trade", "ask_source")
    assert [header.value for header in app.header] == [words(key) for key in keys]
    assert "<strong>xnnpack-int8</strong>" in html(app)
    assert words.percent(146 / 150) in html(app)
    assert app.code[0].value == "lokma bench bundles/foodvision-mini"
    assert (words("streamlit_note") in texts(app)) == (language == "tr")


@pytest.mark.parametrize("language", ["en", "tr"])
@pytest.mark.parametrize("name", ["compare", "model", "devices"])
def test_every_page_draws_with_measurements_phones_and_field_answers(made, page, engines_here, language, name):
    made.bundle(page / "bundles")
    records = [*made.run(), made.phone(), *(made.field(seed % 4 > 0, seed) for seed in range(8))]
    made.write(page / "results", records)
    app, words = open_app(language, name=name), Words(language)
    asks = {"compare": "ask_compare", "model": "ask_model", "devices": "ask_devices"}
    assert app.title[0].value == words(asks[name])
    assert not app.error


def test_all_devices_stand_in_one_table(made, page):
    made.write(page / "results", [*made.run(), made.phone()])
    app = open_app("en", name="compare")
    table = html(app)
    assert "on a phone · Pixel 8" in table
    assert "the course&#x27;s way · AMD EPYC 7B13" in table
    app.pills(key="target").set_value(["phone"]).run()
    assert "AMD EPYC 7B13" not in html(app).split("lk-table")[1]


def test_the_cloud_stands_beside_the_chosen_file_once_per_network(made, page):
    records = made.run()
    for seed, network in enumerate(("lan", "lte"), start=7):
        row = ("cloud", "onnxruntime", "fp32", 30.0, 147, 0.6, 142.6, 13.6)
        stages = {"network": 15_000_000, "inference": 14_000_000}
        records += made.run(
            {"onnx-fp32": row}, seed=seed, stages_ns=stages, notes=[f"the network {network} is emulated"]
        )
    for record in records[-2:]:
        record["time"] = "2026-01-01T00:00:00+00:00"
    made.write(page / "results", records)
    app = open_app("en", run=records[0]["scenario"]["run"])
    assert Words("en")("cloud_missing") not in texts(app)
    table = answers_of(app)
    assert table.count("in the cloud") == 2
    assert "the network lte is emulated" in table
    assert any(text.startswith("No: the answer came from the cloud after") for text in texts(app))


def test_a_file_is_taken_apart_at_the_press_of_a_button(made, page, engines_here):
    made.write(page / "results", made.policy_run())
    made.bundle(page / "bundles", "cartpole", policy=True)
    app = open_app("en", name="model")
    app.button(key="apart").click().run()
    assert not app.exception
    assert '<th scope="row">MatMul</th>' in html(app)
    app.selectbox(key="profiled").set_value("xnnpack-int8").run()
    app.button(key="apart").click().run()
    assert "xnnpack-int8 cannot be taken apart here." in texts(app)


def test_field_accuracy_stands_beside_the_test_accuracy(made, page):
    made.write(page / "results", [*made.run(), *(made.field(seed % 4 > 0, seed) for seed in range(8))])
    table = next(part for part in html(open_app("en", name="devices")).split("lk-scroll") if "Field accuracy" in part)
    assert "75.0\xa0%" in table
    assert "6 of 8" in table
    assert "138 of 150" in table


def test_the_demands_move_the_answer_and_stay_in_the_link(made, page):
    made.write(page / "results", made.run())
    app = open_app("en")
    app.number_input(key="fps").set_value(1000.0).run()
    assert "lk-is-no" in html(app)
    assert "1,000 FPS" in app.title[0].value
    again = open_app("en", fps="1000", floor="50")
    assert "50\xa0% and 1,000 FPS" in again.title[0].value


@pytest.mark.parametrize("params", [{"bundle": "nowhere"}, {"device": "<script>"}, {"fps": "fast"}, {"floor": "200"}])
def test_a_link_with_nonsense_shows_the_usual_page(made, page, params):
    made.write(page / "results", made.run())
    assert "95\xa0% and 30 FPS" in open_app("en", **params).title[0].value


def test_a_phones_accuracy_is_that_of_the_same_file_and_says_where(made, page):
    phone = made.phone()
    phone["time"] = "2026-01-01T00:00:00+00:00"
    made.write(page / "results", [phone, *made.run()])
    assert open_app("en").selectbox(key="device").value == "0123456789ab"
    app = open_app("en", device="abcdef012345")
    assert app.code[0].value == "lokma phone bundles/foodvision-mini"
    assert any("the very same file on AMD EPYC 7B13" in text for text in texts(app))


def test_two_phones_of_a_kind_are_two_devices(made, page):
    phones = [made.phone(), made.phone()]
    phones[1]["host"] = {**phones[1]["host"], "fingerprint": "77ffee012345"}
    made.write(page / "results", [*made.run(), *phones])
    app = open_app("tr", device="77ffee012345")
    device = app.selectbox(key="device")
    assert device.value == "77ffee012345"
    assert {"Pixel 8 · abcd", "Pixel 8 · 77ff"} < set(device.options)
    device.set_value("abcdef012345").run()
    assert app.query_params["device"] == "abcdef012345"


def test_a_link_to_a_comparison_is_the_same_in_every_language(made, page):
    records = made.run()
    made.write(page / "results", records)
    for language in ("en", "tr"):
        app = open_app(language, name="compare", target="device", cost="size", a=records[1]["id"])
        assert app.pills(key="target").value == ["device"]
        assert app.segmented_control(key="cost").value == "size"
        assert app.selectbox(key="a").value == records[1]["id"]


@pytest.mark.parametrize(
    ("language", "here", "there"),
    [("en", "on this machine", "on AMD EPYC 7B13"), ("tr", "bu makinede", "2 çekirdekli")],
)
def test_only_numbers_of_this_machine_are_said_to_be_of_it(made, page, monkeypatch, language, here, there):
    records = made.run()
    made.write(page / "results", records)
    assert there in answered(open_app(language))
    monkeypatch.setattr("benchmarks.environment.host", lambda: records[0]["host"])
    assert here in answered(open_app(language))


def test_the_language_starts_at_the_links_then_the_browsers_then_english(made, page):
    made.write(page / "results", made.run())
    turkish, english = Words("tr")("ask_why"), Words("en")("ask_why")
    assert open_app(locale="tr-TR").header[0].value == turkish
    assert open_app("en", locale="tr-TR").header[0].value == english
    assert open_app("xx").header[0].value == english
    assert open_app(locale="fi").header[0].value == english


def test_the_switch_changes_the_page_and_its_link(made, page):
    made.write(page / "results", made.run())
    app = open_app("en")
    app.segmented_control(key="language").set_value("tr").run()
    assert app.header[0].value == Words("tr")("ask_why")
    assert app.query_params["lang"] == "tr"


def test_each_bundle_can_be_chosen_and_the_one_measured_last_comes_first(made, page):
    older = made.policy_run()
    for record in older:
        record["time"] = "2026-01-01T00:00:00+00:00"
    made.write(page / "results", [*older, *made.run()])
    app = open_app("en")
    assert app.selectbox(key="bundle").options == ["foodvision-mini", "cartpole"]
    app.selectbox(key="bundle").set_value("cartpole").run()
    assert not app.exception
    assert "of the return and 30 FPS" in app.title[0].value


def test_an_older_run_can_be_chosen(made, page):
    older = made.run({name: made.food[name] for name in ("onnx-fp32", "eager")}, seed=4)
    for record in older:
        record["time"] = "2026-01-02T00:00:00+00:00"
    made.write(page / "results", [*older, *made.run(seed=5)])
    app = open_app("tr")
    assert app.selectbox(key="run").options[1] == "2 Ocak 2026, 00:00 UTC"
    app.selectbox(key="run").set_value(older[0]["scenario"]["run"]).run()
    assert "<strong>onnx-fp32</strong>" in answered(app)


def test_a_newer_run_of_the_cloud_alone_does_not_hide_what_the_device_measured(made, page):
    row = ("cloud", "onnxruntime", "fp32", 30.0, 147, 0.6, 142.6, 13.6)
    cloud = made.run({"onnx-fp32": row}, seed=4)
    cloud[0]["time"] = "2026-12-31T00:00:00+00:00"
    made.write(page / "results", [*cloud, *made.run(seed=5)])
    assert "<strong>xnnpack-int8</strong>" in answered(open_app("en"))


@pytest.mark.parametrize("language", ["en", "tr"])
def test_without_records_the_page_says_which_command_makes_them(page, language):
    app, words = open_app(language), Words(language)
    assert app.title[0].value == words("empty")
    assert app.code[0].value == "lokma bench bundles/foodvision-mini"


def test_the_empty_page_names_a_bundle_that_is_there(made, page):
    made.bundle(page / "bundles", "digits")
    assert open_app("en").code[0].value == "lokma bench bundles/digits"


def test_torn_old_and_alien_lines_are_counted_and_shown(made, page):
    made.write(page / "results", made.run())
    lines = ['{"schema_version": 1, "id": "to', "[1, 2]", json.dumps({"schema_version": 0}), '{"kind": "bench"}']
    (page / "results" / "other.jsonl").write_text("\n".join(lines) + "\n")
    app = open_app("en")
    assert "4 of the lines in the results could not be read as records and are left out." in texts(app)
    assert "<strong>xnnpack-int8</strong>" in html(app)


def test_a_record_that_lacks_what_the_page_needs_is_counted_on_the_page(made, page):
    records = made.run()
    records[1]["stages_ns"] = {"decode": "long"}
    made.write(page / "results", records)
    assert any("1 of this measurement's records lack" in text for text in texts(open_app("en")))


def test_new_records_appear_at_the_next_run(made, page):
    app = open_app("en")
    made.write(page / "results", made.run())
    app.run()
    assert "xnnpack-int8" in answered(app)


def test_flags_and_emulation_notes_are_shown(made, page):
    flags = {"valid": False, "flags": ["cpu governor is powersave"]}
    made.write(page / "results", made.run(validity=flags, notes=["emulated by qemu"]))
    app = open_app("en")
    assert app.warning[0].value == "These numbers carry a warning: the CPU governor was powersave."
    assert app.info[0].value == "Note in the records: emulated by qemu"


@pytest.fixture
def engines_here():
    pytest.importorskip("onnx", reason="onnx is not installed (extra export): the test bundle is made with it")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra onnx)")


@pytest.mark.parametrize(("language", "label"), [("en", "sushi"), ("tr", "suşi")])
def test_a_picture_goes_through_every_artifact_side_by_side(made, page, engines_here, language, label):
    made.write(page / "results", made.run())
    made.bundle(page / "bundles")
    app, words = open_app(language, name="model"), Words(language)
    app.file_uploader[0].upload("lunch.png", picture(), "image/png").run()
    assert not app.exception
    answers = answers_of(app)
    assert answers.count(f"<td>{label}</td>") == 2
    assert words("probability") in answers
    assert words("engine_failed") in answers or words("engine_missing") in answers  # the .pte that is not one
    assert words("answers_note") in texts(app)


def test_a_bad_picture_is_one_sentence(made, page, engines_here):
    made.write(page / "results", made.run())
    made.bundle(page / "bundles")
    app = open_app("tr", name="model")
    app.file_uploader[0].upload("notes.jpg", b"not a picture", "image/jpeg").run()
    assert not app.exception
    assert [error.value for error in app.error] == ["notes.jpg, resim olarak okunamadı."]
    assert any("notes.jpg is not a picture that can be read here" in text for text in texts(app))


def test_where_no_engine_is_installed_every_line_says_so(made, page, engines_here, monkeypatch):
    made.write(page / "results", made.run())
    made.bundle(page / "bundles")
    monkeypatch.setattr("edge_runtime.engines.available", lambda engine: False)
    app = open_app("tr", name="model")
    app.file_uploader[0].upload("notes.jpg", b"not a picture", "image/jpeg").run()
    assert not app.exception
    assert answers_of(app).count("motoru burada kurulu değil") == 3


def test_a_policy_takes_numbers_and_starts_at_a_golden_case(made, page, engines_here):
    made.write(page / "results", made.policy_run())
    made.bundle(page / "bundles", "cartpole", policy=True)
    app = open_app("tr", name="model")
    assert [field.value for field in app.number_input if "number-" in field.key] == [0.1, 0.0, -0.02, 0.3]
    before = answers_of(app)
    assert before.count("sağa it") == 2
    next(one for one in app.number_input if one.key.endswith("-3")).set_value(-3.0).run()
    assert answers_of(app) != before


def test_a_damaged_bundle_is_one_sentence_and_the_rest_of_the_page_stands(made, page):
    made.write(page / "results", made.run())
    broken = page / "bundles" / "foodvision-mini"
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text('{"schema_version": 99}')
    app = open_app("en", name="model")
    assert [error.value for error in app.error] == [f"The bundle in {broken} cannot be used."]
    assert app.selectbox(key="bundle").value == "foodvision-mini"


def test_a_bundle_that_is_not_here_names_the_command_that_writes_it(made, page):
    made.write(page / "results", made.run())
    assert open_app("en", name="model").code[0].value == "lokma export runs/foodvision-mini"


def test_another_bundle_than_the_measured_one_is_pointed_out(made, page, engines_here):
    made.write(page / "results", made.run())
    made.bundle(page / "bundles")
    assert any("is not the one that was measured last" in text for text in texts(open_app("en", name="model")))


def test_the_confusion_matrix_comes_from_the_kept_predictions(made, page, engines_here):
    records = made.run()
    kept = {"labels": [i % 3 for i in range(150)], "probabilities": [0.9] * 150}
    kept["inputs"] = [f"pizza/{i}.jpg" for i in range(150)]
    for record in records:
        record["accuracy"] = {**record["accuracy"], **kept}
    made.write(page / "results", records)
    made.bundle(page / "bundles")
    app = open_app("en", name="model")
    assert app.selectbox(key="confused").value == "eager"
    assert "sushi 90.0\xa0%, but it was steak" in html(app)
    assert any("not on this machine" in text for text in texts(app))


def test_the_page_imports_no_torch(made, page):
    made.write(page / "results", made.run())
    before = set(sys.modules)
    open_app("en")
    assert not {name for name in set(sys.modules) - before if name.split(".")[0] in ("torch", "train", "export")}
    assert results.read(page / "results").dropped == 0


def test_any_two_measurements_of_a_bundle_can_be_compared_older_ones_too(made, page):
    older = made.run({name: made.food[name] for name in ("onnx-fp32", "onnx-int8")}, seed=4)
    for record in older:
        record["time"] = "2026-01-02T00:00:00+00:00"
    made.write(page / "results", [*older, *made.run(seed=5)])
    app = open_app("en", name="compare", a=older[0]["id"], b=older[1]["id"])
    assert app.selectbox(key="a").value == older[0]["id"]
    assert any("2 January 2026" in one for one in app.selectbox(key="a").options)
    assert app.code[-1].value == f"lokma compare {older[0]['id']} {older[1]['id']}"
