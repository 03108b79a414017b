from __future__ import annotations

import io
import json

import pytest

from edge_runtime.errors import BadRequest
from edge_runtime.spec import ImageSpec, Normalise
from train.cli import Progress, main
from train.pretrained import BACKBONES, Backbone
from train.recipes import RECIPES


def test_the_list_shows_every_recipe_and_what_to_expect(capsys):
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown and row.expected in shown for name, row in RECIPES.items())
    main(["--list", "--json"])
    assert [json.loads(line)["recipe"] for line in capsys.readouterr().out.splitlines()] == sorted(RECIPES)


def test_the_list_shows_what_the_runs_here_reached(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["multiclass-digits", "--epochs", "1"])
    capsys.readouterr()
    main(["--list"])
    assert "runs/digits reached test_accuracy 0." in capsys.readouterr().out
    main(["--list", "--json"])
    reached = {row["recipe"]: row["reached"] for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert reached["multiclass-digits"]["test_n"] == 360 and reached["tinyvgg"] is None


def test_a_run_prints_where_its_pictures_came_from_and_where_it_lies(tmp_path, capsys):
    assert main(["multiclass-digits", "--epochs", "1", "--out", str(tmp_path), "--name", "one"]) == 0
    shown = capsys.readouterr().out
    assert "scikit-learn's digits: " in shown and f"lokma export {tmp_path / 'one'}" in shown
    main(["multiclass-digits", "--epochs", "1", "--out", str(tmp_path), "--name", "one", "--json"])
    out = capsys.readouterr().out
    assert json.loads(out)["reused"] is True and json.loads(out)["arguments"]["epochs"] == 1


def test_foodvision_shows_its_numbers_and_says_where_it_lies(monkeypatch, tmp_path, make_pictures, capsys):
    """On noise, with a backbone of 32 pixels and random weights."""
    monkeypatch.setenv("LOKMA_DATA", str(make_pictures(count=5)))
    half = Normalise((127.5,) * 3, (127.5,) * 3)
    tiny = Backbone(lambda *_: None, ImageSpec(32, 32, "bicubic"), half, "none", {"image_size": 32})
    monkeypatch.setitem(BACKBONES, "effnet_lite0", tiny)
    assert main(["foodvision", "--folds", "2", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "cv_accuracy 0." in shown and "temperature" in shown and "[" not in shown.split("temperature")[0]
    assert f"lokma export {tmp_path / 'foodvision-mini'}" in shown


def test_on_a_terminal_a_bar_grows_with_loss_and_metric_and_elsewhere_lines_come():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    shown, lines = Terminal(), io.StringIO()
    for stream in (shown, lines):
        progress = Progress(stream)
        for epoch in (1, 2):
            progress({"epoch": epoch, "epochs": 2, "loss": 0.5 / epoch, "accuracy": 0.75})
        progress.close()
    assert shown.getvalue().count("\r") == 2 and shown.getvalue().endswith(
        f"{'█' * 20}  epoch 2  loss 0.25  accuracy 0.75\n"
    )
    assert lines.getvalue() == "epoch 1  loss 0.5  accuracy 0.75\nepoch 2  loss 0.25  accuracy 0.75\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["resnet"], r"no recipe 'resnet'; known: binary-circles, .*foodvision, .*, vit-paper"),
        (["multiclass-digits", "--epoch", "3"], "unrecognized arguments: --epoch 3"),
        (["multiclass-digits", "--epochs", "many"], "invalid int value: 'many'"),
        (["multiclass-digits", "--epochs", "0"], "epochs must be at least 1"),
        (["foodvision", "--model", "resnet50"], "model must be one of effnet_b2, .* not 'resnet50'"),
        (["multiclass-digits", "--name", "../up"], "cannot name a run"),
        ([], "required: RECIPE"),
    ],
)
def test_a_bad_request_is_one_named_error(argv, message):
    with pytest.raises(BadRequest, match=message):
        main(argv)


def test_help_shows_the_recipes_own_arguments(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["cartpole-dqn", "--help"])
    assert stopped.value.code == 0
    assert "--action-gap" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["foodvision", "--help"])
    shown = capsys.readouterr().out
    assert "--model effnet_b2|effnet_lite0|" in shown and "--copies N" in shown and "(the recipe's choice)" in shown
