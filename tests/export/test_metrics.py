from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_runtime.measure import drop_bound, wilson
from edge_runtime.postprocess import Prediction
from edge_runtime.spec import Label
from export.contract import ACTIVATIONS
from export.metrics import METRICS, agreement
from train.tasks import TASKS

RNG = np.random.default_rng


@pytest.mark.parametrize("task", sorted(TASKS))
def test_the_task_table_names_the_activation_that_export_puts_into_the_graph(task):
    x = torch.tensor([[-1.0, 0.5, 2.0]])
    named = {"sigmoid": x.sigmoid(), "softmax": x.softmax(1), "identity": x}
    assert torch.equal(ACTIVATIONS[task](x), named[TASKS[task].activation])


def test_an_even_probability_is_a_yes_as_in_the_runtime():
    outputs = np.array([[0.5], [np.nextafter(np.float32(0.5), np.float32(0))]], np.float32)
    said = METRICS["binary"].answers(outputs)
    labels = Label("no", "no", "hayır"), Label("yes", "yes", "evet")
    assert [labels[one].id for one in said] == [Prediction("binary", labels, tuple(row)).label for row in outputs]
    assert said.tolist() == [1, 0]


def test_binary_and_multiclass_accuracy_count_the_right_answers_with_wilsons_interval():
    truth = np.array([0.0, 1.0, 1.0, 0.0])
    found = METRICS["binary"].measure(np.array([0, 1, 0, 0]), truth[:, None])
    assert (found["metric"], found["value"], found["correct"], found["n"]) == ("top-1", 0.75, 3, 4)
    assert found["interval"] == list(wilson(3, 4)) and found["text"] == "75.0% (3 of 4; 30.1% to 95.4%)"
    assert METRICS["multiclass"].measure(np.array([0, 1, 0, 0]), truth) == found


def test_micro_f1_and_its_interval_agree_with_scikit_learn_and_a_bootstrap():
    f1_score = pytest.importorskip("sklearn.metrics").f1_score
    draw = RNG(0)
    truth = (draw.random((500, 5)) < 0.4).astype(float)
    said = np.where(draw.random((500, 5)) < 0.15, 1 - truth, truth) > 0.5
    found = METRICS["multilabel"].measure(said, truth)
    assert found["value"] == pytest.approx(f1_score(truth, said, average="micro"))
    rows = [draw.integers(500, size=500) for _ in range(1000)]
    boots = sorted(f1_score(truth[r], said[r], average="micro") for r in rows[:300])
    assert found["interval"] == pytest.approx([boots[7], boots[-8]], abs=0.004)


def test_mae_and_r2_of_a_regression_with_its_interval():
    r2_score = pytest.importorskip("sklearn.metrics").r2_score
    draw = RNG(1)
    truth = draw.normal(100, 20, (400, 1))
    said = truth + draw.normal(0, 5, truth.shape)
    found = METRICS["regression"].measure(said, truth)
    errors = np.abs(said - truth)
    assert found["value"] == pytest.approx(errors.mean()) and found["r2"] == pytest.approx(r2_score(truth, said))
    half = 1.959964 * errors.std(ddof=1) / 20
    assert found["interval"] == pytest.approx([errors.mean() - half, errors.mean() + half])
    assert METRICS["regression"].measure(np.ones((3, 1)), np.ones((3, 1)))["r2"] is None


@pytest.mark.parametrize("lost", [0, 1, 2, 5])
def test_the_bound_on_a_rare_loss_of_micro_f1_is_the_exact_one_within_3_percent(lost):
    n = 2000
    truth = np.ones((n, 1))
    mine = np.ones((n, 1), bool)
    mine[:lost] = False
    found = METRICS["multilabel"].verdict(mine, truth > 0.5, truth, 0.01)
    # one label, always true: a lost row costs half as much in F1 as a lost answer in the accuracy, at F1 = 1
    assert found["interval"][1] == pytest.approx(drop_bound(lost, n) / 2, rel=0.03)
    assert found["changed"] == lost and found["answer"] == "pass"


