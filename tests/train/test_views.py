import math

import numpy as np
import pytest
import torch
from PIL import Image

from edge_runtime.spec import ImageSpec
from train.views import PLAIN, VIEWS, View, pixels_of, varied

TINY = ImageSpec(resize=8, crop=8, filter="bicubic")


def across(height=180, width=240):
    """Darker to the left, brighter to the right."""
    return Image.fromarray(np.broadcast_to(np.arange(width, dtype=np.uint8)[None, :, None], (height, width, 3)))


def seen(view, picture=None, place=0):
    return np.frombuffer(pixels_of(picture or across(), TINY, view, place), np.uint8).reshape(8, 8, 3)


def test_a_random_part_is_at_least_a_third_of_the_picture():
    picture, mirrored = across(), 0
    for seed in range(100):
        row = np.frombuffer(varied(picture, TINY, np.random.default_rng(seed)), np.uint8).reshape(8, 8, 3)[4, :, 0]
        width = abs(int(row[-1]) - int(row[0])) * 8 / 7
        mirrored += row[-1] < row[0]
        assert math.sqrt(0.35 * 3 / 4 * 180 * 240) - 8 <= width <= 240
    assert 30 < mirrored < 70


def test_a_mirrored_picture_is_the_plain_one_from_right_to_left():
    assert np.array_equal(seen(View("mirror")), seen(PLAIN)[:, ::-1])


@pytest.mark.parametrize("kind", ["part", "trivial"])
def test_a_random_view_is_the_same_again_and_another_for_another_number_or_picture(kind):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again, other, elsewhere = (
        seen(View(kind, 1)),
        seen(View(kind, 1)),
        seen(View(kind, 2)),
        seen(View(kind, 1), place=1),
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other) and not np.array_equal(first, elsewhere)
    assert torch.equal(torch.get_rng_state(), before)  # it draws from a generator of its own


def test_a_trivial_view_changes_most_of_the_parts_that_it_takes():
    changed = sum(not np.array_equal(seen(View("trivial", n)), seen(View("part", n))) for n in range(1, 41))
    assert changed > 20


def test_a_view_is_named_by_its_kind_and_number():
    assert [str(PLAIN), str(View("mirror")), str(View("part", 3))] == ["plain", "mirror", "part 3"]
    assert list(VIEWS) == ["plain", "mirror", "part", "trivial"]
