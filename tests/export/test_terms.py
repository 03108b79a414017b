import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edge_runtime.errors import BadData, BadInput, BadRequest
from export import cli, metrics, mixed
from export.samples import of_examples
from export.terms import Terms
from tests.export.tiny import ROWS, of_side
from train.data import image_data


@pytest.fixture
def food(tmp_path, draw):
    """Forty training pictures of two labels, six test pictures, and a folder with copies of both and eight others."""

    def put(path, seed):
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(20, 20, seed).save(path)
        return str(path)

    train = [(put(tmp_path / f"train/{seed}.png", seed), seed % 2) for seed in range(40)]
    test = [(put(tmp_path / f"test/{seed}.png", seed), seed % 2) for seed in range(100, 106)]
    for seed in (*range(3), *range(100, 102), *range(200, 208)):
        put(tmp_path / f"more/any/{seed}.png", seed)
    put(tmp_path / "more/again.png", 200)
    return train, test, tmp_path / "more"


def samples(food, **said):
    train, test, _ = food
    return of_examples(of_side(16), "food", "", train, test, Terms.of(**said))


def test_pictures_that_were_trained_on_tested_or_met_before_do_not_count_and_are_counted_by_reason(food):
    found = samples(food, unlabelled=food[2])
    assert len(found.unlabelled) == 8
    assert found.dropped == {"on the training side": 3, "on the test side": 2, "found twice": 1}


def test_what_quantization_is_tuned_on_is_of_the_training_side_and_calibration_did_not_see_it(food):
    train, test, _ = food
    many = [*train, *((path, label) for path, label in train for _ in range(4))]
    found = of_examples(of_side(16), "food", "", many, test, Terms())
    assert len(found.calibration) == 128 and len(found.held) == 200 - 131
    assert samples(food).held == ()


def test_a_damaged_unlabelled_picture_is_left_out_and_more_than_one_in_twenty_is_refused(food):
    folder = food[2]
    (folder / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    with pytest.raises(BadData, match="1 of 9 pictures cannot be read, more than 5%"):
        samples(food, unlabelled=folder)


def test_damaged_calibration_pictures_are_skipped_and_counted_and_more_than_one_in_twenty_is_refused(food, caplog):
    train, _, _ = food
    for path, _ in train[:2]:
        Path(path).write_bytes(b"")
    assert len(samples(food).skipped) == 2 and len(samples(food).calibration) == 38 - 3
    assert "food gives 35 calibration inputs, fewer than 128" in caplog.text
    Path(train[2][0]).write_bytes(b"")
    with pytest.raises(BadData, match="3 of 40 pictures cannot be read, more than 5%"):
        samples(food)


def test_a_calibration_side_of_one_label_or_none_is_refused(food):
    train, test, _ = food
    one = [(path, 0) for path, _ in train]
    with pytest.raises(BadData, match="food holds only circle on its training side, and calibration takes its ranges"):
        of_examples(of_side(16), "food", "", one, test, Terms())
    with pytest.raises(BadData, match="food holds nothing on its training side"):
        of_examples(of_side(16), "food", "", [], test, Terms())


def test_terms_that_cannot_be_meant_are_refused(food, tmp_path):
    for drop in (0, -1, 100, "1", True):
        with pytest.raises(BadRequest, match="--max-drop is in points of accuracy, above 0 and below 100"):
            Terms.of(max_drop=drop)
    with pytest.raises(BadInput, match="nowhere is not a folder"):
        Terms.of(unlabelled=[tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadRequest, match="empty holds no picture"):
        Terms.of(unlabelled=tmp_path / "empty")
    rows = [((0.0, 0.0, 0.0, 0.0), 0), ((1.0, 1.0, 1.0, 1.0), 1)]
    with pytest.raises(BadRequest, match="--unlabelled names pictures, and rows takes rows of cm"):
        of_examples(ROWS, "rows", "", rows, rows, Terms.of(unlabelled=food[2]))


def test_the_terms_content_changes_with_a_picture_and_not_with_where_it_lies(food, tmp_path):
    before = Terms.of(unlabelled=food[2]).plain()
    moved = food[2].rename(tmp_path / "moved")
    assert Terms.of(unlabelled=[moved]).plain() == before
    next(moved.rglob("207.png")).unlink()
    assert Terms.of(unlabelled=[moved]).plain() != before
    assert Terms.of(max_drop=2).plain() != Terms.of().plain() != Terms.of(keep_failed=True).plain()


def test_an_export_counts_unlabelled_pictures_mends_judges_again_and_keeps_what_failed_where_asked(
    run, tmp_path, draw, monkeypatch, capsys
):
    folder = tmp_path / "phone"
    folder.mkdir()
    for seed in range(12):
        draw(20, 20, seed).save(folder / f"{seed}.png")
    shutil.copy(image_data("digits").train[0].path, folder / "trained.png")
    seen = []

    def failed(flips, max_drop, looks):
        seen.append((flips, max_drop))
        return {"answer": "fail", "reason": "lost too much"}

    def mended(jobs, lowered, *_):
        return {"onnx-int8": replace(lowered["onnx-int8"], data=lowered["onnx-int8"].data)}

    monkeypatch.setattr(metrics, "accuracy_verdict", failed)
    monkeypatch.setattr(mixed, "mend", mended)
    said = ["--unlabelled", str(folder), "--max-drop", "2", "--keep-failed", "--json", "--out", str(tmp_path)]
    assert cli.main([str(run), "--recipes", "onnx-fp32,onnx-int8", *said]) == 1
    assert [(flips.n, flips.labelled, max_drop) for flips, max_drop in seen] == [(372, 360, 0.02)] * 2
    manifest = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [artifact["id"] for artifact in manifest["artifacts"]] == ["onnx-fp32", "onnx-int8"]
    assert manifest["artifacts"][1]["verdict"]["accuracy"]["answer"] == "fail" and manifest["left_out"] == []
    assert "int8 kernels" in manifest["artifacts"][1]["verdict"]["speed"]["reason"]
    unlabelled = manifest["provenance"]["unlabelled"]
    assert (unlabelled["n"], unlabelled["left_out"]) == (12, {"on the training side": 1})
