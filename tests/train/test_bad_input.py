"""What cannot be trained on is one named error, before an hour is spent on it."""

from __future__ import annotations

import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import train
from edge_runtime.errors import BadData, BadRequest, Missing
from edge_runtime.spec import ImageSpec
from train.data import image_folder, load_pixels
from train.fit import Batches, fit
from train.tables import table
from train.tasks import TASKS

TINY = ImageSpec(resize=8, crop=8, filter="bicubic")


def test_an_empty_class_folder_is_named(make_pictures):
    root = make_pictures()
    for path in (root / "train" / "steak").iterdir():
        path.unlink()
    with pytest.raises(BadData, match=r"train.steak holds no picture"):
        image_folder(root, "x")


def test_one_class_is_refused(make_pictures):
    with pytest.raises(BadData, match="has 1 label folders; at least 2 are needed"):
        image_folder(make_pictures(labels=("pizza",)), "x")


def test_three_pictures_are_too_few_for_the_folds(tmp_path, make_pictures, monkeypatch):
    pytest.importorskip("sklearn")
    root = make_pictures(labels=("pizza", "steak", "sushi"), count=1)
    monkeypatch.setenv("LOKMA_DATA", str(root))
    with pytest.raises(BadRequest, match="folds must be at most 1: 'pizza' has 1 training pictures"):
        train.train("foodvision", out=tmp_path / "runs")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_a_picture_of_another_mode_is_read_as_rgb(make_pictures, mode):
    root = make_pictures(count=3)
    odd = root / "train" / "pizza" / ("0.jpg" if mode == "CMYK" else "0.png")
    (root / "train" / "pizza" / "0.png").unlink()
    wide = Image.fromarray(np.full((10, 12), 40_000, np.uint16))
    (wide if mode == "I;16" else Image.new(mode, (12, 10))).save(odd)
    pixels, labels = load_pixels(image_folder(root, "x").train, TINY)
    assert pixels.shape == (6, 8, 8, 3) and len(labels) == 6


def test_one_unreadable_picture_of_a_hundred_is_left_out_by_name_and_two_are_refused(make_pictures, caplog):
    root = make_pictures(count=50)
    (root / "train" / "pizza" / "0.png").write_bytes(b"no picture")
    pixels, _ = load_pixels(image_folder(root, "x").train, TINY)
    assert len(pixels) == 99 and re.search(r"left out: .*0.png", caplog.text)
    (root / "train" / "pizza" / "1.png").write_bytes(b"nor this")
    with pytest.raises(BadData, match=r"more than 1% of 100 pictures cannot be read; first: .*0.png"):
        load_pixels(image_folder(root, "x").train, TINY)


def test_a_picture_of_both_splits_is_refused_by_both_paths(make_pictures):
    root = make_pictures()
    shutil.copyfile(root / "train" / "pizza" / "0.png", root / "test" / "pizza" / "other.png")
    with pytest.raises(BadData, match=r"test.pizza.other.png is also in train, as .*train.pizza.0.png"):
        image_folder(root, "x")


def test_a_number_that_is_none_is_named_by_row_and_column():
    rows = np.ones((30, 2), np.float32) * np.arange(30)[:, None]
    rows[4, 1] = np.nan
    with pytest.raises(BadData, match="row 5 of train, column 'b' is nan; 1 such, fill or drop them"):
        table("x", "binary", ("a", "b"), ("no", "yes"), (rows, np.arange(30) % 2), (rows[:2] + 50, [0, 1]))


def test_a_label_beyond_the_head_stops_with_the_batch_named():
    batches = Batches(torch.zeros(4, 2), torch.tensor([0, 1, 2, 3]), 4, 0)
    model = torch.nn.Linear(2, 3)
    with pytest.raises(BadData, match=r"label 3 is beyond the head, which has 3 outputs \(epoch 1, batch 1\)"):
        fit(model, batches, TASKS["multiclass"], torch.optim.SGD(model.parameters(), lr=0.1), 1)


def test_without_a_network_fashion_mnist_names_what_works_without_one(tmp_path, monkeypatch):
    from urllib.error import URLError

    from torchvision.datasets import FashionMNIST

    def offline(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(FashionMNIST, "__init__", offline)
    with pytest.raises(Missing, match=r"multiclass-digits.* need no network, .* taken from LOKMA_DATA/fashion-mnist"):
        train.train("tinyvgg", data="fashion-mnist", out=tmp_path)


def test_a_step_that_does_not_fit_into_memory_suggests_a_smaller_batch():
    class Large(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model = Large(2, 2)
    batches = Batches(torch.zeros(64, 2), torch.zeros(64).long(), 64, 0)
    with pytest.raises(BadData, match="64 samples do not fit into memory in epoch 1, batch 1; try --batch-size 32"):
        fit(model, batches, TASKS["multiclass"], torch.optim.SGD(model.parameters(), lr=0.1), 1)


def test_too_little_disk_is_said_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr("train.draft.shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(BadRequest, match=r"0.0 MB are free for .*; a run needs at least 20 MB"):
        train.train("multiclass-digits", epochs=1, out=tmp_path)
    assert list(tmp_path.iterdir()) == []
