from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edge_runtime.errors import BadData, BadInput, BadRequest
from edge_runtime.spec import Architecture, Label, ModelSpec, TensorSpec
from train.draft import new_run
from train.models import build
from train.provenance import commit
from train.run import Request, add_test_reading, check_run, load_run, reusable

SPEC = ModelSpec(
    name="tiny",
    task="multiclass",
    inputs=(TensorSpec("row", "float32", ("batch", 4)),),
    outputs=(TensorSpec("probabilities", "float32", ("batch", 2), "probability"),),
    labels=(Label("no", "no", "hayır"), Label("yes", "yes", "evet")),
    architecture=Architecture("mlp", {"sizes": [4, 3, 2]}),
)
VERSIONS = {"python": "3.11.1", "torch": "2.9.0"}
REQUEST = Request("tiny", {"seed": 1, "epochs": 2}, {"name": "none", "sha256": "abc"}, "c0de", VERSIONS)


def readings_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in (path / "test_readings.jsonl").read_text(encoding="utf-8").splitlines()]


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
    assert read.metrics["versions"] == VERSIONS and read.metrics["code_sha256"] == "c0de"
    assert read.metrics["seconds"] >= 0
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
        (replace(REQUEST, arguments={"seed": 1, "epochs": 3}), "epochs: 2, asked: 3"),
        (replace(REQUEST, data={"sha256": "def"}), "data: abc, asked: def"),
        (replace(REQUEST, recipe="large", code_sha256="other"), "recipe: tiny, asked: large"),
    ],
)
def test_another_request_is_refused_with_the_difference(run, request_, difference):
    with pytest.raises(BadRequest, match=rf"is another run \({difference}\); give this one a --name"):
        reusable(run[0], request_)


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (replace(REQUEST, code_sha256="changed"), "the code changed since"),
        (replace(REQUEST, versions={**VERSIONS, "torch": "3.0"}), r"torch \(2.9.0, now 3.0\) changed since"),
    ],
)
def test_a_run_of_other_code_or_libraries_is_trained_again_and_it_says_why(run, now, reason, caplog):
    with caplog.at_level("INFO", "train"):
        assert not reusable(run[0], now)
    assert re.search(rf"tiny is trained again: {reason}$", caplog.text.strip())
    assert reusable(run[0], replace(REQUEST, versions={**VERSIONS, "python": "3.14.0"}))


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


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("spec.json", "[]", "must hold one JSON object"),
        ("spec.json", "[" * 100_000, "is not JSON"),
        ("spec.json", '{"name": 3}', "the model spec lacks the field 'task'"),
        ("metrics.json", "null", "must hold one JSON object"),
        ("metrics.json", '{"recipe": "tiny", "arguments": {}, "seed": 1}', "data is missing"),
        (
            "metrics.json",
            '{"recipe": "tiny", "arguments": {}, "seed": 1, "data": {"name": "x"}}',
            "data.sha256 is miss",
        ),
        ("metrics.json", '{"recipe": "tiny", "arguments": {}}', "seed is missing"),
        ("metrics.json", '{"recipe": 7}', "recipe is 7"),
    ],
)
def test_a_nonsense_file_is_named(run, file, text, problem):
    (run[0] / file).write_text(text)
    for look in (check_run, load_run):
        with pytest.raises(BadData, match=rf"{file} is damaged: .*{problem}.*; train it again"):
            look(run[0])


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


FULL_DISK = """
import resource, sys
from edge_runtime.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))  # as `ulimit -f 8`
sys.exit(main(sys.argv[1:]))
"""


def test_a_full_disk_is_one_line_and_leaves_nothing(own_home, tmp_path):
    from train.data import image_data

    image_data("digits")
    command = [sys.executable, "-c", FULL_DISK, "train", "multiclass-digits", "--epochs", "1", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert re.search(r"cannot write .*digits: File too large.*what stood there stands", done.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A repository with one commit, in which train/provenance.py is thought to lie."""
    from train import provenance

    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    def git(*arguments: str) -> None:
        names = ("-c", "user.name=x", "-c", "user.email=x@x.x")
        subprocess.run(["git", *names, *arguments], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "provenance.py").write_text("")
    return tmp_path, git


def test_the_commit_says_whether_tracked_files_were_changed(clone):
    folder, git = clone
    assert commit() is None
    git("init")
    assert commit() is None
    git("add", "provenance.py")
    git("commit", "-m", "x")
    clean = commit()
    assert clean is not None and re.fullmatch("[0-9a-f]{40}", clean)
    (folder / "untracked").write_text("x")
    assert commit() == clean
    (folder / "provenance.py").write_text("x = 1")
    assert commit() == f"{clean}-dirty"


def test_where_git_does_not_answer_the_commit_is_null(monkeypatch, tmp_path):
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\nexec sleep 5\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("train.provenance.GIT_TIMEOUT_S", 0.2)
    assert commit() is None
