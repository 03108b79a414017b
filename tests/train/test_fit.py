from __future__ import annotations

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from edge_runtime.errors import BadData
from edge_runtime.spec import ImageSpec, Normalise
from train.data import image_folder
from train.effnet_lite import EfficientNetLite
from train.features import features
from train.fit import Batches, evaluate, fit, one_thread
from train.pretrained import Backbone
from train.tasks import TASKS

MULTICLASS = TASKS["multiclass"]
HALF = Backbone(lambda *_: None, ImageSpec(32, 32), Normalise((127.5,) * 3, (127.5,) * 3), "none")


def test_every_sample_counts_once_whatever_the_batch_size():
    torch.manual_seed(0)
    x, y = torch.randn(10, 4), torch.randint(0, 3, (10,))
    model = nn.Linear(4, 3)
    sums = [evaluate(model, Batches(x, y, size, seed=0), MULTICLASS) for size in (1, 3, 10)]
    assert sums[0].n == 10
    assert all(s.scores == sums[0].scores and s.confusion == sums[0].confusion for s in sums)
    assert sums[0].correct == int((model(x).argmax(1) == y).sum()) == sums[0].scores["accuracy"] * 10
    assert all(s.loss == pytest.approx(nn.functional.cross_entropy(model(x), y).item(), rel=1e-6) for s in sums)


def test_a_seed_fixes_the_weights():
    def trained() -> torch.Tensor:
        torch.manual_seed(0)
        x = torch.randn(32, 4)
        model = nn.Linear(4, 2)
        batches = Batches(x, (x[:, 0] > 0).long(), 8, seed=3)
        fit(model, batches, MULTICLASS, torch.optim.SGD(model.parameters(), lr=0.1), epochs=3)
        return model.weight

    assert torch.equal(trained(), trained())


def test_the_log_gets_a_row_an_epoch():
    rows: list = []
    model = nn.Linear(1, 1)
    batches = Batches(torch.ones(4, 1), torch.ones(4, 1), 2, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    fit(model, batches, TASKS["regression"], optimizer, epochs=2, log=rows.append)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["loss"] < rows[0]["loss"] and "mae" in rows[0]


def test_a_loss_that_is_no_number_stops_with_the_batch_named():
    x = torch.zeros(4, 1)
    x[3] = float("nan")
    model = nn.Linear(1, 2)
    batches = [(x[:2], torch.zeros(2).long()), (x[2:], torch.zeros(2).long())]
    with pytest.raises(BadData, match="the loss is nan in epoch 1, batch 2"):
        fit(model, batches, MULTICLASS, torch.optim.SGD(model.parameters(), lr=0.1), epochs=1)


@pytest.mark.parametrize(
    ("task", "outputs", "targets", "loss", "metric"),
    [
        ("multiclass", [[0.0, 0.0], [0.0, 0.0]], [0, 1], 2 * 0.693147, 0.5),
        ("binary", [[0.0], [2.0]], [[0.0], [1.0]], 0.693147 + 0.126928, 1),
        ("multilabel", [[1.0, -1.0]], [[1.0, 1.0]], (0.313262 + 1.313262) / 2, 0.5),
        ("regression", [[1.0], [4.0]], [[2.0], [2.0]], 5.0, 1.5),
    ],
)
def test_a_task_sums_losses_over_samples_and_its_metric_is_one_of_its_scores(task, outputs, targets, loss, metric):
    outputs, targets = torch.tensor(outputs), torch.tensor(targets)
    row = TASKS[task]
    assert float(row.loss(outputs, targets)) == pytest.approx(loss, rel=1e-4)
    assert float(row.metric()(*row.decide(outputs, targets))) == pytest.approx(metric)
    assert row.judge(outputs, targets)[0][row.metric_name] == pytest.approx(metric)


def test_one_thread_gives_the_threads_back():
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_features_come_from_the_cache_the_second_time_and_survive_damage(
    make_pictures, own_home, monkeypatch, tmp_path
):
    monkeypatch.setenv("LOKMA_HOME", str(tmp_path / "home"))
    torch.manual_seed(0)
    backbone = EfficientNetLite(classes=2, image_size=32).eval()
    data = image_folder(make_pictures(), "x")
    asked = (backbone, HALF, "train", data.train, data.sha256)
    first, labels = features(*asked)
    assert first.shape == (4, 1280) and labels.tolist() == [0, 0, 1, 1]
    (kept,) = (tmp_path / "home" / "features").iterdir()
    monkeypatch.setattr(backbone, "features", None)
    assert torch.equal(features(*asked)[0], first)
    monkeypatch.undo()
    monkeypatch.setenv("LOKMA_HOME", str(tmp_path / "home"))
    kept.write_bytes(b"damaged")
    assert torch.equal(features(*asked)[0], first)


def test_features_that_cannot_be_kept_are_an_os_error_and_leave_no_file(make_pictures, monkeypatch, tmp_path):
    monkeypatch.setenv("LOKMA_HOME", str(tmp_path / "home"))

    def fail(*_: object) -> None:
        raise SafetensorError("Error while serializing: No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    data = image_folder(make_pictures(), "x")
    backbone = EfficientNetLite(classes=2, image_size=32)
    with pytest.raises(OSError, match="No space left on device"):
        features(backbone, HALF, "train", data.train, data.sha256)
    assert list((tmp_path / "home" / "features").iterdir()) == []
