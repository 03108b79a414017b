"""Which part of the data stood on which side: `splits.json` of a run."""

import json

import numpy as np
import pytest

import train
from train.data import image_folder
from train.recipes.cartpole_dqn import Simulator
from train.splits import splits_of
from train.tables import table_data

pytest.importorskip("sklearn")


def test_a_run_of_a_real_table_says_which_rows_of_it_taught_and_which_judged(tmp_path):
    from sklearn.datasets import load_breast_cancer

    run = train.train("binary-table", epochs=1, seeds=1, folds=2, out=tmp_path)
    found = json.loads((run.path / "splits.json").read_text())
    assert found["by"] == "row of the source; seed 0, stratified"
    assert found["sha256"] == run.metrics["data"]["sha256"]
    assert sorted(found["train"] + found["test"]) == list(range(569))
    source = load_breast_cancer()
    data = table_data("breast-cancer")
    assert np.array_equal(data.test.rows, source.data[found["test"]].astype(np.float32))
    shares = [1 - source.target[found[side]].mean() for side in ("train", "test")]
    assert shares == pytest.approx([0.3736, 0.3684], abs=1e-4)


def test_pictures_are_told_by_their_path_below_the_folder(make_pictures):
    found = splits_of(image_folder(make_pictures(), "food"))
    assert found["by"] == "folder"
    assert found["train"] == ["train/pizza/0.png", "train/pizza/1.png", "train/steak/0.png", "train/steak/1.png"]
    assert found["test"][0] == "test/pizza/0.png"


def test_sides_that_were_made_apart_are_counted_and_an_environment_has_none():
    found = splits_of(table_data("circles"))
    assert (found["by"], found["train"], found["test"]) == ("made apart; seed 0", 1_000, 10_000)
    assert splits_of(Simulator()) is None
