from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edge_runtime.errors import BadData, BadRequest
from train.fit import Batches, evaluate, fit
from train.tables import CURVES, TABLES, line, table, table_data
from train.tabular import answer_in_units, cross_validate, normalise_of, over_seeds, spec_of, tensors
from train.tasks import TASKS

pytest.importorskip("sklearn")

ROWS = np.random.default_rng(0).normal(size=(40, 2))
CLASSES = np.arange(40) % 2


def made(task="binary", rows=ROWS, targets=CLASSES, names=("no", "yes"), columns=("age", "weight"), train=30):
    return table("t", task, columns, names, (rows[:train], targets[:train]), (rows[train:], targets[train:]))


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_table_comes_out_the_same_each_time_and_its_hash_finds_it_again(name):
    data = table_data(name)
    assert data.name == name and table_data(name, data.sha256).train.rows.tobytes() == data.train.rows.tobytes()
    for side in (data.train, data.test):
        assert side.rows.dtype == side.targets.dtype == np.float32
        assert side.rows.shape == (len(side), len(data.columns)) and len(side.targets) == len(side)
    with pytest.raises(BadData, match=f"the table {name} made here has the sha256 .* 000000000000… is wanted"):
        table_data(name, "0" * 64)


def test_an_unknown_table_is_refused_by_name():
    with pytest.raises(BadRequest, match="no table 'wine'; known: blobs, breast-cancer, circles"):
        table_data("wine")


def test_the_split_of_a_real_table_keeps_the_share_of_each_class_and_every_row_once():
    data = table_data("breast-cancer")
    assert (len(data.train), len(data.test)) == (455, 114) and data.targets == ("benign", "malignant")
    assert data.train.targets.sum() + data.test.targets.sum() == 212
    assert data.train.targets.mean() == pytest.approx(data.test.targets.mean(), abs=0.01)


def test_the_test_points_of_line_and_curves_scatter_about_the_true_function_as_the_noise_says():
    for name, function, noise in (("line", line, 0.1), *((f"curve-{k}", c[0], c[2]) for k, c in CURVES.items())):
        test = table_data(name).test
        error = test.targets - function(test.rows)
        assert len(test) == 2000 and error.std() == pytest.approx(noise, rel=0.05) and abs(error.mean()) < noise / 15


def test_a_hole_in_a_column_is_named_by_its_row_and_column():
    rows = ROWS.copy()
    rows[[4, 7], 1] = np.nan
    with pytest.raises(BadData, match=r"t: row 5 of train, column 'weight' is nan; 2 such, fill or drop them"):
        made(rows=rows)
    rows = ROWS.copy()
    rows[33, 0] = 1e300
    with pytest.raises(BadData, match="row 4 of test, column 'age' is inf"):
        made(rows=rows)


def test_labels_beyond_the_table_one_class_and_few_rows_are_refused():
    with pytest.raises(BadData, match=r"row 3 of train has the label 2; there are 0 and 1"):
        made(targets=np.where(np.arange(40) == 2, 2, CLASSES))
    with pytest.raises(BadData, match=r"row 1 of train has the label 5; there are 0 to 1 \(no, yes\)"):
        made("multiclass", targets=np.full(40, 5))
    with pytest.raises(BadData, match="every training row is 'yes'; at least 2 classes are needed"):
        made(targets=np.ones(40))
    with pytest.raises(BadData, match="t has 3 training rows; at least 20 are needed"):
        made(train=3)
    with pytest.raises(BadData, match="every training row has the target 7"):
        made("regression", targets=np.full(40, 7), names=("weight",))
    labels = np.stack([CLASSES, np.zeros(40)], 1)
    with pytest.raises(BadData, match="the label 'sport' holds for no training row"):
        made("multilabel", targets=labels, names=("news", "sport"))
    with pytest.raises(BadData, match="a multilabel table of news, sport has 2 target columns, not 1"):
        made("multilabel", names=("news", "sport"))
    with pytest.raises(BadData, match=r"rows are \(30, 2\) and targets \(30, 1\); needed are \(n, 3\) for a, b, c"):
        made(columns=("a", "b", "c"))


def test_a_row_that_stands_on_both_sides_is_refused():
    rows = ROWS.copy()
    rows[32] = rows[6]
    with pytest.raises(BadData, match="row 3 of test is also row 7 of train; a test must be unseen"):
        made(rows=rows)


