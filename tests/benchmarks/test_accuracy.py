import pytest

from benchmarks.accuracy import judged, macro_f1, returns

LABELS = ["a", "b", "c"]


def test_top_1_macro_f1_and_each_class_come_with_their_intervals_and_what_was_answered_is_kept():
    values = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7]]
    found = judged("multiclass", values, [0, 1, 1, 2], LABELS)
    assert (found["value"], found["correct"], found["n"]) == (0.75, 3, 4)
    assert found["interval"] == [0.3006, 0.9544]  # Wilson
    assert found["predictions"] == [0, 1, 0, 2] and found["probabilities"] == [0.8, 0.7, 0.6, 0.7]
    assert found["macro_f1"]["value"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    low, high = found["macro_f1"]["interval"]
    assert low <= found["macro_f1"]["value"] <= high
    assert [found["per_class"][label]["correct"] for label in LABELS] == [1, 1, 1]
    assert found["per_class"]["b"]["n"] == 2 and found["top5"] is None


def test_macro_f1_is_scikit_learns():
    from sklearn.metrics import f1_score

    said, true = [0, 1, 2, 1, 0, 2, 2], [0, 1, 1, 1, 2, 2, 0]
    assert macro_f1(list(zip(said, true, strict=True)), 3) == pytest.approx(f1_score(true, said, average="macro"))


def test_top_5_is_given_from_six_classes_on():
    rows = [[float(index == at) + index / 100 for index in range(6)] for at in range(6)]
    found = judged("multiclass", rows, [0, 1, 2, 3, 4, 5], list("abcdef"))
    assert found["value"] == 1.0 and found["top5"]["value"] == 1.0
    last = judged("multiclass", [[5.0, 4.0, 3.0, 2.0, 1.0, 0.0]], [5], list("abcdef"))
    assert last["top5"]["correct"] == 0


def test_a_class_that_is_not_in_the_data_has_no_share():
    assert judged("multiclass", [[1, 0]], [0], ["a", "b"])["per_class"]["b"]["value"] is None


def test_a_binary_models_one_probability_is_the_second_labels():
    found = judged("binary", [[0.9], [0.4], [0.6]], [1, 0, 0], ["no", "yes"])
    assert found["predictions"] == [1, 0, 1] and found["correct"] == 2


def test_a_regression_has_mae_and_rmse_in_its_unit():
    found = judged("regression", [[1.0], [2.0], [3.0]], [(1.0,), (4.0,), (3.0,)], [])
    assert found["metric"] == "MAE" and found["value"] == pytest.approx(2 / 3)
    assert found["rmse"]["value"] == pytest.approx((4 / 3) ** 0.5) and found["n"] == 3


def test_several_labels_are_judged_each_and_all_together():
    found = judged("multilabel", [[0.9, 0.2], [0.6, 0.6]], [(1, 0), (1, 0)], ["x", "y"])
    assert found["all_labels_right"]["correct"] == 1 and found["per_class"]["x"]["value"] == 1.0
    assert found["metric"] == "macro-F1" and found["value"] == 0.5


def test_a_hundred_equal_returns_prove_no_more_than_they_do():
    found = returns([500.0] * 100, (0.0, 500.0))
    assert found["value"] == 500.0 and found["interval"][0] == pytest.approx(485.2, abs=0.1)
