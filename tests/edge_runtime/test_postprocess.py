import pytest

from edge_runtime import Prediction
from edge_runtime.errors import BadRequest
from edge_runtime.spec import Label

LABELS = (
    Label("pizza", "pizza", "pizza"),
    Label("steak", "steak", "biftek"),
    Label("sushi", "sushi", "suşi"),
)


def test_a_class_is_answered_by_its_best_label():
    answer = Prediction("multiclass", LABELS, (0.2, 0.7, 0.1))
    assert (answer.label, answer.probability, answer.index) == ("steak", 0.7, 1)
    assert answer.top(2) == [("steak", 0.7), ("pizza", 0.2)]
    assert len(answer.top(50)) == 3
    assert answer.value is None and answer.action is None


@pytest.mark.parametrize(
    ("value", "label", "probability"), [(0.8, "steak", 0.8), (0.5, "steak", 0.5), (0.3, "pizza", 0.7)]
)
def test_one_number_answers_for_both_labels_of_a_binary_model(value, label, probability):
    answer = Prediction("binary", LABELS[:2], (value,))
    assert (answer.label, answer.probability) == (label, pytest.approx(probability))
    assert answer.top(1)[0][1] == pytest.approx(probability)
    assert dict(answer.top(2)) == {"pizza": pytest.approx(1 - value), "steak": pytest.approx(value)}


@pytest.mark.parametrize(
    ("threshold", "labels"),
    [(0.0, ["steak", "pizza", "sushi"]), (0.2, ["steak", "pizza"]), (0.7, ["steak"]), (0.71, [])],
)
def test_a_multilabel_model_has_the_labels_that_reach_the_threshold(threshold, labels):
    assert Prediction("multilabel", LABELS, (0.2, 0.7, 0.1)).labels_at(threshold) == labels


@pytest.mark.parametrize(("threshold", "label"), [(0.3, "steak"), (0.4, "steak"), (0.41, "pizza"), (1, "pizza")])
def test_a_binary_model_answers_its_second_label_from_the_threshold_on(threshold, label):
    assert Prediction("binary", LABELS[:2], (0.4,)).labels_at(threshold) == [label]


@pytest.mark.parametrize(("task", "threshold"), [("multiclass", 0.5), ("policy", 0.5), ("regression", 0.5)])
def test_a_threshold_is_refused_where_it_decides_nothing(task, threshold):
    with pytest.raises(BadRequest, match=f"a {task} model has no threshold; binary and multilabel ones have"):
        Prediction(task, LABELS, (0.2, 0.7, 0.1)).labels_at(threshold)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_that_is_no_probability_is_refused(threshold):
    with pytest.raises(BadRequest, match="a threshold is a probability from 0 to 1; got"):
        Prediction("multilabel", LABELS, (0.2, 0.7, 0.1)).labels_at(threshold)


@pytest.mark.parametrize(
    ("task", "values", "below", "unsure"),
    [
        ("multiclass", (0.2, 0.5, 0.3), 0.51, True),
        ("multiclass", (0.2, 0.5, 0.3), 0.5, False),
        ("multiclass", (0.2, 0.5, 0.3), None, False),
        ("binary", (0.35,), 0.7, True),
        ("binary", (0.35,), 0.6, False),
    ],
)
def test_an_answer_below_the_specs_limit_is_unsure_and_still_has_its_best_label(task, values, below, unsure):
    answer = Prediction(task, LABELS[: max(len(values), 2)], values, unsure_below=below)
    assert answer.unsure is unsure and answer.label in ("pizza", "steak")


def test_a_regression_answers_with_a_number_and_has_no_labels():
    answer = Prediction("regression", (), (3.5,), unit="euro")
    assert (answer.value, answer.unit, answer.label, answer.probability) == (3.5, "euro", None, None)
    with pytest.raises(BadRequest, match="labels of a model that has none"):
        answer.top()


def test_a_policy_answers_with_its_greedy_action():
    answer = Prediction("policy", LABELS[:2], (-1.0, 2.0))
    assert (answer.action, answer.label, answer.probability) == (1, "steak", None)


def test_the_best_of_equals_is_the_first():
    assert Prediction("multiclass", LABELS, (0.4, 0.4, 0.2)).top(2) == [("pizza", 0.4), ("steak", 0.4)]


@pytest.mark.parametrize("k", [0, -1])
def test_no_labels_at_all_cannot_be_asked_for(k):
    with pytest.raises(BadRequest, match=f"the {k} best labels"):
        Prediction("multiclass", LABELS, (0.2, 0.7, 0.1)).top(k)


def test_an_answer_is_frozen_and_equal_whatever_its_time():
    answer = Prediction("multiclass", LABELS, (0.2, 0.7, 0.1), {"inference": 1.0})
    assert answer == Prediction("multiclass", LABELS, (0.2, 0.7, 0.1), {"inference": 2.0})
    with pytest.raises(AttributeError, match="frozen"):
        answer.values = ()  # type: ignore[misc]


def test_an_array_is_made_on_request():
    array = Prediction("multiclass", LABELS, (0.25, 0.5, 0.25)).as_array()
    assert array.dtype == "float32" and array.tolist() == [0.25, 0.5, 0.25]
