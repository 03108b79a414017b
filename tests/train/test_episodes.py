from __future__ import annotations

import subprocess
import sys

import pytest

from edge_runtime.errors import BadRequest
from train.episodes import TEST_SEEDS, TRAIN_SEEDS, play


def lean(observation) -> int:
    return int(observation[2] + observation[3] > 0)


def test_a_seed_fixes_an_episode():
    episodes = play(lean, [0, 1, 2])
    assert episodes.returns == play(lean, [0, 1, 2]).returns
    assert episodes.observations.shape == (sum(episodes.returns), 4)
    assert episodes.observations.dtype == "float32"


def test_training_and_test_seeds_never_meet():
    assert len(TEST_SEEDS) == 100 and not set(TRAIN_SEEDS) & set(TEST_SEEDS)


def test_an_unknown_environment_is_named():
    with pytest.raises(BadRequest, match="no environment 'Pole-v9'; known: CartPole-v1"):
        play(lean, [0], "Pole-v9")


def test_an_environment_of_a_module_is_refused_and_the_module_not_imported(tmp_path, monkeypatch):
    (tmp_path / "strangers_module.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadRequest, match="no environment 'strangers_module:CartPole-v1'"):
        play(lean, [0], "strangers_module:CartPole-v1")
    assert "strangers_module" not in sys.modules


def test_playing_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; from train.episodes import play; play(lambda o: 0, [0])"
    subprocess.run([sys.executable, "-c", code], check=True)