def test_another_row_is_another_hash_and_another_name_is_not():
    rows = ROWS.copy()
    rows[0, 0] += 1
    assert made().sha256 == made().sha256 != made(rows=rows).sha256
    assert made(columns=("height", "weight")).sha256 != made().sha256


def test_a_column_that_never_changes_is_left_as_it_is():
    normalise = normalise_of(np.array([[1.0, 5.0], [3.0, 5.0]], np.float32))
    assert normalise.mean == (2.0, 5.0) and normalise.std == (1.0, 1.0)


def test_a_network_fitted_to_standardised_targets_answers_in_their_unit():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)), torch.randn(5, 2)
    with torch.inference_mode():
        before = model(x)
        answer_in_units(model, mean=150.0, std=77.0)
        assert torch.allclose(model(x), before * 77 + 150, atol=1e-4)


def test_the_spec_of_a_table_names_columns_units_and_labels():
    from edge_runtime.spec import Architecture

    data = table_data("diabetes")
    spec = spec_of(data, normalise_of(data.train.rows), Architecture("mlp", {"sizes": [10, 1]}))
    assert spec.columns[:3] == ("age", "sex", "bmi") and spec.labels == ()
    assert spec.inputs[0].unit.startswith("age years, sex 1 or 2, bmi kg/m², bp, s1")
    assert spec.outputs[0].unit == "score one year after baseline"
    data = table_data("circles")
    spec = spec_of(data, normalise_of(data.train.rows), Architecture("mlp", {"sizes": [2, 1]}), ("dış", "iç"))
    assert [(label.id, label.tr) for label in spec.labels] == [("outer", "dış"), ("inner", "iç")]
    assert spec.outputs[0].shape == ("batch", 1)


def test_cross_validation_gives_model_and_baseline_the_same_folds_and_leaves_the_test_side_alone():
    data = made()
    seen: list[tuple] = []

    def fitted(side, seed):
        seen.append((seed, side.rows.tobytes()))
        model = nn.Linear(2, 1)
        nn.init.zeros_(model.weight)
        nn.init.constant_(model.bias, 1.0)
        return model, normalise_of(side.rows)

    def baseline(side, rows):
        assert (0, side.rows.tobytes()) in seen or (1, side.rows.tobytes()) in seen
        assert not {row.tobytes() for row in rows} & {row.tobytes() for row in data.test.rows}
        return np.ones(len(rows))

    found = cross_validate(data, [0, 1], 5, "accuracy", fitted, baseline)
    assert len(seen) == 10 and found["by_seed"] == [0.5, 0.5] == found["baseline"]["by_seed"]
    assert found["difference"]["mean"] == 0 and (found["n"], found["folds"], found["seeds"]) == (30, 5, [0, 1])
    with pytest.raises(BadRequest, match="folds must be at most 15, the training rows of 'no'"):
        cross_validate(data, [0], 16, "accuracy", fitted, baseline)


def test_a_fold_of_one_row_has_no_r2_and_says_so():
    rows = np.arange(40, dtype=np.float32)[:, None]
    data = table("x", "regression", ("x",), ("y",), (rows[:30], rows[:30]), (rows[30:], rows[30:]))
    fitted = lambda side, seed: (nn.Linear(1, 1), normalise_of(side.rows))  # noqa: E731
    with pytest.raises(BadRequest, match="all targets are equal, so that it has no R2; ask for fewer --folds"):
        cross_validate(data, [0], 30, "r2", fitted, lambda side, rows: rows)


def test_seeds_have_students_interval_and_one_seed_has_none():
    assert over_seeds([1.0, 2.0, 3.0])["interval"] == pytest.approx([2 - 2.4841, 2 + 2.4841], abs=1e-4)
    assert over_seeds([1.0]) == {"by_seed": [1.0], "mean": 1.0, "interval": None}


