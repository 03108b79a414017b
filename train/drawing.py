"""Pictures of a training, drawn with Pillow: curves, a confusion matrix, and episodes of CartPole as a GIF.

>>> curves([{"epoch": 1, "loss": 0.9, "accuracy": 0.4}, {"epoch": 2, "loss": 0.5, "accuracy": 0.7}]).size
(840, 320)
>>> matrix([[9, 1], [2, 8]], ["cat", "dog"]).mode
'RGB'
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

INK, PALE, LINE, WRONG = (30, 41, 59), (203, 213, 225), (37, 99, 235), (194, 65, 12)
WIDTH, HEIGHT, MARGIN = 420, 320, 52  # of one chart, in pixels
ALONG = ("epoch", "step")
NOT_DRAWN = {*ALONG, "epochs", "steps", "seconds"}
MOST_CLASSES = 40  # of a matrix that can be read
CELL = 34
FRAMES_EACH, FRAME_MS = 2, 40  # CartPole's step is 20 ms; every second one is drawn
GIF = (300, 160)


def curves(rows: Sequence[Mapping[str, Any]]) -> Image.Image:
    """A chart beside a chart for every number that a history has twice or more, along its epochs or steps."""
    along = next((name for name in ALONG if sum(name in row for row in rows) > 1), ALONG[0])
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if along in row and name not in NOT_DRAWN and isinstance(value, int | float) and math.isfinite(value):
                series.setdefault(name, []).append((row[along], value))
    drawn = {name: points for name, points in series.items() if len(points) > 1}
    sheet = Image.new("RGB", (WIDTH * max(1, len(drawn)), HEIGHT), "white")
    for number, (name, points) in enumerate(drawn.items()):
        sheet.paste(_chart(name, along, points), (number * WIDTH, 0))
    return sheet


def matrix(counts: Sequence[Sequence[float]], labels: Sequence[str]) -> Image.Image:
    """A confusion matrix: a row a true class, a column an answer; right ones blue, wrong ones orange.

    Args:
        counts: (classes, classes).
        labels: their names, in that order.
    """
    font = _font(13)
    left = 24 + max(int(font.getlength(label)) for label in labels)
    side = CELL * len(labels)
    sheet = Image.new("RGB", (left + side + 12, left + side + 30), "white")
    draw = ImageDraw.Draw(sheet)
    for row, label in enumerate(labels):
        draw.text((left - 8, left + row * CELL + CELL / 2), label, INK, font, anchor="rm")
        _upwards(sheet, label, left + row * CELL, left - 8, font)
        total = sum(counts[row]) or 1
        for column in range(len(labels)):
            colour, share = LINE if row == column else WRONG, counts[row][column] / total
            corner = (left + column * CELL, left + row * CELL)
            fill = tuple(round(255 + (one - 255) * share) for one in colour)
            draw.rectangle((*corner, corner[0] + CELL - 2, corner[1] + CELL - 2), fill)
            if counts[row][column]:
                ink = "white" if share > 0.5 else INK
                middle = (corner[0] + CELL / 2 - 1, corner[1] + CELL / 2 - 1)
                draw.text(middle, f"{counts[row][column]:.0f}", ink, _font(12), anchor="mm")
    draw.text((sheet.width - 8, sheet.height - 6), "down: true, across: said", INK, font, anchor="rb")
    return sheet


def write_episodes(path: Path, act: Callable[[Sequence[float]], int], seeds: Sequence[int], steps: int = 500) -> None:
    """Plays CartPole once a seed and writes what is seen as one GIF, without pygame.

    Args:
        path: the `.gif` file.
        act: takes an observation, gives the number of an action.
        seeds: one an episode.
        steps: shown of each at most.
    """
    from train.episodes import play

    frames: list[Image.Image] = []
    for number, seed in enumerate(seeds, 1):
        played = play(act, [seed])
        shown = range(0, min(steps, len(played.observations)), FRAMES_EACH)
        frames += [_cart(played.observations[n].tolist(), f"episode {number}, step {n}") for n in shown]
    first, *rest = [frame.quantize(16) for frame in frames]
    first.save(path, save_all=True, append_images=rest, duration=FRAME_MS, loop=0, optimize=True)


def _chart(name: str, along: str, points: Sequence[tuple[float, float]]) -> Image.Image:
    sheet = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw, font = ImageDraw.Draw(sheet), _font(13)
    (x0, x1), (y0, y1) = ((min(axis), max(axis)) for axis in zip(*points, strict=True))
    wide, high = x1 - x0 or 1, y1 - y0 or 1

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            MARGIN + 12 + (x - x0) / wide * (WIDTH - 2 * MARGIN),
            HEIGHT - MARGIN - (y - y0) / high * (HEIGHT - 2 * MARGIN),
        )

    for part in range(5):
        y = y0 + high * part / 4
        draw.line([place(x0, y), place(x1, y)], PALE)
        draw.text((place(x0, y)[0] - 6, place(x0, y)[1]), f"{y:.3g}", INK, font, anchor="rm")
    for x, anchor in ((x0, "lt"), (x1, "rt")):
        draw.text((place(x, y0)[0], HEIGHT - MARGIN + 8), f"{x:g}", INK, font, anchor=anchor)
    draw.text((WIDTH / 2, HEIGHT - 18), along, INK, font, anchor="mm")
    draw.text((MARGIN + 12, 16), name.replace("_", " "), INK, _font(15), anchor="lm")
    draw.line([place(*point) for point in points], LINE, 2, joint="curve")
    draw.text((place(*points[-1])[0], place(*points[-1])[1] - 6), f"{points[-1][1]:.4g}", LINE, font, anchor="rb")
    return sheet


def _cart(observation: Sequence[float], words: str) -> Image.Image:
    """The cart and its pole, as Gymnasium draws them: the track is 4.8 m wide, the pole 1 m long."""
    wide, high = GIF
    sheet = Image.new("RGB", (2 * wide, 2 * high), "white")
    draw = ImageDraw.Draw(sheet)
    metre = 2 * wide / 4.8
    x, floor, tilt = wide + observation[0] * metre, 1.6 * high, observation[2]
    draw.line([(0, floor), (2 * wide, floor)], INK, 3)
    draw.rectangle((x - 36, floor - 22, x + 36, floor + 22), INK)
    tip = (x + math.sin(tilt) * metre, floor - 10 - math.cos(tilt) * metre)
    draw.line([(x, floor - 10), tip], (202, 152, 101), 16)
    draw.ellipse((x - 9, floor - 19, x + 9, floor - 1), (129, 132, 203))
    draw.text((12, 10), words, INK, _font(22))
    return sheet.resize(GIF, Image.Resampling.LANCZOS)


def _upwards(sheet: Image.Image, label: str, x: float, y: float, font: Any) -> None:
    """Writes a label from `y` upwards in the column that begins at `x`."""
    size = (int(font.getlength(label)) + 2, 18)
    text = Image.new("RGB", size, "white")
    ImageDraw.Draw(text).text((0, 9), label, INK, font, anchor="lm")
    sheet.paste(text.rotate(90, expand=True), (round(x + CELL / 2 - 9), round(y - size[0])))


def _font(size: int) -> Any:
    return ImageFont.load_default(size)
