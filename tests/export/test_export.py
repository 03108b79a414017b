"""The whole room on a real run: digits, two epochs, real pictures."""

import dataclasses
import errno
import json
import shutil
import subprocess
import sys

import pytest

from edge_runtime import load
from edge_runtime.bundle import open_bundle
from edge_runtime.check import check
from edge_runtime.errors import BadData, BadInput, BadRequest, GateFailed
from export import export
from export.metrics import METRICS
from train.data import image_data

module = sys.modules["export.build"]


def test_a_bundle_is_whole_judged_on_every_test_picture_and_passes_its_own_check(bundle):
    opened = open_bundle(bundle)
    assert [artifact.id for artifact in opened.artifacts] == ["xnnpack-fp32", "onnx-fp32", "onnx-int8"]
    for artifact in opened.artifacts:
        assert artifact.details["accuracy"]["n"] == 360
        assert artifact.details["parity"]["n"] == 360
    fp32, _, int8 = opened.artifacts
    assert fp32.details["parity"]["max_relative"] <= 1e-4 and fp32.details["verdict"] is None
    fp32_answers, int8_answers = (
        [load(bundle, name, exact=True).predict(e.path).label for e in image_data("digits").test]
        for name in ("onnx-fp32", "onnx-int8")
    )
    changed = sum(a != b for a, b in zip(fp32_answers, int8_answers, strict=True))
    assert int8.details["verdict"]["accuracy"]["changed"] == changed
    assert int8.details["verdict"]["speed"]["against"] == "onnx-fp32"
    assert int8.details["verdict"]["speed"]["interval"][0] <= int8.details["verdict"]["speed"]["ratio"]
    assert int8.size_bytes < 0.7 * opened.artifacts[1].size_bytes
    report = check(bundle)
    proved = {entry["name"]: entry["detail"] for entry in report["checks"] if entry["ok"]}
    assert report["ok"] and list(proved) == ["hashes", "xnnpack-fp32", "onnx-fp32", "onnx-int8"]
    assert "3 golden cases" in proved["onnx-int8"] and "and tensor to tensor" in proved["onnx-int8"]
    card = (bundle / "MODEL_CARD.md").read_text()
    assert all(artifact.details["accuracy"]["text"] in card for artifact in opened.artifacts)


def test_both_engines_give_the_same_answer_and_the_bare_files_describe_themselves(bundle):
    data = image_data("digits")
    for path in [example.path for example in data.test[::60]]:
        a, b = (load(bundle, name).predict(path) for name in ("xnnpack-fp32", "onnx-fp32"))
        assert a.label == b.label
        assert a.values == pytest.approx(b.values, abs=1e-5)
        assert load(bundle / "xnnpack-fp32.pte").predict(path).values == a.values


def test_an_unchanged_run_is_not_exported_again_and_torch_is_not_even_imported(run, bundle):
    code = (
        "import sys, json; sys.modules['torch'] = None\n"
        "from export import export\n"
        f"print(export({str(run)!r}, 'xnnpack-fp32,onnx-fp32,onnx-int8', {str(bundle.parent)!r}).reused)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "True"


def test_a_changed_recipe_list_gives_the_next_version(run, bundle, tmp_path):
    first = export(run, "onnx-fp32", tmp_path)
    second = export(run, "onnx-fp32", tmp_path, force=True)
    assert (first.manifest["version"], second.manifest["version"]) == (1, 2)


def test_a_full_disk_or_ctrl_c_leaves_the_old_bundle_and_nothing_half_written(run, tmp_path, monkeypatch):
    before = export(run, "onnx-fp32", tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    for stop, error in (
        (full, BadRequest),
        (lambda *_: (_ for _ in ()).throw(KeyboardInterrupt), KeyboardInterrupt),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, "_write_manifest", stop)
            with pytest.raises(error):
                export(run, "onnx-fp32", tmp_path, force=True)
        assert json.loads((tmp_path / run.name / "manifest.json").read_text()) == before.manifest
        assert [path.name for path in tmp_path.iterdir()] == [run.name]


def test_an_artifact_that_disagrees_with_eager_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules["export.verdict"].PARITY, "fp32", 1e-12)
    with pytest.raises(GateFailed, match="onnx-fp32 does not agree with the eager model: relative error"):
        export(run, "onnx-fp32", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_a_bundle_is_never_replaced(run, tmp_path):
    (tmp_path / "Documents").mkdir()
    (tmp_path / "Documents" / "thesis.txt").write_text("mine")
    with pytest.raises(BadRequest, match="Documents exists and is not a bundle; it stays as it is"):
        export(run, "onnx-fp32", tmp_path, name="Documents")
    assert (tmp_path / "Documents" / "thesis.txt").read_text() == "mine"


def test_an_artifact_that_fails_its_accuracy_is_left_out_and_the_exit_code_says_so(run, tmp_path, monkeypatch, capsys):
    from export import cli

    failed = {"answer": "fail", "reason": "lost 90 of 360"}
    row = dataclasses.replace(METRICS["multiclass"], verdict=lambda *_: failed)
    monkeypatch.setitem(METRICS, "multiclass", row)
    assert cli.main([str(run), "--recipes", "onnx-fp32,onnx-int8", "--out", str(tmp_path)]) == 1
    assert "onnx-int8 left out: accuracy: fail (lost 90 of 360)" in " ".join(capsys.readouterr().out.split())
    opened = open_bundle(tmp_path / run.name)
    assert [artifact.id for artifact in opened.artifacts] == ["onnx-fp32"]
    assert not (tmp_path / run.name / "onnx-int8.onnx").exists()
    assert check(tmp_path / run.name)["ok"]


def test_a_bundles_name_cannot_leave_its_folder(run, tmp_path):
    for name in ("../escaped", "", ".hidden", "a/b"):
        with pytest.raises(BadRequest, match="cannot name a bundle"):
            export(run, "onnx-fp32", tmp_path, name=name)


def test_a_missing_run_and_an_unknown_recipe_are_said_in_one_line(run, tmp_path, lokma):
    with pytest.raises(BadInput, match="nowhere is not a run"):
        export(tmp_path / "nowhere")
    done = lokma("export", run, "--recipes", "onnx-int4", "--out", tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("lokma: there is no recipe onnx-int4; the recipes are")


def test_a_run_is_not_judged_on_other_pictures_than_it_was_trained_with(run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    metrics = json.loads((other / "metrics.json").read_text())
    metrics["data"]["sha256"] = "0" * 64
    (other / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(BadData, match=r"but 000000000000… is wanted: set LOKMA_DATA"):
        export(other, "onnx-fp32", tmp_path / "bundles")
