"""Ctrl-C and kill -9 at any point: the same command goes on, and ends with the same weights."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

import train
from edge_runtime.errors import BadData, BadRequest
from train import checkpoint
from train.checkpoint import Checkpoints, pack, random_states, set_random_states, unpack
from train.draft import Draft, new_run
from train.episodes import CARTPOLE, set_state, state_of
from train.fit import Batches, fit
from train.recipes.multiclass_digits import spec_of
from train.run import Request
from train.tasks import TASKS

REQUEST = Request("tiny", {"seed": 0, "epochs": 2}, {"name": "x", "sha256": "abc"}, "c0de", {"torch": "2"})
SPEC = spec_of(hidden=1)
SHORT = ["multiclass-digits", "--epochs", "3", "--checkpoint-s", "0"]


class Killed(BaseException):
    """As kill -9: nothing after it is written."""


class Dying(Draft):
    """A draft whose process dies at its n-th moment for a checkpoint."""

    moments = 0
    dies_at = -1

    def due(self) -> bool:
        self.moments += 1
        if self.moments == self.dies_at:
            raise Killed
        return super().due()


def trained(folder: Path, dies_at: int = -1, every_s: float = 0.0) -> tuple[nn.Module, Dying]:
    """Three epochs of seven batches with dropout, momentum, a schedule and augmentation: all that has a state."""
    torch.manual_seed(0)
    x = torch.randn(50, 4)
    y = (x[:, 0] > 0).long()
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.BatchNorm1d(8), nn.Linear(8, 2))
    batches = Batches(x, y, 8, 3, lambda batch, chance: batch + torch.randn(batch.shape, generator=chance))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=3 * len(batches))
    folder.mkdir(exist_ok=True)
    draft = Dying(folder, every_s=every_s)
    draft.dies_at = dies_at
    fit(model, batches, TASKS["multiclass"], optimizer, 3, schedule, draft=draft)
    return model, draft


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("dies_at", range(1, 22))
def test_a_fit_killed_at_any_batch_ends_with_the_same_weights_and_history(tmp_path, dies_at):
    whole, unbroken = trained(tmp_path / "whole")
    with pytest.raises(Killed):
        trained(tmp_path / "cut", dies_at)
    resumed, draft = trained(tmp_path / "cut")
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )
    without_time = [[{**row, "seconds": 0} for row in one.rows] for one in (unbroken, draft)]
    assert without_time[0] == without_time[1] and len(draft.rows) == 3
    assert (tmp_path / "cut" / "history.jsonl").read_text().count("\n") == 3


def test_a_fit_killed_again_and_again_ends_with_the_same_weights(tmp_path):
    whole, _ = trained(tmp_path / "whole")
    deaths = 0
    while True:
        try:
            resumed, _ = trained(tmp_path / "cut", dies_at=3)
        except Killed:
            deaths += 1
            continue
        break
    assert deaths == 10
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


def command(out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "edge_runtime.cli", "train", *SHORT, "--out", str(out), *more]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_recipe_that_is_killed_goes_on_by_the_same_command_to_the_same_weights(own_home, tmp_path, how):
    whole = train.train("multiclass-digits", epochs=3, out=tmp_path / "whole")
    chance = random.Random(5)
    folder = tmp_path / "cut" / "digits"
    for _ in range(3):
        seen = set(folder.glob("checkpoint-*.json"))
        process = subprocess.Popen(command(tmp_path / "cut"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(set(folder.glob("checkpoint-*.json")) - seen) < 1:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(how)
        process.wait()
        assert not (folder / "metrics.json").exists() and any(folder.glob("checkpoint-*.json"))
        assert len(list(folder.glob("checkpoint-*.json"))) <= 3
    done = subprocess.run(command(tmp_path / "cut"), capture_output=True, text=True, check=True)
    assert "going on from the last checkpoint" in done.stdout
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["model_sha256"] == whole.metrics["model_sha256"]
    assert (folder / "history.jsonl").read_text().count("\n") == 3
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in whole.path.iterdir())


@pytest.mark.parametrize("touch", range(12))
def test_a_kill_at_any_touch_of_the_disk_leaves_a_checkpoint_to_go_on_from(tmp_path, monkeypatch, touch):
    kept = Checkpoints(tmp_path, 0)
    kept.save("fit", {"step": 1, "x": torch.ones(3)})
    touches = 0

    def dying(inner):
        def touched(*given, **named):
            nonlocal touches
            touches += 1
            if touches > touch:
                raise Killed
            return inner(*given, **named)

        return touched

    with monkeypatch.context() as patch:
        for where, name in ((Path, "open"), (Path, "replace"), (Path, "unlink"), (checkpoint.json, "dumps")):
            patch.setattr(where, name, dying(getattr(where, name)))
        try:
            for step in (2, 3):
                kept.save("fit", {"step": step, "x": torch.ones(3) * step})
        except Killed:
            pass
    found = Checkpoints(tmp_path, 0).newest("fit")
    assert found is not None and torch.equal(found["x"], torch.ones(3) * found["step"])


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, caplog):
    kept = Checkpoints(tmp_path, 0)
    for step in (1, 2, 3):
        kept.save("fit", {"step": step, "x": torch.ones(3)})
    assert sorted(p.name for p in tmp_path.glob("*.json")) == ["checkpoint-2.json", "checkpoint-3.json"]
    newest = tmp_path / "checkpoint-3.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    assert kept.newest("fit")["step"] == 2 and "checkpoint-3.json is damaged" in caplog.text
    (tmp_path / "checkpoint-2.json").write_text('{"stage": "fit", "sha256": 3}')
    assert kept.newest("fit") is None


def test_each_stage_has_its_own_and_two_are_kept_of_each(tmp_path):
    kept = Checkpoints(tmp_path, 0)
    for stage, step in (("head", 1), ("all", 1), ("all", 2), ("all", 3)):
        kept.save(stage, {"step": step})
    assert (kept.newest("head")["step"], kept.newest("all")["step"], kept.newest("other")) == (1, 3, None)
    assert len(list(tmp_path.glob("*.json"))) == len(list(tmp_path.glob("*.safetensors"))) == 3


def test_checkpoints_are_due_by_the_clock_and_cost_at_most_their_share(tmp_path, monkeypatch):
    kept = Checkpoints(tmp_path, 10.0)
    clock = kept.last
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock)
    assert not kept.due()
    clock += 11
    assert kept.due()
    kept.took_s = 2.0  # a large one: 40 s apart at least
    assert not kept.due()
    clock += 30
    assert kept.due()


def test_other_threads_are_refused_by_name(tmp_path):
    threads = torch.get_num_threads()
    kept = Checkpoints(tmp_path, 0)
    kept.save("fit", {"step": 1})
    try:
        torch.set_num_threads(threads + 1)
        with pytest.raises(BadRequest, match=rf"same weights \(threads: {threads}, now {threads + 1}\).*--force"):
            kept.newest("fit")
    finally:
        torch.set_num_threads(threads)


def test_every_state_goes_through_json_and_safetensors_unchanged():
    state = {
        "a": np.arange(6).reshape(2, 3),
        3: (1, "x", None),
        "b": [torch.zeros(()), -0.0, 1e-300],
        "f": np.float64(2),
    }
    state["big"] = 2**127 + 1  # a state of numpy's generator
    tensors, plain = pack(state)
    back = unpack(tensors, json.loads(json.dumps(plain)))
    assert list(back) == ["a", 3, "b", "f", "big"] and back["big"] == state["big"] and back[3] == state[3]
    assert back["a"].dtype == np.int64 and (back["a"] == state["a"]).all()
    assert back["b"][0].shape == () and str(back["b"][1]) == "-0.0" and back["b"][2] == 1e-300
    assert unpack(*pack({"@tensor": 1, "x": {}})) == {"@tensor": 1, "x": {}}
    with pytest.raises(TypeError, match="cannot hold function"):
        pack({"step": lambda: 1})


def test_the_global_generators_go_on_where_they_were():
    states = unpack(*pack(random_states()))
    drawn = [random.random(), float(np.random.rand()), float(torch.rand(1))]
    set_random_states(states)
    assert drawn == [random.random(), float(np.random.rand()), float(torch.rand(1))]


def test_environments_go_on_where_they_were():
    def made():
        environments = gymnasium.make_vec(CARTPOLE, 3, vectorization_mode="vector_entry_point")
        environments.reset(seed=4)
        return environments

    def played(environments, steps):
        return [environments.step(np.array([step % 2, 1, 0]))[0].tolist() for step in range(steps)]

    first = made()
    played(first, 30)  # some episodes are over by then, and began again by chance
    state = unpack(*pack(state_of(first)))
    after = played(first, 30)
    second = made()
    set_state(second, state)
    assert played(second, 30) == after


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (Request("tiny", {"seed": 0, "epochs": 3}, REQUEST.data, "c0de", {"torch": "2"}), "epochs: 2, asked: 3"),
        (Request("tiny", REQUEST.arguments, {"sha256": "def"}, "c0de", {"torch": "2"}), "data: abc, asked: def"),
        (Request("tiny", REQUEST.arguments, REQUEST.data, "new", {"torch": "2"}), "the code changed since"),
        (Request("tiny", REQUEST.arguments, REQUEST.data, "c0de", {"torch": "3"}), r"torch \(2, now 3\) changed since"),
    ],
)
def test_an_unfinished_run_of_another_kind_is_refused_and_force_begins_anew(tmp_path, other, difference):
    with pytest.raises(KeyboardInterrupt), new_run(tmp_path / "run", REQUEST, every_s=0) as draft:
        draft.keep("fit", {"step": 1})
        raise KeyboardInterrupt
    with pytest.raises(BadRequest, match=rf"unfinished run of another kind \({difference}\)"):
        new_run(tmp_path / "run", other).__enter__()
    with new_run(tmp_path / "run", REQUEST, force=True) as draft:
        assert draft.kept("fit") == {"step": 1}  # the same is the same, by force too
        draft.finish(nn.Linear(1, 1), SPEC, {})


def test_force_begins_an_unfinished_run_of_another_kind_anew(tmp_path):
    with pytest.raises(KeyboardInterrupt), new_run(tmp_path / "run", REQUEST) as draft:
        draft.keep("fit", {"step": 1})
        raise KeyboardInterrupt
    other = Request("tiny", {"seed": 1}, REQUEST.data, "c0de", {"torch": "2"})
    with new_run(tmp_path / "run", other, force=True) as draft:
        assert draft.kept("fit") is None
        draft.finish(nn.Linear(1, 1), SPEC, {})
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["arguments"] == {"seed": 1}


def test_bad_data_leaves_nothing_to_go_on_from(tmp_path):
    with pytest.raises(BadData), new_run(tmp_path / "run", REQUEST) as draft:
        draft.keep("fit", {"step": 1})
        raise BadData("the loss is nan")
    assert list(tmp_path.iterdir()) == []


def test_two_processes_do_not_train_one_run(tmp_path):
    with new_run(tmp_path / "run", REQUEST) as draft:
        with pytest.raises(BadRequest, match="is being trained by another process"):
            new_run(tmp_path / "run", REQUEST).__enter__()
        draft.finish(nn.Linear(1, 1), SPEC, {})
    assert (tmp_path / "run" / "metrics.json").is_file()


def test_somebodys_own_folder_is_left_as_it_is(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(BadRequest, match="photos exists and is not a run"):
        new_run(tmp_path / "photos", REQUEST, force=True).__enter__()
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


DQN = {"total_steps": 800, "learning_starts": 100, "check_every": 200, "check_episodes": 2, "buffer_size": 300}


@pytest.mark.parametrize("dies_at", [1, 14, 26, 60, 99])
def test_a_dqn_killed_before_or_after_learning_began_ends_with_the_same_weights_and_history(tmp_path, dies_at):
    from train.recipes import cartpole_dqn

    def learned(folder: Path, dies_at: int = -1) -> tuple[nn.Module, Dying]:
        folder.mkdir(exist_ok=True)
        draft = Dying(folder, every_s=0.0)
        draft.dies_at = dies_at
        return cartpole_dqn.learn(cartpole_dqn.Args(**DQN), draft), draft

    whole, unbroken = learned(tmp_path / "whole")
    with pytest.raises(Killed):
        learned(tmp_path / "cut", dies_at)
    resumed, draft = learned(tmp_path / "cut")
    assert same(whole, resumed) and unbroken.rows == draft.rows and len(draft.rows) == 4


def test_a_dqn_that_is_killed_goes_on_by_the_same_command_to_the_same_weights(own_home, tmp_path):
    steps = ["--total-steps", "4000", "--check-episodes", "2", "--buffer-size", "1500"]
    how = [sys.executable, "-m", "edge_runtime.cli", "train", "cartpole-dqn", *steps, "--checkpoint-s", "0"]
    whole = train.train("cartpole-dqn", total_steps=4000, check_episodes=2, buffer_size=1500, out=tmp_path / "whole")
    folder = tmp_path / "cut" / "cartpole"
    for seen_before_the_kill in (1, 200):
        process = subprocess.Popen([*how, "--out", str(tmp_path / "cut")], stdout=subprocess.DEVNULL)
        while process.poll() is None and _newest(folder) < seen_before_the_kill:
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert not (folder / "metrics.json").exists()
    subprocess.run([*how, "--out", str(tmp_path / "cut")], stdout=subprocess.DEVNULL, check=True)
    assert json.loads((folder / "metrics.json").read_text())["model_sha256"] == whole.metrics["model_sha256"]


def _newest(folder: Path) -> int:
    return max((int(path.stem.split("-")[1]) for path in folder.glob("checkpoint-*.json")), default=0)
