"""Plays a policy greedily in a Gymnasium environment, as `lokma run BUNDLE --env CartPole-v1` does.

>>> from edge_runtime import examples, load
>>> play(load(examples.path("cartpole.zip")), "CartPole-v1", episodes=2)
[500.0, 500.0]
"""

from __future__ import annotations

import contextlib
from typing import Any

from edge_runtime.errors import BadRequest, Missing
from edge_runtime.measure import mean_interval
from edge_runtime.predictor import Predictor

BOUNDS = {"CartPole-v1": (0.0, 500.0)}  # what one episode can return, where that is known


def play(predictor: Predictor, environment: str, episodes: int = 100, seed: int = 0) -> list[float]:
    """The return of each episode, played to its end or to the environment's limit.

    Args:
        predictor: of a policy.
        environment: Gymnasium's id, such as `CartPole-v1`.
        episodes: how many.
        seed: of the first episode; each further one takes the next number.

    Raises:
        BadRequest: it is no policy, or there is no such environment, or it does not fit the policy.
        Missing: Gymnasium is not installed.
    """
    spec = predictor.spec
    if spec.task != "policy":
        raise BadRequest(f"{spec.name} is no policy but answers {spec.task} questions; give it inputs instead of --env")
    try:
        import gymnasium
    except ImportError as error:
        raise Missing("--env plays with Gymnasium: pip install gymnasium") from error
    try:
        env: Any = gymnasium.make(environment, disable_env_checker=True)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        raise BadRequest(f"Gymnasium cannot make {environment!r}: {error}") from error
    with contextlib.closing(env):
        wanted = (spec.inputs[0].sample_shape, len(spec.labels))
        found = (env.observation_space.shape, getattr(env.action_space, "n", None))
        if found != wanted:
            raise BadRequest(
                f"{environment} observes {found[0]} and has {found[1] or 'no countable'} actions; "
                f"{spec.name} takes {wanted[0]} and has {wanted[1]}"
            )
        return [_episode(predictor, env, seed + count) for count in range(episodes)]


def _episode(predictor: Predictor, env: Any, seed: int) -> float:
    observation, _ = env.reset(seed=seed)
    total, over = 0.0, False
    while not over:
        observation, reward, terminated, truncated, _ = env.step(predictor.predict(observation).action)
        total, over = total + float(reward), terminated or truncated
    return total


def interval(returns: list[float], environment: str) -> tuple[tuple[float, float] | None, str]:
    """The 95 % interval of the mean return, or None and why there is none."""
    if len(returns) < 30:
        return None, "no interval below 30 episodes"
    if environment not in BOUNDS and min(returns) == max(returns):
        return None, "no interval: all returns are equal"
    return mean_interval(returns, BOUNDS.get(environment)), ""
