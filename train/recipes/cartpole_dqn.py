"""Deep Q-learning on CartPole: a policy that balances a pole on a cart, from nothing but trying.

    lokma train cartpole-dqn

Mnih et al., *Human-level control through deep reinforcement learning* (Nature 2015): a replay buffer, a
target network and an epsilon schedule. Two refinements in `targets`, a line each, and a reward with an
opinion on where the cart should stand make the better action clearly better, so that the policy
still balances after every number in it was rounded to 8 bits.

Takes about 15 seconds on one core. Expect a mean return of 500 of 500 over the 100 test episodes; the lower
95 % bound must be at least 475. Which weights are kept is decided by greedy episodes on `TRAIN_SEEDS`,
played in float and rounded; the test episodes are played once, at the end. `python -m benchmarks.dqn_study`
sets the time it trains against that of stable-baselines3.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_runtime.measure import mean_interval
from edge_runtime.spec import Architecture, Label, ModelSpec, Normalise, TensorSpec
from train.draft import Draft
from train.drawing import write_episodes
from train.episodes import CARTPOLE, RETURNS, TEST_SEEDS, TRAIN_SEEDS, play, set_state, state_of
from train.fit import one_thread
from train.models import build
from train.recipes import MAX_SEED, option

# x in m, its speed in m/s, the pole's angle in rad, its speed in rad/s: about what a good policy visits, so
# that each column spans -1 to 1 and an 8-bit input resolves the small angle as well as the fast cart
STD = np.array([1.0, 1.5, 0.1, 1.5], np.float32)
TRACK_M, TILT_RAD = 2.4, 0.2095  # beyond these CartPole ends an episode
SIZES = [4, 64, 64, 2]
STAGE = "learn"  # of its checkpoints
SHOWN = 2  # episodes in the run's GIF, with training seeds
SOLVED = 500.0  # CartPole-v1 ends every episode there


@dataclass(frozen=True)
class Args:
    """The arguments of this recipe."""

    seed: int = option(0, "fixes the first weights, the environments and every draw", at_most=MAX_SEED)
    total_steps: int = option(60_000, "environment steps at most; it stops when the policy balances", at_least=1)
    environments: int = option(8, "environments played at once", at_least=1)
    learning_starts: int = option(1_000, "steps played by chance before learning", at_least=1)
    updates: int = option(2, "gradient steps after each step of all environments", at_least=1)
    batch_size: int = option(128, "transitions a gradient step", at_least=1)
    learning_rate: float = option(1e-3, "Adam's step size", at_least=0)
    gamma: float = option(0.99, "what a reward one step later counts", at_least=0)
    target_rate: float = option(0.01, "how far the target network follows at each gradient step", at_least=0)
    action_gap: float = option(0.7, "how much the worse action's value is pushed down (0: plain DQN)", at_least=0)
    fall_cost: float = option(10.0, "what falling costs, against 1 a step at the edge of the track", at_least=0)
    epsilon_steps: int = option(10_000, "steps until few actions are by chance", at_least=1)
    epsilon_end: float = option(0.05, "share of actions by chance after that", at_least=0)
    check_every: int = option(2_000, "steps between greedy checks", at_least=1)
    check_episodes: int = option(20, "episodes a check", at_least=1)
    buffer_size: int = option(100_000, "transitions kept", at_least=1)


@dataclass(frozen=True)
class Simulator:
    """The data of this recipe is no files: the environment makes it."""

    name: str = CARTPOLE
    sha256: str = ""  # no files to hash; the seeds and Gymnasium's version in the run decide what is seen
    origin: str = f"Gymnasium's {CARTPOLE}, simulated"


def prepare(_args: Args) -> Simulator:
    """Nothing to fetch."""
    return Simulator()


class ReplayBuffer:
    """The last `size` transitions; a batch is drawn by chance, so that neighbours in time come apart."""

    def __init__(self, size: int) -> None:
        # observations, actions, rewards, next observations, terminated
        kinds = (((size, 4), np.float32), (size, np.int64), (size, np.float32), ((size, 4), np.float32))
        self.columns: list[np.ndarray] = [np.zeros(shape, kind) for shape, kind in (*kinds, (size, np.float32))]
        self.size, self.added = size, 0

    def __len__(self) -> int:
        return min(self.added, self.size)

    def add(self, *columns: np.ndarray) -> None:
        """Appends rows of all five columns; the oldest make room."""
        places = np.arange(self.added, self.added + len(columns[0])) % self.size
        for kept, new in zip(self.columns, columns, strict=True):
            kept[places] = new
        self.added += len(places)

    def draw(self, count: int, chance: np.random.Generator) -> list[Tensor]:
        """A batch of `count` transitions, with repetition."""
        rows = chance.integers(len(self), size=count)
        return [torch.from_numpy(column[rows]) for column in self.columns]


def targets(network: nn.Module, target: nn.Module, batch: Sequence[Tensor], args: Args) -> Tensor:
    """What the value of each action taken should be, float32 (batch,).

    The network names the best next action and the target network its value (van Hasselt et al., 2015,
    "Double Q-learning"). An action that is not the best loses a share of what it lacks (Bellemare et al.,
    2016, "Increasing the Action Gap", eq. 6). Only `terminated` ends the future: a truncated episode would
    have gone on, so its last step keeps the value of the next state.
    """
    observations, actions, rewards, next_observations, terminated = batch
    with torch.no_grad():
        best = network(next_observations).argmax(1, keepdim=True)
        future = target(next_observations).gather(1, best)[:, 0]
        values = target(observations)
        lack = values.amax(1) - values.gather(1, actions[:, None])[:, 0]
        return rewards + args.gamma * (1 - terminated) * future - args.action_gap * lack


def rewards_of(observations: np.ndarray, terminated: np.ndarray, args: Args) -> np.ndarray:
    """What training pays, (n,): nothing in the middle and upright, -1 at the edge, `-fall_cost` for falling.

    CartPole itself pays 1 a step wherever the cart stands. Then both actions are worth the same almost
    everywhere, and noise decides. Returns that are reported are always CartPole's own.
    """
    offset = (observations[:, 0] / TRACK_M) ** 2 + (observations[:, 2] / TILT_RAD) ** 2
    return (-offset - args.fall_cost * terminated).astype(np.float32)


def train(args: Args, data: Simulator, draft: Draft) -> None:
    """Learns until the policy balances on the training seeds, keeps the best weights, judges them once."""
    with one_thread():
        network = learn(args, draft)
        centre(network)
        policy = greedy(layers_of(network))
        final = play(policy, TEST_SEEDS, data.name)
    write_episodes(draft.folder / "episodes.gif", policy, TRAIN_SEEDS[:SHOWN])
    lower, _ = mean_interval(final.returns, RETURNS)
    draft.read_test("end of training", mean_return=final.mean, lower_95=lower, n=len(final.returns))
    results = {
        "mean_return": final.mean,
        "lower_95": lower,
        "min_return": min(final.returns),
        "episodes": len(final.returns),
        "test_seeds": [TEST_SEEDS.start, TEST_SEEDS.stop],
    }
    draft.finish(network, SPEC, results, licences={"environment": "Gymnasium, MIT"})


class Learner:
    """All that learning changes, and one step of it: `advance` plays every environment once, remembers and learns."""

    def __init__(self, args: Args) -> None:
        torch.manual_seed(args.seed)
        assert SPEC.architecture is not None
        self.args, self.step = args, 0
        self.chance = np.random.default_rng(args.seed)
        self.network = build(SPEC.architecture)
        self.target = copy.deepcopy(self.network)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=args.learning_rate)
        self.buffer = ReplayBuffer(args.buffer_size)
        self.environments = gymnasium.make_vec(CARTPOLE, args.environments, vectorization_mode="vector_entry_point")
        self.observations, _ = self.environments.reset(seed=args.seed)
        self.over = np.zeros(args.environments, bool)

    def advance(self) -> float | None:
        """One step of all environments, then `updates` gradient steps; gives the last one's loss, if any."""
        self.step += self.args.environments
        self._play()
        return self._update() if len(self.buffer) >= self.args.learning_starts else None

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint: the replay buffer and where the environments are too."""
        return {
            "step": self.step,
            "chance": self.chance.bit_generator.state,
            "network": self.network.state_dict(),
            "target": self.target.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "columns": self.buffer.columns,
            "added": self.buffer.added,
            "environments": state_of(self.environments),
            "observations": self.observations,
            "over": self.over,
        }

    def go_on_from(self, state: Mapping[str, Any]) -> None:
        """Brings a fresh learner of the same arguments to where `state` was taken."""
        self.step, self.buffer.added = state["step"], state["added"]
        self.chance.bit_generator.state = state["chance"]
        self.network.load_state_dict(state["network"])
        self.target.load_state_dict(state["target"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.buffer.columns = [column.copy() for column in state["columns"]]
        set_state(self.environments, state["environments"])
        self.observations, self.over = state["observations"].copy(), state["over"].copy()

    def _play(self) -> None:
        """By chance with probability epsilon, else the best action."""
        args, before = self.args, self.observations
        epsilon = max(args.epsilon_end, 1 - (1 - args.epsilon_end) * self.step / args.epsilon_steps)
        with torch.no_grad():
            best = self.network(torch.from_numpy(before / STD)).argmax(1).numpy()
        by_chance = self.chance.integers(2, size=args.environments)
        actions = np.where(self.chance.random(args.environments) < epsilon, by_chance, best)
        after, _, terminated, truncated, _ = self.environments.step(actions)

        # where an episode was over, this step only reset it (Gymnasium's next-step autoreset): nothing to remember
        rows = (before / STD, actions, rewards_of(after, terminated, args), after / STD, terminated)
        self.buffer.add(*(column[~self.over] for column in rows))
        self.observations, self.over = after, terminated | truncated

    def _update(self) -> float:
        for _ in range(self.args.updates):
            batch = self.buffer.draw(self.args.batch_size, self.chance)
            values = self.network(batch[0]).gather(1, batch[1][:, None])[:, 0]
            loss = functional.smooth_l1_loss(values, targets(self.network, self.target, batch, self.args))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            with torch.no_grad():
                for slow, fast in zip(self.target.parameters(), self.network.parameters(), strict=True):
                    slow.lerp_(fast, self.args.target_rate)
        return float(loss.detach())


def learn(args: Args, draft: Draft) -> nn.Module:
    """The training loop; returns the network with the best weights of all checks."""
    learner = Learner(args)
    best_score, best_weights = -1.0, copy.deepcopy(learner.network.state_dict())
    kept = draft.kept(STAGE)
    if kept is not None:
        learner.go_on_from(kept["learner"])
        best_score, best_weights = kept["best_score"], kept["best_weights"]
    while learner.step < args.total_steps and best_score < SOLVED:
        loss = learner.advance()
        if loss is not None and learner.step % args.check_every < args.environments:
            score, row = check(learner.network, args.check_episodes)
            draft.log({"step": learner.step, "steps": args.total_steps, "loss": loss, **row})
            if score >= SOLVED:  # a few perfect episodes may be luck: play all training seeds
                score, _ = check(learner.network, len(TRAIN_SEEDS))
            if score > best_score:
                best_score, best_weights = score, copy.deepcopy(learner.network.state_dict())
        if draft.due():
            best = {"best_score": best_score, "best_weights": best_weights}
            draft.keep(STAGE, {"learner": learner.state(), **best})
    learner.environments.close()
    learner.network.load_state_dict(best_weights)
    return learner.network


def check(network: nn.Module, episodes: int) -> tuple[float, dict[str, float]]:
    """Greedy episodes on training seeds, in float and rounded: the lower mean return, and both."""
    centred = copy.deepcopy(network)
    centre(centred)
    layers, seeds = layers_of(centred), TRAIN_SEEDS[:episodes]
    played = play(greedy(layers), seeds)
    rounded = play(greedy(layers, ranges_of(layers, played.observations / STD)), seeds)
    return min(played.mean, rounded.mean), {"mean_return": played.mean, "rounded_return": rounded.mean}


Layers = list[tuple[np.ndarray, np.ndarray]]


def layers_of(network: nn.Module) -> Layers:
    """Weights and biases as arrays: for one observation at a time numpy is far faster than torch."""
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    return [(layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()) for layer in linear]


def greedy(layers: Layers, ranges: Sequence[tuple[float, float]] | None = None) -> Callable[[Sequence[float]], int]:
    """The policy that takes the best action; with `ranges`, every weight and activation rounded to 8 bits."""
    if ranges is not None:
        steps = [np.abs(weights).max(1, keepdims=True) / 127 for weights, _ in layers]
        layers = [(np.rint(w / step) * step, bias) for (w, bias), step in zip(layers, steps, strict=True)]

    def act(observation: Sequence[float]) -> int:
        x = np.asarray(observation, np.float32) / STD
        for number, (weights, bias) in enumerate(layers):
            x = (_rounded(x, *ranges[number]) if ranges else x) @ weights.T + bias
            x = np.maximum(x, 0) if number < len(layers) - 1 else x
        return int((_rounded(x, *ranges[-1]) if ranges else x).argmax())

    return act


def ranges_of(layers: Layers, inputs: np.ndarray) -> list[tuple[float, float]]:
    """The smallest and largest value before each layer and after the last, as a calibration sees them."""
    seen = [inputs]
    for number, (weights, bias) in enumerate(layers):
        x = seen[-1] @ weights.T + bias
        seen.append(np.maximum(x, 0) if number < len(layers) - 1 else x)
    return [(min(0.0, float(x.min())), max(0.0, float(x.max()))) for x in seen]


def _rounded(x: np.ndarray, low: float, high: float) -> np.ndarray:
    step = (high - low) / 255 or 1.0
    zero = round(-low / step)
    return (np.clip(np.rint(x / step) + zero, 0, 255) - zero) * step


def centre(network: nn.Module) -> None:
    """Moves every pair of Q-values, in place, so that its mean is 0: the same policy, its margin in the open.

    Both values share the value of the state, which is many times their difference; an 8-bit output that must
    span it resolves the difference worse. What is left is the advantage of Wang et al., 2016 (eq. 9).
    """
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.sub_(last.weight.mean(0, keepdim=True))
        last.bias.sub_(last.bias.mean())


SPEC = ModelSpec(
    name="cartpole",
    task="policy",
    inputs=(TensorSpec("observation", "float32", ("batch", 4), "x m, speed m/s, angle rad, speed rad/s"),),
    outputs=(TensorSpec("q_values", "float32", ("batch", 2), "training return above the mean of both actions"),),
    labels=(Label("left", "left", "sola"), Label("right", "right", "sağa")),
    normalise=Normalise((0.0,) * 4, tuple(map(float, np.round(STD.astype(float), 6)))),
    architecture=Architecture("mlp", {"sizes": SIZES}),
)
