import json
from pathlib import Path

import pytest
import torch

from benchmarks import food_study, report, results
from edge_runtime.spec import Label
from train.data import Example


class Run:
    """As much of a run as the study's record needs."""

    def __init__(self, path):
        self.path = path
        self.spec = type("Spec", (), {"name": "foodvision-mini", "labels": (Label("pizza", "pizza", "pizza"),)})
        self.metrics = {"model_sha256": "0" * 64, "data": {"name": "foodvision-mini"}, "seed": 0}


FOUND = {
    "unsure_below": 0.6,
    "test": {"n": 150, "correct": 146, "withheld": 0.02, "ece": 0.018},
    "outside": {"other food (food10)": {"n": 350, "withheld": 0.4, "auroc": 0.93}},
}


def test_a_set_that_is_less_sure_than_all_of_the_models_own_is_told_apart_wholly():
    inside, unsure, sure = torch.eye(3) * 9, torch.eye(3) * 0.1, torch.eye(3) * 9
    found = food_study.told_apart(inside, {"other": unsure, "same": sure}, 0.6)
    assert found["other"] == {"n": 3, "withheld": 1.0, "auroc": 1.0}
    assert found["same"] == {"n": 3, "withheld": 0.0, "auroc": 0.5}
    assert food_study.told_apart(inside, {"other": unsure}, None)["other"]["withheld"] == 0


def test_other_food_is_food10_without_the_models_own_labels_and_no_photograph_is_food(monkeypatch, tmp_path):
    pytest.importorskip("sklearn")
    test = (Example(Path("p"), 0), Example(Path("r"), 1))
    data = type("Data", (), {"labels": ("pizza", "ramen"), "sha256": "0", "test": test})
    monkeypatch.setattr(food_study, "image_data", lambda name: data)
    shown = food_study.sets_of(Run(tmp_path))
    assert [example.path.name for example in shown["other food (food10)"][0]] == ["r"]
    assert {"china.jpg", "flower.jpg"} <= {example.path.name for example in shown["photographs of no food"][0]}


def test_what_was_found_goes_into_the_runs_metrics_its_readings_and_one_record(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("LOKMA_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(food_study, "load_run", lambda path: Run(tmp_path))
    monkeypatch.setattr(food_study, "study", lambda run: FOUND)
    assert food_study.main([]) == 0
    assert json.loads((tmp_path / "metrics.json").read_text())["unsure"] == FOUND
    assert json.loads((tmp_path / "test_readings.jsonl").read_text())["correct"] == 146
    (one,) = results.read(tmp_path / "results").records
    assert one["scenario"]["study"] == "food" and one["unsure"] == FOUND and one["validity"]["valid"]
    assert "other food (food10), AUROC against its own" in capsys.readouterr().out
    section = report.studies([one])
    assert section.startswith("## The study: food")
    assert "| 0.02  | 0.05  | holds    | 150 | 146 of 150 right; not sure below 0.6" in section


def test_a_run_that_was_studied_is_read_and_its_test_split_is_not(monkeypatch, tmp_path):
    monkeypatch.setenv("LOKMA_RESULTS", str(tmp_path / "results"))
    run = Run(tmp_path)
    run.metrics["unsure"] = {**FOUND, "test": {**FOUND["test"], "withheld": 0.06}}
    monkeypatch.setattr(food_study, "load_run", lambda path: run)
    monkeypatch.setattr(food_study, "study", None)
    assert food_study.main([]) == 1
    assert not (tmp_path / "test_readings.jsonl").exists()


def test_a_folder_without_a_run_is_named(capsys, tmp_path):
    assert food_study.main([str(tmp_path / "none")]) == 2
    assert "is not a run" in capsys.readouterr().err
