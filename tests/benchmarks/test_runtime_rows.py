import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import efficientnet_b2, photographs, report, results, rivals, runtime_budget
from benchmarks.runtime_rows import GROUPS, Setting
from edge_runtime import load
from edge_runtime.errors import EngineError, Missing


@pytest.fixture(autouse=True)
def no_pictures_at_hand(monkeypatch):
    def missing(name):
        raise Missing(f"{name} is not here")

    monkeypatch.setattr("train.data.image_data", missing)


@pytest.fixture
def setting(pictures, tmp_path):
    photos = tuple(photographs.photographs(tmp_path, 2))
    return Setting(pictures.folder, pictures.folder, photos, tmp_path, rounds=2)


def values(line):
    return [float(value) for value in line.strip("[]()").split(",")]


def test_the_bare_script_and_lokma_give_the_same_answer(setting, pictures):
    photo = setting.photos[0]
    took, bare = rivals.first_line(rivals.script("bare_onnxruntime", photo, *setting.bare(pictures.folder)))
    _, ours = rivals.first_line(rivals.script("lokma_bundle", photo, pictures.folder, "xnnpack-fp32", 1))
    assert 10e6 < took < 60e9
    assert np.argmax(values(bare)) == np.argmax(values(ours))
    assert values(bare) == pytest.approx(values(ours), abs=0.02)  # the one cuts the crop before it resizes


def test_a_script_that_fails_is_named_with_what_it_said(tmp_path):
    with pytest.raises(EngineError, match=r"lokma_bundle.py .* failed: .*does not exist"):
        rivals.first_line(rivals.script("lokma_bundle", "photo.jpg", tmp_path / "none"))
    with pytest.raises(EngineError, match="failed: it said nothing"):
        rivals.first_line(["-c", "pass"])


def test_a_script_kept_running_answers_as_the_script_and_tells_its_memory(setting, pictures):
    with rivals.served("lokma_bundle", pictures.folder, "onnx-fp32", 1) as child:
        answers = child.ask([str(path) for path in setting.photos])
        expected = load(pictures.folder, "onnx-fp32", 1).predict(setting.photos[1]).values
        assert answers[1]["values"] == pytest.approx(expected)
        assert child.peak_rss_bytes > 10e6


def test_few_rounds_prove_the_code_and_no_bound(setting):
    for name in ("imports", "cold-start", "overhead", "pictures"):
        rows, samples = GROUPS[name](setting)
        assert {len(taken) for taken in samples.values()} == {2}, name
        assert all(row["holds"] is None for row in rows if row["bound"]), name
        json.dumps([rows, samples])
        if name == "imports":
            assert (rows[-1]["value"], rows[-1]["holds"]) == (0, True)  # neither numpy nor onnxruntime nor torch


def test_size_says_what_pip_said_where_nothing_can_be_installed(setting, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("LOKMA_PLATFORM", "none")
    (row,), _ = GROUPS["size"](setting)
    assert row["holds"] is None and row["note"].startswith("pip could not install lokma: ")


def test_a_photograph_becomes_twelve_megapixels_of_the_same_shape(setting, tmp_path):
    (tmp_path / "large.jpg").write_bytes(photographs.enlarged(setting.photos[0]))
    with Image.open(tmp_path / "large.jpg") as large:
        assert large.size == (4000, 3000) and large.format == "JPEG"


def test_the_measured_bundle_is_built_once_and_a_cut_off_build_goes_on(pictures, monkeypatch):
    monkeypatch.setattr(efficientnet_b2, "SPEC", pictures.spec)
    monkeypatch.setattr(efficientnet_b2, "SIDE", 16)
    monkeypatch.setattr(efficientnet_b2, "PICTURES", 4)
    monkeypatch.setattr(efficientnet_b2, "network", lambda calibration: __import__("torch").nn.Linear(2, 2))
    lowered = []

    def lower(name, model, spec, calibration):
        lowered.append(name)
        if len(lowered) == 2:
            raise KeyboardInterrupt
        return pictures.artifacts[name], {"quantization": None}

    with pytest.raises(KeyboardInterrupt):
        efficientnet_b2.bundle(lower)
    folder = efficientnet_b2.bundle(lower)
    assert efficientnet_b2.bundle(lower) == folder == efficientnet_b2.folder()
    assert lowered == ["xnnpack-fp32", "onnx-fp32", "onnx-fp32", "xnnpack-int8"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["artifacts"][0]["delegation"]["time_share"] > 0.9  # measured: no load has to
    assert load(folder, "xnnpack-int8").predict(folder / "golden/0.png").values


def fake(holds=True):
    return lambda setting: (
        [{"name": "a", "value": 0.5, "bound": 1.0, "holds": holds, "n": 30, "note": ""}],
        {"a": [1.0]},
    )


def test_each_group_leaves_a_record_and_the_newest_of_each_is_printed(setting, monkeypatch, tmp_path):
    monkeypatch.setenv("LOKMA_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("LOKMA_HOME", "before")
    monkeypatch.setattr(runtime_budget, "GROUPS", {"one": fake(), "two": fake(None)})
    full = Setting(setting.b2, setting.lite, setting.photos, tmp_path)
    assert [rows[0]["holds"] for _, rows in runtime_budget.measured(full, ["one", "two"])] == [True, None]
    monkeypatch.setattr(runtime_budget, "GROUPS", {"one": fake(False), "two": fake(None)})
    list(runtime_budget.measured(full, ["one"]))
    list(runtime_budget.measured(setting, ["one", "two"]))  # few rounds: not recorded
    records = results.read().records
    assert len(records) == 3 and {entry["kind"] for entry in records} == {"budget"}
    assert [entry["validity"]["valid"] for entry in records].count(False) == 1
    assert [row["holds"] for row in runtime_budget.recorded(records)] == [False, None]
    assert runtime_budget.os.environ["LOKMA_HOME"] == "before"
    assert report.runs(records) == []  # the tables of RESULTS.md do not take them for bench records


def test_an_unknown_group_is_named_before_anything_is_built(capsys):
    assert runtime_budget.main(["--only", "moon"]) == 2
    assert "there is no group moon; known: imports, cold-start" in capsys.readouterr().err
