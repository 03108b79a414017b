import json

import numpy as np
import pytest
import torch

from benchmarks import dqn_study, results
from benchmarks.dqn_study import CHECK_EVERY, SEEDS, SIDES, Watch, done, made_by, record, rows, trained
from train.episodes import TRAIN_SEEDS, play
from train.models import mlp
from train.recipes import cartpole_dqn


def outcome(seconds, solved=True):
    return {"solved": solved, "steps": 4000, "cpu_s": seconds, "wall_s": 3 * seconds, "returns": [20.0, 480.0]}


def every(ours, theirs):
    return {(side, seed): outcome(s) for side, s in zip(SIDES, (ours, theirs), strict=True) for seed in SEEDS}


@pytest.mark.parametrize(("ours", "theirs", "holds"), [(2.0, 4.0, True), (2.1, 4.0, False)])
def test_the_ratio_of_the_medians_is_held_against_the_bound(ours, theirs, holds):
    cpu, wall = rows(every(ours, theirs))
    assert cpu["value"] == ours / theirs and cpu["holds"] is holds and cpu["n"] == 10 and cpu["bound"] == 0.5
    assert wall["bound"] is None and wall["holds"] is True and "none missed" in wall["note"]
    assert "4.0, 4.0, 4.0, 4.0, 4.0 s" in cpu["note"]  # all ten values are printed


def test_one_missing_training_leaves_the_row_open_and_a_missed_one_is_named():
    found = every(1.0, 4.0)
    found["lokma", 3] = outcome(90.0, solved=False)
    assert "lokma seed 3 missed" in rows(found)[0]["note"] and rows(found)[0]["value"] == 0.25
    del found["lokma", 3]
    assert rows(found)[0]["value"] is None and rows(found)[0]["holds"] is None


def test_what_is_on_record_is_not_trained_again_unless_the_code_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("LOKMA_RESULTS", str(tmp_path))
    trained_now = []

    def train(side, seed):
        trained_now.append((side, seed))
        return outcome(1.0 if side == "lokma" else 4.0)

    monkeypatch.setattr(dqn_study, "in_a_child", train)
    assert dqn_study.main([]) == 0
    assert trained_now[:4] == [("lokma", 0), ("stable-baselines3", 0), ("stable-baselines3", 1), ("lokma", 1)]
    assert dqn_study.main([]) == 0 and len(trained_now) == 10
    records = results.read(tmp_path).records
    assert len(records) == 10 and all(one["kind"] == "study" and one["latency_ns"] for one in records)
    assert done(records, {**made_by(), "code": "another"}) == {}


def test_a_record_holds_the_training_and_its_processor_time_in_ns(monkeypatch):
    one = record(("lokma", 2), outcome(1.5), {"code": "x"})
    assert one["latency_ns"] == [1_500_000_000] and one["training"]["wall_s"] == 4.5 and one["scenario"]["seed"] == 2
    json.dumps(one)


def test_a_check_is_due_every_2000_steps_and_its_time_is_left_out(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(dqn_study.time, "process_time", lambda: float(next(clock)))
    monkeypatch.setattr(dqn_study.time, "perf_counter", lambda: 0.0)
    network, watch = mlp([4, 8, 2]), Watch()
    assert not watch.solved(network, CHECK_EVERY - 8, 1.0) and watch.returns == []
    assert not watch.solved(network, CHECK_EVERY, 1.0) and len(watch.returns) == 1
    watch.solved(network, CHECK_EVERY + 8, 1.0)
    watch.stop()
    assert watch.cpu_s == 2.0 and len(watch.returns) == 1  # 0 to 1, then 2 to 3: 1 to 2 was the check


def test_both_sides_play_the_same_episodes_whatever_divides_their_observations():
    torch.manual_seed(3)
    network = mlp([4, 16, 2])

    def raw(observation):
        return int(network(torch.tensor(observation)[None])[0].argmax())

    watch = Watch()
    watch.solved(network, CHECK_EVERY, np.float32(1.0))
    assert watch.returns == [play(raw, TRAIN_SEEDS[:20]).mean]
    watch.solved(network, 2 * CHECK_EVERY, cartpole_dqn.STD)
    scaled = play(lambda observation: raw(observation / cartpole_dqn.STD), TRAIN_SEEDS[:20]).mean
    assert watch.returns[1] == scaled


@pytest.mark.parametrize("side", SIDES)
def test_a_training_that_is_cut_short_counts_its_steps_and_is_not_solved(side):
    if side == "stable-baselines3":
        pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed (lokma[peers])")
    found = trained(side, seed=0, most=1200)
    assert found["solved"] is False and found["returns"] == [] and found["cpu_s"] > 0
