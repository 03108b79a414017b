"""What a training shows: curves, a confusion matrix, episodes."""

from __future__ import annotations

import pytest
from PIL import Image

import train
from train.drawing import CELL, LINE, WIDTH, WRONG, curves, matrix, write_episodes


def test_every_number_that_comes_twice_gets_a_chart():
    rows = [
        {"cv_accuracy": 0.9},
        *({"epoch": e, "epochs": 3, "loss": 1 / e, "accuracy": e / 3, "seconds": e} for e in (1, 2, 3)),
    ]
    sheet = curves(rows)
    assert sheet.width == 2 * WIDTH
    halves = [sheet.crop((WIDTH * n, 0, WIDTH * (n + 1), sheet.height)) for n in (0, 1)]
    heights = [[y for y in range(50, 280) if half.getpixel((x, y)) == LINE] for half in halves for x in (70, 350)]
    falls, rises = heights[:2], heights[2:]
    assert falls[0][0] < falls[1][0] and rises[0][0] > rises[1][0]


def test_a_history_of_one_epoch_or_of_nonsense_is_drawn_without_a_line():
    assert curves([{"epoch": 1, "loss": 0.5}]).width == WIDTH
    assert (
        curves([{"step": 1, "loss": float("nan")}, {"step": 2, "loss": 2.0}, {"step": 3, "loss": 2.0}]).width == WIDTH
    )


def test_a_confusion_matrix_shows_right_answers_blue_and_wrong_ones_orange():
    sheet = matrix([[8, 0], [4, 0]], ["cat", "dog"])
    left = sheet.width - 12 - 2 * CELL
    corners = [sheet.getpixel((left + column * CELL + 2, left + row * CELL + 2)) for row in (0, 1) for column in (0, 1)]
    assert corners == [LINE, (255, 255, 255), WRONG, (255, 255, 255)]


def test_episodes_become_a_gif_without_pygame(tmp_path):
    write_episodes(tmp_path / "episodes.gif", lambda observation: int(observation[2] > 0), [0, 1])
    with Image.open(tmp_path / "episodes.gif") as gif:
        assert gif.n_frames == 47 and gif.size == (300, 160) and gif.info["duration"] == 40


@pytest.mark.parametrize("recipe", ["binary-circles", "multiclass-blobs"])
def test_a_run_of_classes_keeps_its_curves_and_its_confusion_matrix(tmp_path, recipe):
    pytest.importorskip("sklearn")
    run = train.train(recipe, seeds=1, epochs=2, out=tmp_path)
    assert {"curves.png", "confusion.png"} <= {path.name for path in run.path.iterdir()}
    with Image.open(run.path / "curves.png") as sheet:
        assert sheet.width == 2 * WIDTH
