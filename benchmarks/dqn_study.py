"""How fast CartPole is learned: the recipe `cartpole-dqn` beside stable-baselines3's DQN.

`python -m benchmarks.dqn_study [--json]` trains both with five seeds, in turn, each in a process and on a thread of its
own. Every 2,000 steps both play the same 20 greedy episodes; the first check whose mean return is at least 475 ends a
training, 200,000 steps do so without one. What is compared is the time spent training until then, evaluation left
out: the processor time of a process with one thread, so that other work on the machine hardly moves it, and
beside it the time on the clock. A training that misses counts with the time of all 200,000 steps.

stable-baselines3 (`pip install 'lokma[peers]'`) has the settings tuned for it in its model zoo, `hyperparams/dqn.yml`,
CartPole-v1. Its exploration there ends after 16 % of 50,000 steps; here after the same 8,000.

One record a finished training is appended to the results; what is on record with the same code, libraries and machine
is not trained again. Ten minutes on one core, mostly the other side's. Exits 1 where the ratio of the medians is above
0.5, or an answer is missing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import budget, paired, results
from benchmarks.environment import host
from benchmarks.paired import Row
from edge_runtime.errors import Missing
from train.episodes import CARTPOLE, TRAIN_SEEDS, play
from train.provenance import code_sha256, commit
from train.recipes import cartpole_dqn

SEEDS = range(5)
CHECK_EVERY, CHECK_EPISODES, SOLVED, MAX_STEPS = 2_000, 20, 475.0, 200_000
MAX_RATIO = 0.5
LIMIT_S = 3600  # of one training, on the clock
TOOLS = ("gymnasium", "numpy", "stable-baselines3", "torch")
CODE = ("benchmarks.dqn_study", "train.episodes", "train.models", "train.recipes.cartpole_dqn")
ZOO: dict[str, Any] = {
    "batch_size": 64,
    "buffer_size": 100_000,
    "exploration_final_eps": 0.04,
    "exploration_fraction": 0.16 * 50_000 / MAX_STEPS,
    "gamma": 0.99,
    "gradient_steps": 128,
    "learning_rate": 2.3e-3,
    "learning_starts": 1_000,
    "policy_kwargs": {"net_arch": [256, 256]},
    "target_update_interval": 10,
    "train_freq": 256,
}

Cell = tuple[str, int]  # whose DQN, seed
Outcome = dict[str, Any]  # solved, steps, cpu_s, wall_s, returns


class Watch:
    """Adds up the time spent training, and looks every `CHECK_EVERY` steps whether the policy balances."""

    def __init__(self) -> None:
        self.cpu_s, self.wall_s, self.steps, self.returns = 0.0, 0.0, 0, list[float]()
        self._since = (time.process_time(), time.perf_counter())

    def solved(self, network: Any, steps: int, scale: Any) -> bool:
        """Whether a check is due after so many steps and holds; the time it takes is left out.

        Args:
            network: linear layers that give a value an action.
            steps: of the environment, so far.
            scale: by what an observation is divided before the first layer.
        """
        due, self.steps = steps // CHECK_EVERY > self.steps // CHECK_EVERY, steps
        if not due:
            return False
        self.stop()
        layers = cartpole_dqn.layers_of(network)
        layers[0] = (layers[0][0] * (cartpole_dqn.STD / scale), layers[0][1])  # `greedy` divides by STD
        self.returns.append(play(cartpole_dqn.greedy(layers), TRAIN_SEEDS[:CHECK_EPISODES]).mean)
        self._since = (time.process_time(), time.perf_counter())
        return self.returns[-1] >= SOLVED

    def stop(self) -> None:
        """Counts the time since the last check."""
        cpu, wall = time.process_time(), time.perf_counter()
        self.cpu_s, self.wall_s = self.cpu_s + cpu - self._since[0], self.wall_s + wall - self._since[1]


def lokma(seed: int, most: int, watch: Watch) -> bool:
    """The recipe, with its own settings."""
    learner = cartpole_dqn.Learner(cartpole_dqn.Args(seed=seed))
    while learner.step < most:
        learner.advance()
        if watch.solved(learner.network, learner.step, cartpole_dqn.STD):
            return True
    watch.stop()
    return False


def stable_baselines3(seed: int, most: int, watch: Watch) -> bool:
    """stable-baselines3's DQN, with its zoo's settings."""
    try:
        from stable_baselines3 import DQN
        from stable_baselines3.common.callbacks import BaseCallback
    except ImportError as error:
        raise Missing("the other side is stable-baselines3: pip install 'lokma[peers]'") from error

    class Check(BaseCallback):
        done = False

        def _on_step(self) -> bool:
            model: Any = self.model
            self.done = watch.solved(model.q_net, self.num_timesteps, 1.0)
            return not self.done

    check = Check()
    DQN("MlpPolicy", CARTPOLE, seed=seed, device="cpu", **ZOO).learn(most, callback=check)
    if not check.done:
        watch.stop()
    return check.done


SIDES: dict[str, Callable[[int, int, Watch], bool]] = {"lokma": lokma, "stable-baselines3": stable_baselines3}


def trained(side: str, seed: int, most: int = MAX_STEPS) -> Outcome:
    """One training, in this process, on one thread."""
    import torch

    torch.set_num_threads(1)
    SIDES[side](seed, 1, Watch())  # what is imported and compiled at a first step is no training
    watch = Watch()
    solved = SIDES[side](seed, most, watch)
    return {
        "solved": solved, "steps": watch.steps, "cpu_s": watch.cpu_s, "wall_s": watch.wall_s, "returns": watch.returns,
    }  # fmt: skip


def in_a_child(side: str, seed: int) -> Outcome:
    """One training in a process of its own.

    Raises:
        Missing: stable-baselines3 is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="lokma-dqn-") as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "benchmarks.dqn_study", "--cell", side, str(seed), str(answer)]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        done = subprocess.run(command, env={**os.environ, **threads}, timeout=LIMIT_S, check=False)
        if done.returncode == Missing.exit_code:
            raise Missing("the training above needs something that is not here")
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}; its own words stand above")
        found: Outcome = json.loads(answer.read_text())
    return found


