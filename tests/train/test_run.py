from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from edge_runtime.errors import BadData, BadInput, BadRequest
from edge_runtime.spec import Architecture, Label, ModelSpec, TensorSpec
from train.models import build
from train.run import (
    Request,
    add_test_reading,
    check_run,
    load_run,
    new_run,
    reusable,
)
from train.run import (
    test_readings as readings_of,
)

SPEC = ModelSpec(
    name="tiny",
    task="multiclass",
    inputs=(TensorSpec("row", "float32", ("batch", 4)),),
    outputs=(TensorSpec("probabilities", "float32", ("batch", 2), "probability"),),
    labels=(Label("no", "no", "hayır"), Label("yes", "yes", "evet")),
    architecture=Architecture("mlp", {"sizes": [4, 3, 2]}),
)
REQUEST = Request("tiny", {"seed": 1, "epochs": 2}, {"name": "none", "sha256": "abc"})


@pytest.fixture
def run(tmp_path):
    torch.manual_seed(0)
    model = build(SPEC.architecture)
    with new_run(tmp_path / "runs" / "tiny", REQUEST) as draft:
        draft.log({"epoch": 1, "loss": 0.5})
        draft.read_test("end of training", correct=3, n=4)
        draft.finish(model, SPEC, {"test_accuracy": 0.75})
    return tmp_path / "runs" / "tiny", model


def test_a_run_reads_back_as_it_was_written(run):
    path, model = run
    read = load_run(path)
    assert read.spec == SPEC and not read.model.training
    x = torch.randn(3, 4)
    assert torch.equal(read.model(x), model(x))
    assert read.metrics["results"] == {"test_accuracy": 0.75}
    assert read.metrics["seed"] == 1 and read.metrics["recipe"] == "tiny" and read.metrics["data"]["sha256"] == "abc"
    assert {"python", "torch"} <= set(read.metrics["versions"]) and read.metrics["seconds"] >= 0
    assert json.loads((path / "history.jsonl").read_text()) == {"epoch": 1, "loss": 0.5}


def test_every_reading_of_the_test_split_is_kept(run):
    path, _ = run
    add_test_reading(path, "bench", correct=4, n=4)
    assert [(r["what"], r["correct"]) for r in readings_of(path)] == [("end of training", 3), ("bench", 4)]
    assert all(r["time"].endswith("Z") and "commit" in r for r in readings_of(path))


def test_the_same_request_reuses_a_run(run, tmp_path):
    assert reusable(run[0], REQUEST)
    assert not reusable(tmp_path / "runs" / "other", REQUEST)


@pytest.mark.parametrize(
    ("request_", "difference"),
    [
        (Request("tiny", {"seed": 1, "epochs": 3}, REQUEST.data), "epochs: 2, asked: 3"),
        (Request("tiny", REQUEST.arguments, {"sha256": "def"}), "data: abc, asked: def"),
        (Request("large", REQUEST.arguments, REQUEST.data), "recipe: tiny, asked: large"),
    ],
)
def test_another_request_is_refused_with_the_difference(run, request_, difference):
    with pytest.raises(BadRequest, match=rf"is another run \({difference}\); give this one a --name"):
        reusable(run[0], request_)


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(BadRequest, match="photos exists and is not a run"):
        reusable(tmp_path / "photos", REQUEST)


def test_ctrl_c_leaves_nothing_half_written(tmp_path):
    with pytest.raises(KeyboardInterrupt), new_run(tmp_path / "runs" / "tiny", REQUEST) as draft:
        draft.log({"epoch": 1})
        raise KeyboardInterrupt
    assert list((tmp_path / "runs").iterdir()) == []


def test_an_older_run_survives_an_interrupted_retraining(run):
    path, _ = run
    with pytest.raises(KeyboardInterrupt), new_run(path, REQUEST):
        raise KeyboardInterrupt
    assert load_run(path).metrics["results"] == {"test_accuracy": 0.75}


def test_a_run_trained_again_keeps_its_test_readings(run):
    path, model = run
    with new_run(path, REQUEST) as draft:
        draft.read_test("again", correct=4, n=4)
        draft.finish(model, SPEC, {})
    assert [r["what"] for r in readings_of(path)] == ["end of training", "again"]


def test_a_missing_run_or_file_is_named(run, tmp_path):
    path, _ = run
    with pytest.raises(BadInput, match="nothing is not a run; `lokma train` writes one"):
        check_run(tmp_path / "nothing")
    (path / "spec.json").unlink()
    with pytest.raises(BadInput, match=r"is not a whole run: it has no spec.json"):
        load_run(path)


def test_damage_is_named(run):
    path, _ = run
    weights = bytearray((path / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (path / "model.safetensors").write_bytes(weights)
    with pytest.raises(BadData, match=r"model.safetensors is damaged: its hash"):
        load_run(path)
    (path / "metrics.json").write_text("{")
    with pytest.raises(BadData, match=r"metrics.json is damaged"):
        load_run(path)


def test_weights_that_do_not_fit_the_spec_are_refused(run):
    path, _ = run
    spec = json.loads((path / "spec.json").read_text())
    spec["architecture"]["arguments"]["sizes"] = [4, 5, 2]
    (path / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(BadData, match=r"cannot be read: .*size mismatch"):
        load_run(path)


def test_importing_the_room_brings_neither_torch_nor_numpy():
    code = (
        "import sys, train, train.recipes, train.cli, train.run; "
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
