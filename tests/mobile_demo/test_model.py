import json
import re
from pathlib import Path

import pytest
from PIL import Image

from edge_runtime import examples
from edge_runtime.bundle import open_bundle
from mobile_demo.dashboard import model, model_charts, training
from mobile_demo.words import Words

EN, TR = Words("en"), Words("tr")


@pytest.fixture(scope="module")
def digits():
    return open_bundle(examples.path("digits.zip")).manifest


def test_every_number_of_the_history_is_a_curve_over_its_epoch(tmp_path):
    lines = [{"epoch": i, "epochs": 2, "loss": 1 / i, "accuracy": 0.5, "note": "x"} for i in (1, 2)]
    text = "\n".join([*map(json.dumps, lines), '{"epoch": 3, "los', "[1]", '{"epoch": 4, "loss": NaN}'])
    (tmp_path / "history.jsonl").write_text(text)
    curves = training.curves(training.history(tmp_path))
    assert [(curve.key, curve.over) for curve in curves] == [("loss", "over_epoch"), ("accuracy", "over_epoch")]
    assert curves[0].points == ((1.0, 1.0), (2.0, 0.5))


def test_a_run_that_is_not_here_has_no_curves(tmp_path):
    assert training.curves(training.history(tmp_path / "nowhere")) == []
    assert training.curves([{"loss": 1.0}]) == []


def judged(**changed):
    kept = {
        "labels": [0, 0, 1],
        "predictions": [0, 1, 0],
        "probabilities": [0.9, 0.6, 0.8],
        "inputs": ["a/1.jpg", "a/2.jpg", "b/3.jpg"],
    }
    return {"artifact": {"id": "onnx"}, "accuracy": {**kept, **changed}}


def test_the_confusion_matrix_counts_what_was_taken_for_what():
    cells = training.confusion(training.judged(judged(), 2), ["pizza", "suşi"], TR)
    assert [cell["count"] for cell in cells] == [1, 1, 1, 0]
    assert [cell["share"] for cell in cells] == [0.5, 0.5, 1.0, 0.0]
    assert cells[1]["said"] == "2 *pizza* örneğinden 1 tanesine *suşi* dendi"
    model_charts.confusion(cells, TR).to_dict()


def test_the_numbers_in_the_confusion_matrix_can_be_read_on_every_cell():
    def luminance(colour):
        parts = [value / 255 for value in bytes.fromhex(colour[1:])]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for dark in (False, True):
        for share in range(101):
            for right in (False, True):
                colour = model_charts.shade(share / 100, right, dark)
                low, high = sorted(map(luminance, (colour, model_charts.ink(colour))))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (colour, share, right, dark)


def test_what_training_measured_is_named_in_the_pages_language_with_what_it_counts():
    found = [("cv_accuracy", 0.9378), ("cv_correct", 422.0), ("cv_n", 450.0), ("test_loss", 0.1069), ("sparkle", 2.0)]
    rows = training.result_rows(found, TR)
    assert [(row.cells, row.under[1]) for row in rows] == [
        (("Doğruluk (çapraz doğrulama)", "%93,8"), "422/450"),
        (("Kayıp (test)", "0,1069"), ""),
        (("sparkle", "2"), ""),
    ]


def test_no_figure_of_a_recipe_is_shown_by_its_raw_name():
    recipes = Path(training.__file__).resolve().parents[2] / "train" / "recipes"
    text = "".join(path.read_text(encoding="utf-8") for path in recipes.glob("*.py"))
    lists = {"test_interval", "test_seeds", "cv_repeats_correct"}  # are no single numbers, and are not shown
    keys = set(re.findall(r'"((?:cv|test)_[a-z0-9_]+)"', text)) - lists
    assert "cv_accuracy" in keys
    assert {key for key in keys if training.figure(key, TR) == key} == set()


def test_the_most_confidently_wrong_stand_first():
    wrong = training.most_confidently_wrong(training.judged(judged(), 2))
    assert [(one.name, one.answer, one.truth) for one in wrong] == [("b/3.jpg", 0, 1), ("a/2.jpg", 1, 0)]


@pytest.mark.parametrize(
    "bad", [{"labels": None}, {"labels": [0, 0]}, {"labels": [0, 0, 7]}, {"predictions": ["x"] * 3}, {"labels": []}]
)
def test_predictions_that_do_not_fit_the_bundle_are_not_shown(bad):
    assert training.judged(judged(**bad), 2) is None
    assert training.judged({}, 2) is None