def test_a_multilabel_model_that_loses_more_than_allowed_fails_and_few_rows_stay_open():
    truth = (RNG(2).random((2000, 3)) < 0.5).astype(float)
    base = truth > 0.5
    broken = base.copy()
    broken[::10] = ~broken[::10]
    found = METRICS["multilabel"].verdict(broken, base, truth, 0.01)
    assert found["answer"] == "fail" and found["difference"] == pytest.approx(0.1, abs=0.02)
    assert "200 of 2000 rows changed" in found["reason"] and "points" in found["reason"]
    assert METRICS["multilabel"].verdict(base[:40], base[:40], truth[:40], 0.01)["answer"] == "inconclusive"
    assert METRICS["multilabel"].verdict(base, base, truth, 0.01)["answer"] == "pass"


def test_a_regression_passes_within_one_percent_of_the_error_and_fails_beyond():
    draw = RNG(3)
    truth = draw.normal(0, 1, (2000, 1))
    base = truth + draw.normal(0, 0.1, truth.shape)
    step = 0.01 * draw.uniform(-1, 1, truth.shape)  # as rounding to 8 bits moves answers
    verdict = METRICS["regression"].verdict
    assert verdict(base + step, base, truth, 0.01)["answer"] == "pass"
    worse = verdict(base + 10 * step, base, truth, 0.01)
    errors = [np.abs(one - truth).mean() for one in (base + 10 * step, base)]
    assert worse["answer"] == "fail" and worse["difference"] == pytest.approx(errors[0] / errors[1] - 1)
    assert verdict((base + step)[:40], base[:40], truth[:40], 0.001)["answer"] == "inconclusive"
    assert verdict(base[:5] + 1, base[:5], truth[:5], 0.01)["reason"].endswith("fewer than 30 rows")
    assert verdict(truth, truth, truth, 0.01)["answer"] == "pass"


def test_the_regression_interval_is_that_of_a_paired_bootstrap():
    draw = RNG(4)
    truth = draw.normal(0, 1, (89, 1))
    base = truth + draw.normal(0, 0.5, truth.shape)
    mine = base + draw.normal(0, 0.05, truth.shape)
    low, high = METRICS["regression"].verdict(mine, base, truth, 0.01)["interval"]
    paired = (np.abs(mine - truth) - np.abs(base - truth))[:, 0]
    boots = [paired[draw.integers(89, size=89)].mean() for _ in range(4000)]
    expected = np.quantile(boots, [0.025, 0.975]) / np.abs(base - truth).mean()
    assert [low, high] == pytest.approx(expected, abs=0.05 * (high - low))


def test_truth_shorter_than_the_answers_belongs_to_the_first_of_them():
    mine, theirs = np.zeros(300, np.int64), np.zeros(300, np.int64)
    found = METRICS["binary"].verdict(mine, theirs, np.zeros((100, 1)), 0.01)
    assert (found["answer"], found["n"], found["labelled"]) == ("pass", 300, 100)


def test_parity_of_a_probability_near_0_is_relative_to_the_likelier_side():
    reference = np.array([[1e-9], [0.3]], np.float32)
    outputs = np.array([[2e-9], [0.6]], np.float32)
    found = agreement("binary", reference, outputs)
    assert found["max_relative"] == pytest.approx(0.3 / 0.7, rel=1e-5) and (found["same_top1"], found["n"]) == (1, 2)
    assert agreement("binary", reference[:1], outputs[:1])["max_relative"] < 1e-8
    assert agreement("multilabel", np.array([[0.1, 0.9]]), np.array([[0.1, 0.4]]))["same_top1"] == 0
    assert agreement("regression", np.array([[100.0]]), np.array([[101.0]])) == {
        "max_relative": pytest.approx(0.01),
        "same_top1": 1,
        "n": 1,
    }
