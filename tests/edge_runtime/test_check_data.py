"""`check --data`: the accuracy measured again on the device, and the data that it takes."""

import json
import shutil

import pytest

from edge_runtime import check as checks
from edge_runtime import load
from edge_runtime.check import check
from edge_runtime.errors import BadInput, BadRequest


@pytest.fixture
def labelled(pictures, tmp_path, draw):
    """Twelve pictures in folders by the label that the model itself gives them."""
    predictor = load(pictures.folder, "xnnpack-fp32", exact=True)
    for seed in range(12):
        label = predictor.predict(draw(40, 30, seed)).label
        (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
        draw(40, 30, seed).save(tmp_path / "data" / label / f"{seed}.png")
    for name in (".DS_Store", "._1.png", "Thumbs.db", "notes.txt"):
        (tmp_path / "data" / label / name).write_bytes(b"not a picture")
    return tmp_path / "data"


def recorded(pictures, tmp_path, interval):
    folder = shutil.copytree(pictures.folder, tmp_path / "pictures")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["artifacts"] = manifest["artifacts"][:1]
    manifest["artifacts"][0]["accuracy"] = {"metric": "top-1", "interval": interval}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_the_accuracy_is_measured_again_and_reported(pictures, labelled):
    report = check(pictures.folder, labelled)
    found = {one["name"]: one["detail"] for one in report["checks"]}
    said = "100.0% (12 of 12; 75.8% to 100.0%); the manifest records none to compare with"
    assert report["ok"] and found["xnnpack-fp32 accuracy"] == said
    assert len([name for name in found if name.endswith(" accuracy")]) == 4


def test_of_the_folder_that_was_exported_with_the_test_side_counts(pictures, labelled, tmp_path):
    shutil.copytree(labelled, tmp_path / "both/test")
    shutil.copytree(labelled, tmp_path / "both/train")
    found = {one["name"]: one["detail"] for one in check(pictures.folder, tmp_path / "both")["checks"]}
    assert found["xnnpack-fp32 accuracy"].startswith("100.0% (12 of 12; ")


def test_a_picture_that_cannot_be_read_is_left_out_and_counted_up_to_5_percent(pictures, labelled, tmp_path):
    folder = recorded(pictures, tmp_path, [0.9, 1.0])
    known = next(labelled.glob("*/[0-9]*.png"))
    (known.parent / "broken.jpg").write_bytes(b"half a pict")
    report = check(folder, labelled)
    found = report["checks"][-1]
    assert not report["ok"] and found["ok"] is False
    assert found["detail"].startswith("1 of 13 cannot be read, more than 5%; the first: ")
    assert "broken.jpg" in found["detail"]
    for number in range(7):
        shutil.copy(known, known.parent / f"again{number}.png")
    found = check(folder, labelled)["checks"][-1]
    assert found["ok"] and found["detail"].startswith("100.0% (19 of 19; ")
    assert "%; 1 of 20 cannot be read and are left out); the manifest records" in found["detail"]


def test_an_accuracy_wholly_below_the_recorded_one_fails(pictures, labelled, tmp_path):
    folder = recorded(pictures, tmp_path, [0.9, 1.0])
    report = check(folder, labelled)
    assert report["ok"] and report["checks"][-1]["detail"].endswith("; the manifest records 90.0% and more")
    wrong = tmp_path / "wrong"
    names = [label.id for label in pictures.spec.labels]
    for path in labelled.glob("*/[0-9]*.png"):  # each under the next label
        target = wrong / names[(names.index(path.parent.name) + 1) % 3]
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    report = check(folder, wrong)
    said = "0.0% (0 of 12; 0.0% to 24.2%) lies below what the manifest records, 90.0% and more"
    assert not report["ok"] and report["checks"][-1] == {"name": "xnnpack-fp32 accuracy", "ok": False, "detail": said}


def test_data_that_does_not_fit_the_bundle_is_refused(pictures, policy, labelled, tmp_path):
    with pytest.raises(BadRequest, match="is a policy model; --data measures binary and multiclass ones"):
        check(policy.folder, labelled)
    with pytest.raises(BadInput, match="is not a folder of pictures in folders named by label ids"):
        check(pictures.folder, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds nothing to measure on"):
        check(pictures.folder, tmp_path / "empty")
    (labelled / "square").mkdir()
    shutil.copy(next(labelled.glob("*/[0-9]*.png")), labelled / "square")
    with pytest.raises(BadInput, match="has the label 'square'; the bundle's are circle, cross, star"):
        check(pictures.folder, labelled)


def test_a_table_of_rows_is_read_with_its_labels(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("\ufeffa,b,label\n1,2.5,left\n\n3,4,right\n", encoding="utf-8")
    assert checks._rows(path, ()) == [([1.0, 2.5], "left"), ([3.0, 4.0], "right")]
    for text in ("a,b\n1,2\n", "label\nleft\n", ""):
        path.write_text(text)
        with pytest.raises(BadInput, match="last column is label or target"):
            checks._rows(path, ())
    with pytest.raises(BadInput, match="cannot be read"):
        checks._rows(tmp_path / "nowhere.csv", ())


def test_a_tables_columns_are_matched_by_their_names(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('b,"a, of it",target\n1,2.5,left\n')
    assert checks._rows(path, ("a, of it", "b")) == [([2.5, 1.0], "left")]
    path.write_text('b,way,"a, of it"\n1,left,2.5\n')  # as it was exported with --target way
    assert checks._rows(path, ("a, of it", "b")) == [([2.5, 1.0], "left")]
    path.write_text('b,"a, of it",target\n1,2.5,left\n')
    with pytest.raises(BadInput, match=r"must name the columns a, b; it lacks 'a' and has 'a, of it' besides"):
        checks._rows(path, ("a", "b"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b,label\n\n1,nan,left\n", r"rows.csv:3, column '(b|2)': 'nan' is not a finite number"),
        ("a,b,label\n1,much,left\n", r"rows.csv:2, column '(b|2)': 'much' is not a finite number"),
        ("a,b,label\nsome,much,left\n", r"rows.csv:2, column '(a|1)': 'some' is not a finite number"),
        ("a,b,label\n1,2,left\nleft\n", "rows.csv:3 has 1 cells; the first line names 3 columns"),
        ('a,b,label\n1,2,"left\n', "is not a CSV in UTF-8 after line 2"),
    ],
)
@pytest.mark.parametrize("columns", [(), ("a", "b")])
def test_a_row_that_cannot_be_read_is_named_by_its_line(tmp_path, text, says, columns):
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(BadInput, match=says):
        checks._rows(tmp_path / "rows.csv", columns)


def test_the_command_measures_the_accuracy_and_names_the_first_that_failed(lokma, pictures, labelled, tmp_path):
    folder = recorded(pictures, tmp_path, [1.1, 1.2])
    done = lokma("check", folder, "--data", labelled)
    assert done.returncode == 1 and "xnnpack-fp32 accuracy  100.0%" in done.stdout
    assert done.stderr.splitlines()[-1].startswith(f"lokma: {folder} failed the check: xnnpack-fp32 accuracy: 100.0%")
