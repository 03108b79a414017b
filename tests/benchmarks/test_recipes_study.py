"""The study of the recipes: what is done, what is not done again, and what its rows say."""

from __future__ import annotations

import json

import pytest

from benchmarks import recipes_study, report, results
from benchmarks.recipes_study import AIMS, parts, rows
from edge_runtime.errors import Missing
from train.recipes import RECIPES

BUNDLE = {"artifacts": ["onnx-fp32", "onnx-int8"], "left_out": [], "verdicts_hold": True, "checked": True}


def digits(right):
    return {"results": {"test_accuracy": right / 360, "test_n": 360}}


def test_every_recipe_has_a_row():
    assert {aim.recipe for aim in AIMS.values()} == set(RECIPES)


def test_the_recipe_for_ones_own_table_gets_one(monkeypatch, tmp_path):
    pytest.importorskip("sklearn")
    from train.own_tables import own_table

    monkeypatch.setattr(recipes_study, "WINE", tmp_path / "study" / "wine.csv")
    recipes_study._write_wine()
    data = own_table(tmp_path / "study" / "wine.csv", "cultivar")
    assert (data.task, data.targets, len(data.columns)) == ("multiclass", ("class_0", "class_1", "class_2"), 13)


def test_the_mean_over_seeds_is_held_against_the_bound_and_the_record_has_n_and_the_interval():
    found = {("multiclass-digits", f"seed {seed}"): digits(right) for seed, right in enumerate((354, 355, 357))}
    (row,) = rows("multiclass-digits", found)
    assert row["value"] == pytest.approx(1066 / 1080) and row["bound"] == 0.985 and row["holds"] and row["n"] == 360
    assert row["note"] == "seeds 0, 1, 2: 0.9833, 0.9861, 0.9917; mean 0.987 (95 %: 0.9765 to 0.9976)"
    del found["multiclass-digits", "seed 1"]
    assert rows("multiclass-digits", found)[0]["holds"] is None


def test_the_worst_of_five_policies_decides():
    found = {
        ("cartpole-dqn", f"seed {seed}"): {"results": {"lower_95": low, "episodes": 100}}
        for seed, low in enumerate((500.0, 500.0, 474.0, 500.0, 490.0))
    }
    (row,) = rows("cartpole-dqn", found)
    assert row["value"] == 474.0 and row["holds"] is False


def test_the_papers_transformer_must_also_answer_as_torchvisions():
    found = {
        ("vit-paper", f"seed {seed}"): {
            "results": {"test_accuracy": 0.99, "test_n": 360, "torchvision_difference": difference}
        }
        for seed, difference in enumerate((2e-6, 2e-5, 1e-6))
    }
    accuracy, same = rows("vit-paper", found)
    assert accuracy["holds"] is True and (same["value"], same["bound"], same["holds"]) == (2e-5, 1e-5, False)


def test_foodvision_is_held_to_its_test_pictures_and_to_its_folds():
    def run(right, folds):
        return {"test_accuracy": right / 150, "test_n": 150, "cv_repeats_accuracy": folds, "cv_n": 450}

    name = "foodvision effnet_lite2"
    assert parts(name)[-1] == (name, "bundle") and AIMS[name].arguments == {"model": "effnet_lite2"}
    found = {
        (name, f"seed {n}"): {"results": run(*of)} for n, of in enumerate([(144, 0.962), (146, 0.961), (145, 0.96)])
    }
    test, folds = rows(name, found)
    assert (test["value"], test["holds"], test["n"]) == (pytest.approx(145 / 150), True, 150)
    assert (folds["value"], folds["bound"], folds["holds"], folds["n"]) == (pytest.approx(0.961), 0.96, True, 450)


def test_a_bundle_that_left_an_artifact_out_or_fails_its_check_does_not_hold():
    found = {("binary-table", "bundle"): BUNDLE}
    assert rows("binary-table", found)[1]["holds"] is True
    less = {**BUNDLE, "artifacts": ["onnx-fp32"], "left_out": [{"id": "onnx-int8", "reason": "x"}]}
    row = rows("binary-table", {("binary-table", "bundle"): {**less, "verdicts_hold": False}})[1]
    assert (row["value"], row["bound"], row["holds"]) == (1, 2, False) and "left out" in row["note"]
    broken = {**BUNDLE, "checked": False, "check_said": ["onnx-fp32 is damaged"]}
    row = rows("binary-table", {("binary-table", "bundle"): broken})[1]
    assert row["holds"] is False and "onnx-fp32 is damaged" in row["note"]


def test_a_run_that_cannot_be_exported_fails_in_a_row_of_its_own():
    found = {("multiclass-digits", f"seed {seed}"): digits(357) for seed in range(3)}
    first, second = rows("multiclass-digits", found, "lokma export: it broke")
    assert first["holds"] is True and (second["holds"], second["note"]) == (False, "lokma export: it broke")


def test_what_is_on_record_is_not_done_again_and_results_md_shows_the_rows(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("LOKMA_RESULTS", str(tmp_path))
    asked = []

    def train(name, seed):
        asked.append((name, seed))
        if name == "tinyvgg":
            raise Missing("no pictures here")
        return digits(356)

    monkeypatch.setattr(recipes_study, "trained", train)
    monkeypatch.setattr(recipes_study, "bundled", lambda name: BUNDLE)
    assert recipes_study.main(["--only", "multiclass-digits", "--json"]) == 0
    assert asked == parts("multiclass-digits")[:-1]
    assert recipes_study.main(["--only", "multiclass-digits,tinyvgg", "--json"]) == 1
    assert asked[3:] == [("tinyvgg", "seed 0")]
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert shown[0] == shown[2] and shown[-1]["holds"] is None and shown[-1]["note"] == "no pictures here"
    section = report.studies(results.read(tmp_path).records)
    assert section.startswith("## The study: recipes") and section.count("multiclass-digits: test accuracy") == 1
    monkeypatch.setattr(recipes_study, "made_by", lambda name: {"code": "another"})
    recipes_study.main(["--only", "multiclass-digits"])
    assert len(asked) == 7


def test_an_unknown_row_is_refused(capsys):
    assert recipes_study.main(["--only", "nothing"]) == 2
    assert "known: binary-circles" in capsys.readouterr().err
