"""Playing a policy: seeded episodes of a Gymnasium environment, without torch.

Training, calibration and evaluation all play through this. Their seeds never meet: what was chosen on
`TRAIN_SEEDS` is judged on `TEST_SEEDS`.

>>> play(lambda observation: int(observation[2] > 0), [0, 1]).returns
(41.0, 51.0)
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_runtime.errors import BadRequest, Missing

CARTPOLE = "CartPole-v1"
RETURNS = (0.0, 500.0)  # what one of its episodes can return
ENVIRONMENTS = (CARTPOLE,)  # a bundle names one of these; Gymnasium would import the module of "module:Env-v0"
TRAIN_SEEDS = range(10_000, 10_100)  # choosing weights, calibrating
TEST_SEEDS = range(1_000_000, 1_000_100)  # judging, at the end


@dataclass(frozen=True)
class Episodes:
    """What was played: the return of each episode, and every observation on which a decision was made.

    `observations` is float32 (steps of all episodes, columns).
    """

    returns: tuple[float, ...]
    observations: np.ndarray

    @property
    def mean(self) -> float:
        """The mean return."""
        return statistics.fmean(self.returns)


def play(act: Callable[[Sequence[float]], int], seeds: Sequence[int], env_id: str = CARTPOLE) -> Episodes:
    """Plays one episode a seed, to its end (terminated) or to the environment's limit (truncated).

    Args:
        act: takes an observation, a sequence of floats, and gives the number of an action.
        seeds: one an episode.
        env_id: the Gymnasium environment, one of `ENVIRONMENTS`.

    Raises:
        BadRequest: the environment is none of the table.
        Missing: Gymnasium is not installed.
    """
    if env_id not in ENVIRONMENTS:
        raise BadRequest(f"there is no environment {env_id!r}; known: {', '.join(ENVIRONMENTS)}")
    try:
        import gymnasium
    except ImportError as error:
        raise Missing("playing episodes needs Gymnasium: pip install 'lokma[train]'") from error
    env = gymnasium.make(env_id, disable_env_checker=True)
    returns: list[float] = []
    observations: list[np.ndarray] = []
    for seed in seeds:
        observation, _ = env.reset(seed=seed)
        episodic_return, over = 0.0, False
        while not over:
            observations.append(observation)
            observation, reward, terminated, truncated, _ = env.step(act(observation))
            episodic_return += float(reward)
            over = terminated or truncated
        returns.append(episodic_return)
    env.close()
    return Episodes(tuple(returns), np.array(observations, np.float32))


SIMULATED = ("state", "steps", "prev_done")  # what Gymnasium's vectorised CartPole is, beside its generator


def state_of(environments: Any) -> dict[str, Any]:
    """Where the environments of Gymnasium's vectorised CartPole are, and their generator, for a checkpoint."""
    inner = environments.unwrapped
    return {**{name: getattr(inner, name) for name in SIMULATED}, "chance": inner.np_random.bit_generator.state}


def set_state(environments: Any, state: Mapping[str, Any]) -> None:
    """Brings environments of the same number, which were reset before, to where `state_of` found them."""
    inner = environments.unwrapped
    for name in SIMULATED:
        setattr(inner, name, state[name].copy())
    inner.np_random.bit_generator.state = state["chance"]