def made_by() -> dict[str, Any]:
    """What decides a training: where any of it is another, it is done again."""
    return {
        "code": code_sha256(*CODE)[:12],
        "tools": {tool: _version(tool) for tool in TOOLS},
        "host": host()["fingerprint"],
    }


def _version(tool: str) -> str | None:
    try:
        return importlib.metadata.version(tool)
    except importlib.metadata.PackageNotFoundError:
        return None


def record(cell: Cell, found: Outcome, by: Mapping[str, Any]) -> dict[str, Any]:
    """One training's record; its time is the processor's, in nanoseconds."""
    side, seed = cell
    return results.record(
        kind="study",
        study="dqn",
        commit=commit(),
        bundle={"name": "cartpole"},
        artifact={"id": side},
        target="device",
        host=host(),
        scenario={"name": "training", "seed": seed, "threads": 1, "most_steps": MAX_STEPS, "made_by": dict(by)},
        latency_ns=[round(found["cpu_s"] * 1e9)],
        validity={"valid": True, "flags": []},
        notes=["latency_ns is processor time of one training, evaluation left out; wall_s is that on the clock"],
        training=dict(found),
    )


def done(records: Sequence[Mapping[str, Any]], by: Mapping[str, Any]) -> dict[Cell, Outcome]:
    """The trainings on record that the same code, libraries and machine made."""
    same = [one for one in records if one.get("study") == "dqn" and one["scenario"]["made_by"] == by]
    return {(one["artifact"]["id"], one["scenario"]["seed"]): one["training"] for one in same}


def rows(found: Mapping[Cell, Outcome]) -> list[Row]:
    """The budget: the ratio of the median training times; open while a training is missing."""
    whole = all((side, seed) in found for side in SIDES for seed in SEEDS)
    answers = []
    for clock, what, bound in (("cpu_s", "processor time", MAX_RATIO), ("wall_s", "time on the clock", None)):
        ours, theirs = ([found[side, seed][clock] for seed in SEEDS if (side, seed) in found] for side in SIDES)
        ratio = statistics.median(ours) / statistics.median(theirs) if whole else None
        holds = None if ratio is None else bound is None or ratio <= bound
        missed = [f"{side} seed {seed}" for (side, seed), one in found.items() if not one["solved"]]
        note = f"{', '.join(missed) or 'none'} missed; " + " against ".join(_figures(one) for one in (ours, theirs))
        name = f"cartpole-dqn: training to a mean return of {SOLVED:g}, {what} against stable-baselines3"
        answers.append(paired.row(name, ratio, bound, holds, len(found), note))
    return answers


def _figures(seconds: Sequence[float]) -> str:
    return ", ".join(f"{one:.1f}" for one in seconds) + " s"


def _line(cell: Cell, found: Outcome) -> str:
    what = "solved" if found["solved"] else "MISSED"
    times = f"{found['cpu_s']:7.1f} s processor, {found['wall_s']:7.1f} s clock"
    return f"{cell[0]:<18} seed {cell[1]}: {what} after {found['steps']:>6} steps, {times}"


def main(argv: list[str]) -> int:
    """Runs what is not on record yet, the two sides in turn, and prints every time and the ratio."""
    parser = budget.parser("dqn_study", __doc__)
    parser.add_argument("--cell", nargs=3, metavar=("SIDE", "SEED", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)

    def work() -> bool:
        if args.cell:
            Path(args.cell[2]).write_text(json.dumps(trained(args.cell[0], int(args.cell[1]))))
            return True
        return _run(args.json)

    return budget.answered("dqn_study", work)


def _run(as_json: bool) -> bool:
    by = made_by()
    found = done(results.read().records, by)
    for seed in SEEDS:
        for side in sorted(SIDES, reverse=bool(seed % 2)):
            cell = (side, seed)
            if cell not in found:
                found[cell] = in_a_child(*cell)
                budget.keep(record(cell, found[cell], by))
            if not as_json:
                print(_line(cell, found[cell]), flush=True)
    return budget.show(rows(found), as_json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
