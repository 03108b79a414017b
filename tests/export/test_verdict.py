import numpy as np
import pytest

from edge_runtime.errors import BadRequest
from export.recipes import RECIPES, chosen
from export.verdict import accuracy_verdict, parity, return_verdict, speed_answer


def test_no_changes_in_299_answers_prove_one_point_and_in_150_do_not():
    assert accuracy_verdict(0, 0, 0, 299)["answer"] == "pass"
    verdict = accuracy_verdict(0, 0, 0, 150)
    assert verdict["answer"] == "inconclusive"
    assert "149 more samples" in verdict["reason"]


def test_losing_fifteen_of_150_is_a_fail_and_losing_two_is_not_yet_told():
    assert accuracy_verdict(15, 15, 0, 150)["answer"] == "fail"
    assert accuracy_verdict(2, 2, 0, 150)["answer"] == "inconclusive"


def test_where_every_answer_changes_no_number_of_samples_can_show_a_pass_by_changes_alone():
    assert "no number of samples" in accuracy_verdict(60, 10, 9, 150)["reason"]


def test_a_policy_passes_by_the_lower_bound_of_its_mean_return():
    assert return_verdict((480.0, 500.0), 475.0)["answer"] == "pass"
    assert return_verdict((400.0, 470.0), 475.0)["answer"] == "fail"
    assert return_verdict((470.0, 490.0), 475.0)["answer"] == "inconclusive"


def test_parity_is_the_worst_sample_relative_to_its_own_largest_value():
    reference = np.array([[0.5, 0.25], [0.1, 0.2]], np.float32)
    outputs = np.array([[0.5, 0.26], [0.1, 0.2]], np.float32)
    assert parity(reference, outputs) == {
        "max_relative": pytest.approx(0.02, rel=1e-4),
        "same_top1": 2,
        "n": 2,
    }


def test_recipes_are_chosen_by_name_in_the_tables_order_and_unknown_ones_are_listed():
    assert list(chosen("onnx-int8, xnnpack-fp32")) == ["xnnpack-fp32", "onnx-int8"]
    assert list(chosen("all")) == list(RECIPES)
    with pytest.raises(BadRequest, match="no recipe onnx-int4; the recipes are xnnpack-fp32, onnx-fp32"):
        chosen("onnx-fp32,onnx-int4")
    with pytest.raises(BadRequest, match="the recipes are"):
        chosen(" , ")


def test_q_values_near_zero_are_compared_on_the_scale_of_all_outputs():
    reference = np.array([[1.0, -1.0], [1e-6, -1e-6]], np.float32)
    outputs = reference + np.array([[0.0, 0.0], [1e-6, 0.0]], np.float32)
    assert parity(reference, outputs)["max_relative"] == pytest.approx(1.0, rel=1e-3)
    assert parity(reference, outputs, probabilities=False)["max_relative"] == pytest.approx(1.4e-6, rel=0.05)


def test_speed_is_faster_or_slower_only_if_the_interval_says_so_and_no_gain_only_if_it_is_narrow():
    assert speed_answer(0.70, 0.95) == "faster"
    assert speed_answer(1.02, 1.30) == "slower"
    assert speed_answer(0.97, 1.04) == "no gain"
    assert speed_answer(0.53, 1.04) == "inconclusive"