def test_a_record_of_an_older_version_has_no_pictures_to_show():
    found = training.judged(judged(probabilities=None, inputs=None), 2)
    assert training.most_confidently_wrong(found) == []


def test_a_picture_is_found_by_its_label_and_name_and_nothing_else_is(tmp_path, monkeypatch):
    folder = tmp_path / "food" / "test" / "pizza"
    folder.mkdir(parents=True)
    Image.new("RGB", (300, 200), "red").save(folder / "1.jpg")
    (tmp_path / "secret.jpg").write_bytes(b"x")
    monkeypatch.setenv("LOKMA_DATA", str(tmp_path))
    assert training.picture_of("pizza/1.jpg") == folder / "1.jpg"
    assert training.thumbnail(folder / "1.jpg").startswith("data:image/jpeg;base64,")
    assert training.thumbnail(tmp_path / "secret.jpg") == ""
    for name in ("../secret.jpg", "pizza/../../secret.jpg", "pizza/1.txt", "1.jpg", "/etc/passwd"):
        assert training.picture_of(name) is None
    monkeypatch.delenv("LOKMA_DATA")
    assert training.picture_of("pizza/1.jpg") is None


def test_each_file_stands_with_its_verdicts_and_their_numbers(digits):
    rows = {row.cells[0]: row for row in model.artifacts(digits, TR)}
    int8 = rows["onnx-int8"]
    assert int8.cells[4:] == ("geçti", "daha yavaş")
    assert int8.marks[4:] == (True, False)
    assert int8.under[4] == "360 yanıttan 0 tanesi değişti"
    assert int8.under[5].replace("\u2060", "") == "onnx-fp32 × 1,03 (%95\xa0güven aralığı: 1,01–1,06)".replace(
        "%95\xa0", "%95 "
    )
    assert rows["onnx-fp32"].cells[4:] == ("referans", "referans")


def test_a_file_that_was_left_out_says_why():
    manifest = {"artifacts": [], "left_out": [{"id": "onnx-int8", "reason": "9 of 150 lost"}]}
    row = model.artifacts(manifest, EN)[0]
    assert (row.cells[0], row.cells[4], row.under[4]) == ("onnx-int8", "left out of the bundle", "9 of 150 lost")


def test_the_ladder_names_each_step_and_what_it_is_compared_with():
    hop = {"hop": "exported program", "against": "eager", "max_relative": 3.6e-06, "same_top1": 32, "n": 32, "ok": True}
    board = {**hop, "hop": "pi4", "against": "session here", "ok": None}
    rows = model.ladder({"artifacts": [{"id": "a", "ladder": [hop, board]}]}, TR)
    assert rows[0].cells == ("a", "dışa aktarılan program", "eager torch", "3,6E-6", "32/32", "evet")
    assert rows[1].cells[:3] == ("", "pi4", "buradaki oturum")
    assert rows[1].marks[-1] is None


def test_sensitive_layers_stand_worst_first():
    layers = {"a": 0.01, "b": 0.2}
    manifest = {"artifacts": [{"id": "x", "quantization": {"sensitivity": {"layers": layers}}}]}
    assert model.sensitivity(manifest) == ("x", [{"layer": "b", "error": 0.2}, {"layer": "a", "error": 0.01}])
    assert model.sensitivity({"artifacts": [{"id": "x", "quantization": None}]}) == ("", [])


def test_who_ran_it_lists_what_stayed_outside(digits):
    rows = {row.cells[0]: row.cells for row in model.delegation(digits, EN)}
    assert rows["onnx-int8"][3].replace("\xa0", " ") == "83.3 %"
    assert rows["onnx-int8"][4].startswith("QuantizeLinear 6.")
    assert rows["onnx-fp32"][4] == "none"


def test_operators_stand_with_who_ran_them_how_often_and_their_share():
    rows = [{"operator": "Conv", "backend": "cpu", "count": 12, "ns": 3_000_000, "share": 0.75}]
    cells = [cell.replace("\xa0", " ") for cell in model.layers(rows, EN)[0].cells]
    assert cells == ["Conv", "cpu", "12", "3.0 ms", "75.0 %"]
    assert len(model.layers(rows * 50, EN)) == model.MOST_LAYERS
