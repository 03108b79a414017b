"""Fine-tuning: the head first, then as much of the backbone as is asked for."""

from __future__ import annotations

import json

import pytest
import torch

import train
from edge_runtime.errors import BadData, BadRequest
from edge_runtime.spec import ImageSpec, Normalise
from train import tuning
from train.data import image_data, image_folder
from train.effnet_lite import EfficientNetLite
from train.models import EfficientNetB2
from train.pretrained import BACKBONES, Backbone
from train.recipes import foodvision
from train.tasks import TASKS
from train.tuning import WHAT, Still, Tuning, Viewed, answers, learners, seen_pixels, tune
from train.views import PLAIN, View
from train.vit import VisionTransformer

HALF = Normalise((127.5,) * 3, (127.5,) * 3)
TINY = ImageSpec(32, 32, "bicubic")
SHORT = {"model": "effnet_lite0", "folds": 2, "tune_epochs": 2, "tune_rate": 0.001, "batch_size": 4}


@pytest.fixture
def small(monkeypatch, make_pictures):
    """FoodVision with a backbone of 32 pixels and random weights, on noise."""
    monkeypatch.setenv("LOKMA_DATA", str(make_pictures(count=5)))
    row = Backbone(lambda *_: None, TINY, HALF, "none", {"image_size": 32})
    monkeypatch.setitem(BACKBONES, "effnet_lite0", row)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(before, model):
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("what", WHAT)
def test_only_what_was_asked_for_learns_and_batch_norms_keep_their_statistics(what):
    torch.manual_seed(0)
    model = VisionTransformer(2, image_size=16, patch=8, width=8, depth=3, heads=2)
    before = weights(model)
    pixels = torch.randint(0, 256, (6, 2, 3, 16, 16), dtype=torch.uint8)
    tune(model, pixels, torch.arange(6) % 2, HALF, Tuning(what, TASKS["multiclass"], 2, 3, 0.01, seed=0))
    learned = {name.split(".")[0] if "blocks" not in name else name[:8] for name in changed(before, model)}
    last = {"blocks.2", "norm", "classifier"}
    every = last | {"blocks.0", "blocks.1", "class_token", "positions", "embed"}
    assert learned == {"head": {"classifier"}, "last": last, "all": every}[what]

    torch.manual_seed(0)
    lite = EfficientNetLite(2, image_size=32)
    before = weights(lite)
    tune(
        lite, pixels.repeat(1, 1, 1, 2, 2), torch.arange(6) % 2, HALF, Tuning("all", TASKS["multiclass"], 1, 3, 0.01, 0)
    )
    assert not any("running" in name or "tracked" in name for name in changed(before, lite))


def test_each_network_of_foodvision_says_what_its_last_third_is():
    shares = {}
    for name, model in {"lite": EfficientNetLite(3, 32), "b2": EfficientNetB2(3)}.items():
        all_of_it = sum(p.numel() for p in model.parameters())
        shares[name] = [round(sum(p.numel() for p in learners(model, what)) / all_of_it, 2) for what in WHAT]
    assert shares == {"lite": [0.0, 0.84, 1.0], "b2": [0.0, 0.82, 1.0]}


def test_a_batch_shows_one_view_of_each_picture_and_a_seed_says_which():
    pixels = torch.arange(3, dtype=torch.uint8)[None, :, None, None, None].expand(200, 3, 3, 2, 2)
    viewed = Viewed(Normalise((1.0,) * 3, (2.0,) * 3))
    first, again = (viewed(pixels, torch.Generator().manual_seed(4)) for _ in range(2))
    assert first.shape == (200, 3, 2, 2) and torch.equal(first, again)
    assert sorted(first[:, 0, 0, 0].unique().tolist()) == [-0.5, 0.0, 0.5]


def test_every_view_of_a_picture_stands_beside_it_and_the_first_is_judged(make_pictures):
    data = image_folder(make_pictures(), "x")
    pixels, labels = seen_pixels(data.train, TINY, [PLAIN, View("mirror")])
    assert pixels.shape == (4, 2, 3, 32, 32) and labels.tolist() == [0, 0, 1, 1]
    assert torch.equal(pixels[:, 1], pixels[:, 0].flip(3))
    model = EfficientNetLite(2, 32)
    assert torch.equal(answers(model, pixels, HALF, 3), answers(model, pixels[:, :1], HALF, 3))


