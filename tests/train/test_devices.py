"""Devices and processes: many learn what one does from the same batches."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

import train
from edge_runtime.errors import BadRequest, Missing
from train.devices import chosen_device, computing, current
from train.fit import Batches, evaluate, fit
from train.tasks import TASKS

pytest.importorskip("lightning_fabric")


@pytest.mark.parametrize(
    "arguments", [("multiclass-blobs", {"seeds": 1}), ("multiclass-digits", {"epochs": 3, "learning_rate": 0.001})]
)
def test_two_processes_learn_what_one_does_at_the_same_global_batch(own_home, tmp_path, arguments):
    recipe, given = arguments
    one = train.train(recipe, out=tmp_path / "one", device="cpu", **given)
    flags = [text for name, value in given.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, "-m", "edge_runtime.cli", "train", recipe, *flags, "--device", "cpu"]
    done = subprocess.run([*command, "--out", str(tmp_path / "two")], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("next: lokma export") == 1  # one process speaks
    two = train.load_run(tmp_path / "two" / one.path.name)
    histories = [(run.path / "history.jsonl").read_text().splitlines() for run in (one, two)]
    losses = [[json.loads(line)["loss"] for line in history] for history in histories]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    right = [[json.loads(line)["accuracy"] for line in history] for history in histories]
    assert right[1] == pytest.approx(right[0], abs=0.005)  # of both processes' samples
    assert (one.metrics["computed"]["processes"], two.metrics["computed"]["processes"]) == (1, 2)
    assert [path.name for path in (tmp_path / "two").iterdir()] == [one.path.name]


def test_mixed_precision_learns_too():
    torch.manual_seed(0)
    x = torch.randn(64, 4)
    batches = Batches(x, (x[:, 0] > 0).long(), 16, seed=0)
    model = torch.nn.Linear(4, 2)
    with computing("cpu", "bf16-mixed") as compute:
        assert current() is compute and compute.words()["precision"] == "bf16-mixed"
        fit(model, batches, TASKS["multiclass"], torch.optim.Adam(model.parameters(), lr=0.1), epochs=10)
    assert model.weight.dtype == torch.float32
    assert evaluate(model, batches, TASKS["multiclass"]).scores["accuracy"] > 0.95


def test_auto_takes_what_is_here_and_what_is_not_here_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert chosen_device("auto") == "cpu"
    with pytest.raises(Missing, match="torch finds no cuda here; here are: cpu"):
        chosen_device("cuda")
    with pytest.raises(BadRequest, match="no device 'tpu'; known: auto, cpu, cuda, mps"):
        chosen_device("tpu")
    with pytest.raises(BadRequest, match="no precision '8'; known: 32-true"):
        computing("cpu", "8").__enter__()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert chosen_device("auto") == "cuda"
