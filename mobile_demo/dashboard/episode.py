"""One episode of a policy as a picture that moves: CartPole, drawn with Pillow.

>>> from edge_runtime import examples, load
>>> states, total = play(load(examples.path("cartpole.zip")), "CartPole-v1", seed=0)
>>> len(states), total
(500, 500.0)
>>> gif(states)[:6]
b'GIF89a'
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw

from edge_runtime.errors import BadRequest, Missing
from edge_runtime.predictor import Predictor

ENVIRONMENT = "CartPole-v1"
WIDTH, HEIGHT, SCALE = 600, 260, 2  # drawn larger, then reduced: smooth edges
FRAMES = 200
FRAME_MS = 40
REACH = 2.4  # metres to either side, where an episode ends
SKY, TRACK, CART, POLE, AXLE = "#f4f6f8", "#8c98a6", "#1c2430", "#d9730d", "#2f7fc1"


def play(predictor: Predictor, environment: str, seed: int) -> tuple[list[tuple[float, ...]], float]:
    """Plays greedily; the states before each step, and the return.

    Raises:
        BadRequest: the page draws CartPole only, or the policy is another's.
        Missing: Gymnasium is not installed.
    """
    if environment != ENVIRONMENT or predictor.spec.inputs[0].sample_shape != (4,):
        raise BadRequest(f"only {ENVIRONMENT} is drawn here; this policy plays {environment or 'something else'}")
    try:
        import gymnasium
    except ImportError as error:
        raise Missing("an episode is played with Gymnasium: pip install gymnasium") from error
    states: list[tuple[float, ...]] = []
    total, over = 0.0, False
    env: Any = gymnasium.make(environment, disable_env_checker=True)
    with contextlib.closing(env):
        observation, _ = env.reset(seed=seed)
        while not over:
            states.append(tuple(float(value) for value in observation))
            observation, reward, terminated, truncated, _ = env.step(predictor.predict(observation).action)
            total, over = total + float(reward), terminated or truncated
    return states, total


def gif(states: Sequence[Sequence[float]]) -> bytes:
    """The episode as an animation that plays once: at most `FRAMES` frames, evenly taken.

    Args:
        states: (position in m, velocity, angle in rad, angular velocity), one a step.
    """
    every = -(-len(states) // FRAMES)
    frames = [_frame(state) for state in states[::every]]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=FRAME_MS, optimize=True)
    return out.getvalue()


def _frame(state: Sequence[float]) -> Image.Image:
    position, _, angle, _ = state
    wide, high = WIDTH * SCALE, HEIGHT * SCALE
    picture = Image.new("RGB", (wide, high), SKY)
    draw = ImageDraw.Draw(picture)
    ground = high * 0.8
    x = wide / 2 + position / REACH * (wide / 2 - 40 * SCALE)
    draw.line((0, ground, wide, ground), fill=TRACK, width=2 * SCALE)
    half, tall = 34 * SCALE, 26 * SCALE
    draw.rounded_rectangle((x - half, ground - tall, x + half, ground), radius=6 * SCALE, fill=CART)
    length = 130 * SCALE
    top = (x + length * math.sin(angle), ground - tall - length * math.cos(angle))
    draw.line((x, ground - tall, *top), fill=POLE, width=9 * SCALE)
    draw.ellipse((x - 7 * SCALE, ground - tall - 7 * SCALE, x + 7 * SCALE, ground - tall + 7 * SCALE), fill=AXLE)
    return picture.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).convert(
        "P", palette=Image.Palette.ADAPTIVE, colors=32
    )