def test_pictures_that_do_not_fit_into_memory_are_refused_with_their_size(make_pictures, monkeypatch):
    def full(*_):
        raise MemoryError

    examples = image_folder(make_pictures(), "x").train
    monkeypatch.setattr(tuning.np, "empty", full)
    with pytest.raises(BadData, match=r"4 pictures in 1 views take 0.0 GB of memory; try --augment none, or --tune"):
        seen_pixels(examples, TINY, [PLAIN])


def test_a_still_network_drops_nothing_while_it_learns():
    still = Still(torch.nn.Sequential(torch.nn.Dropout(0.9)))
    assert torch.equal(still.train()(torch.ones(50)), torch.ones(50))


def test_foodvision_is_fine_tuned_by_a_flag_and_a_seed_fixes_the_weights(small, tmp_path):
    head, last, again = (
        train.train("foodvision", name=name, out=tmp_path, **{**SHORT, "tune": what})
        for name, what in (("head", "head"), ("last", "last"), ("again", "last"))
    )
    states = [run.model.state_dict() for run in (head, last, again)]
    tuned = {name.split(".")[0] for name in states[0] if not torch.equal(states[0][name], states[1][name])}
    assert tuned == {"blocks", "head", "classifier"} and torch.equal(
        states[0]["stem.1.weight"], states[1]["stem.1.weight"]
    )
    assert all(torch.equal(states[1][name], states[2][name]) for name in states[1])
    assert (head.metrics["tuned"], last.metrics["tuned"]) == ("head", "last")
    assert last.metrics["results"]["cv_n"] == 10 and len(last.metrics["results"]["cv_repeats_correct"]) == 1
    assert (last.path / "test_readings.jsonl").read_text().count("\n") == 1
    rows = [json.loads(line) for line in (last.path / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows if "epoch" in row] == [1, 2]


def test_tuning_that_was_cut_off_after_a_fold_goes_on_to_the_same_weights(small, tmp_path, monkeypatch):
    whole = train.train("foodvision", name="whole", out=tmp_path, tune="all", **SHORT)
    asked = []

    def cut(model, *given, draft=None):
        asked.append(draft)
        if len(asked) == 2:
            raise KeyboardInterrupt
        tune(model, *given, draft=draft)

    monkeypatch.setattr(foodvision, "tune", cut)
    with pytest.raises(KeyboardInterrupt):
        train.train("foodvision", name="cut", out=tmp_path, tune="all", **SHORT)
    resumed = train.train("foodvision", name="cut", out=tmp_path, tune="all", **SHORT)
    assert len(asked) == 4 and resumed.metrics["model_sha256"] == whole.metrics["model_sha256"]
    assert resumed.metrics["results"] == whole.metrics["results"]


def test_folds_within_folds_need_pictures_enough(small):
    assert [foodvision.most_folds(n, nested=True) for n in (1, 2, 3, 4, 5, 6, 150)] == [1, 1, 1, 2, 3, 4, 148]
    with pytest.raises(BadRequest, match="folds must be at most 3: 'pizza' has 5 training pictures"):
        foodvision.prepare(foodvision.Args(folds=4, tune="all"))
    assert len(foodvision.prepare(foodvision.Args(folds=5)).train) == len(image_data("foodvision-mini").train) == 10


def test_the_pictures_size_and_what_the_head_sees_are_flags_that_the_spec_carries(small, tmp_path):
    run = train.train("foodvision", name="sized", out=tmp_path, model="effnet_lite0", folds=2, size=48, pool="root")
    assert run.spec.image == ImageSpec(48, 48, "bicubic") and run.spec.inputs[0].shape == ("batch", 48, 48, 3)
    assert run.spec.architecture.arguments == {"classes": 2, "image_size": 48, "root": True}
    assert foodvision.Args(**run.metrics["arguments"]).backbone.image == run.spec.image
