import json
import shutil

import pytest

from edge_runtime import store
from edge_runtime.errors import BadData, BadInput
from export import boards
from export.verify import verify
from train.user_data import user_data

HOME = store.home()
NOT_HERE = boards.missing() or ("" if (HOME / "arm/lokma").is_dir() else "the boards are not made yet: make test-arm")


def named(report):
    return {check["name"]: check for check in report["checks"]}


def folder_of(draw, root, labels=("circle", "cross", "star"), n=4):
    for label in labels:
        (root / label).mkdir(parents=True)
        for index in range(n):
            draw(30 + index, 28, 100 * len(label) + sum(map(ord, label)) + index).save(root / label / f"{index}.png")
    return root


def test_a_bundle_is_verified_on_its_golden_cases_alone(pictures):
    report = verify(pictures.zip)
    checks = named(report)
    assert report["ok"] and "first bad hop" not in checks
    assert checks["onnx-fp32, against xnnpack-fp32"]["ok"] is True
    assert checks["onnx-int8, against onnx-fp32"]["ok"] is None  # shown; its accuracy is judged
    assert "of 3" in checks["xnnpack-int8, against golden references"]["detail"]


def test_pictures_of_a_folder_are_compared_and_counted_by_label(pictures, draw, tmp_path):
    checks = named(verify(pictures.folder, folder_of(draw, tmp_path / "data")))
    assert "of 12" in checks["onnx-int8, against onnx-fp32"]["detail"]
    assert "records none" in checks["xnnpack-fp32, accuracy"]["detail"]


def test_of_two_sides_the_test_side_counts(pictures, draw, tmp_path):
    for side, n in (("train", 3), ("test", 2)):
        for label in ("circle", "cross", "star"):
            (tmp_path / side / label).mkdir(parents=True)
            for index in range(n):
                seed = len(side) * 1000 + len(label) * 100 + index
                draw(40, 30 + index, seed).save(tmp_path / side / label / f"{index}.png")
    assert "of 6" in named(verify(pictures.folder, tmp_path))["onnx-int8, against onnx-fp32"]["detail"]


def test_of_the_data_that_it_was_exported_with_only_what_judged_it_counts(pictures, draw, tmp_path):
    found = user_data(folder_of(draw, tmp_path / "data", n=8))
    folder = shutil.copytree(pictures.folder, tmp_path / "copy")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["provenance"] = {"data": {"name": found.name, "sha256": found.sha256}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert 0 < len(found.test) < 24
    said = named(verify(folder, tmp_path / "data"))["onnx-int8, against onnx-fp32"]["detail"]
    assert f"of {len(found.test)}" in said


def test_the_first_bad_hop_is_named_where_an_artifact_is_not_the_model(pictures, tmp_path):
    folder = shutil.copytree(pictures.folder, tmp_path / "copy")
    manifest = json.loads((folder / "manifest.json").read_text())
    for case in manifest["golden"]:
        case["reference"] = case["reference"][::-1]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    report = verify(folder)
    assert not report["ok"]
    assert report["checks"][-1]["name"] == "first bad hop"
    assert report["checks"][-1]["detail"].startswith("xnnpack-fp32, against golden references: ")


def test_data_that_does_not_fit_is_refused(pictures, draw, tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        verify(pictures.folder, tmp_path / "nothing")
    with pytest.raises(BadData, match=r"the label 'moon'; the bundle's are circle, cross, star"):
        verify(pictures.folder, folder_of(draw, tmp_path / "moons", ("circle", "moon")))
    folder_of(draw, tmp_path / "torn")
    (tmp_path / "torn/star/0.png").write_bytes(b"no picture")
    with pytest.raises(BadData, match="1 of 12 inputs"):
        verify(pictures.folder, tmp_path / "torn")


@pytest.mark.skipif(bool(NOT_HERE), reason=NOT_HERE)
def test_emulated_boards_answer_as_this_machine(pictures, monkeypatch):
    monkeypatch.setenv("LOKMA_HOME", str(HOME))
    checks = named(verify(pictures.folder, boards=True))
    emulated = {name: check for name, check in checks.items() if "emulated" in name}
    assert len(emulated) == 12 and all(check["ok"] for check in emulated.values()), emulated