@pytest.mark.parametrize("task", ["multilabel", "multiclass", "regression", "binary"])
def test_scores_are_scikit_learns_whatever_the_batch_size(task):
    from sklearn import metrics

    torch.manual_seed(0)
    x = torch.randn(50, 3)
    model = nn.Linear(3, 1 if task in ("binary", "regression") else 4)
    outputs = model(x).detach()
    targets = {
        "binary": (torch.rand(50, 1) > 0.5).float(),
        "multiclass": torch.randint(0, 4, (50,)),
        "multilabel": (torch.rand(50, 4) > 0.5).float(),
        "regression": torch.randn(50, 1) * 10 + 100,
    }[task]
    found, whole = (evaluate(model, Batches(x, targets, size, 0), TASKS[task]) for size in (7, 50))
    assert found.scores == pytest.approx(whole.scores)
    said = outputs.argmax(1) if task == "multiclass" else outputs > 0
    expected = {
        "binary": lambda: {"accuracy": metrics.accuracy_score(targets, said), "f1": metrics.f1_score(targets, said)},
        "multiclass": lambda: {
            "accuracy": metrics.accuracy_score(targets, said),
            "macro_f1": metrics.f1_score(targets, said, average="macro"),
        },
        "multilabel": lambda: {
            "accuracy": float((said == (targets > 0.5)).float().mean()),
            "micro_f1": metrics.f1_score(targets, said, average="micro"),
            "macro_f1": metrics.f1_score(targets, said, average="macro"),
        },
        "regression": lambda: {
            "mae": metrics.mean_absolute_error(targets, outputs),
            "r2": metrics.r2_score(targets, outputs),
        },
    }[task]()
    assert found.scores == pytest.approx(expected, rel=1e-5)
    if task in ("binary", "multiclass"):
        assert found.confusion == metrics.confusion_matrix(targets, said).tolist()


def test_r2_of_equal_targets_is_null_and_not_a_number_divided_by_0():
    model = nn.Linear(1, 1)
    found = evaluate(model, Batches(torch.ones(4, 1), torch.full((4, 1), 1e6), 2, 0), TASKS["regression"])
    assert found.scores["r2"] is None


def test_r2_does_not_depend_on_the_targets_unit():
    outputs, targets = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[1.5], [2.0], [3.0]])
    scores = [TASKS["regression"].judge(outputs * unit, targets * unit)[0]["r2"] for unit in (1, 1e-6, 1e6)]
    assert scores == pytest.approx([1 - 1.25 / (3.5 / 3)] * 3, rel=1e-5)


def test_logits_between_0_and_1_are_not_taken_for_probabilities():
    assert TASKS["binary"].judge(torch.tensor([[0.2], [0.3]]), torch.ones(2, 1))[0]["accuracy"] == 1


def test_a_label_beyond_the_head_or_a_target_of_another_shape_stops_with_the_batch_named():
    model = nn.Linear(1, 2)
    batches = [(torch.ones(2, 1), torch.tensor([0, 1])), (torch.ones(2, 1), torch.tensor([1, 5]))]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(BadData, match=r"label 5 is beyond the head, which has 2 outputs \(epoch 1, batch 2\)"):
        fit(model, batches, TASKS["multiclass"], optimizer, epochs=1)
    with pytest.raises(BadData, match=r"label 5 is beyond the head, .* \(batch 2\)"):
        evaluate(model, batches, TASKS["multiclass"])
    flat = [(torch.ones(3, 1), torch.ones(3))]
    with pytest.raises(BadData, match=r"targets are \(3,\), and the head gives \(3, 2\) \(epoch 1, batch 1\)"):
        fit(model, flat, TASKS["regression"], optimizer, epochs=1)
    with pytest.raises(BadData, match=r"target 2.0 is neither 0 nor 1"):
        fit(model, [(torch.ones(1, 1), torch.tensor([[0.0, 2.0]]))], TASKS["multilabel"], optimizer, epochs=1)
    with pytest.raises(BadData, match=r"class numbers are int64 \(n,\)"):
        fit(model, [(torch.ones(1, 1), torch.ones(1, 1))], TASKS["multiclass"], optimizer, epochs=1)


def test_rows_are_normalised_as_the_graph_will_normalise_them():
    data = table_data("breast-cancer")
    normalise = normalise_of(data.train.rows)
    rows, targets = tensors(data.train, "binary", normalise)
    assert rows.mean(0).abs().max() < 1e-5 and (rows.std(0, correction=0) - 1).abs().max() < 1e-4
    assert targets.shape == (455, 1) and tensors(table_data("blobs").test, "multiclass", normalise_of(
        table_data("blobs").train.rows))[1].dtype == torch.int64  # fmt: skip
