import numpy as np
import pytest

from edge_runtime.errors import BadRequest
from export.recipes import RECIPES, chosen
from export.speed import because, speed_answer
from export.verdict import Flips, accuracy_verdict, flips_of, parity, return_verdict


def judged(changed, lost, gained, n, max_drop=0.01, labelled=None):
    return accuracy_verdict(Flips(changed, n, lost, gained, n if labelled is None else labelled, changed), max_drop)


def test_no_changes_in_299_answers_prove_one_point_and_in_150_do_not():
    assert judged(0, 0, 0, 299)["answer"] == "pass"
    verdict = judged(0, 0, 0, 150)
    assert verdict["answer"] == "inconclusive"
    assert "149 more samples" in verdict["reason"]


def test_a_look_of_two_needs_368_answers_without_a_change_and_says_so():
    short, enough = (accuracy_verdict(Flips(0, n, 0, 0, 1), looks=2) for n in (299, 368))
    assert short["answer"] == "inconclusive" and "69 more samples" in short["reason"]
    assert enough["answer"] == "pass" and enough["reason"].endswith("(97.5 % a look, 2 looks allowed)")


def test_two_looks_at_the_same_samples_err_together_in_at_most_one_case_of_twenty():
    draw = np.random.default_rng(0)
    first, second = draw.binomial(1079, 0.0101, (2, 20_000))
    passes = np.array([accuracy_verdict(Flips(x, 1079, 0, 0, 1), looks=2)["answer"] == "pass" for x in range(60)])
    assert 0.02 <= (passes[first] | passes[second]).mean() <= 0.05


def test_unlabelled_pictures_count_for_changes_and_not_for_what_was_lost():
    verdict = judged(0, 0, 0, 299, labelled=150)
    assert (verdict["answer"], verdict["n"], verdict["labelled"]) == ("pass", 299, 150)
    assert judged(60, 0, 0, 1000, labelled=150)["answer"] == "inconclusive"  # none of them is known to be lost


def test_losing_fifteen_of_150_is_a_fail_and_losing_two_is_not_yet_told():
    assert judged(15, 15, 0, 150)["answer"] == "fail"
    assert judged(2, 2, 0, 150)["answer"] == "inconclusive"


def test_the_drop_that_is_allowed_decides_and_more_samples_are_counted_for_it():
    assert judged(0, 0, 0, 150, max_drop=0.02)["answer"] == "pass"
    assert judged(15, 15, 0, 150, max_drop=0.10)["answer"] == "inconclusive"
    assert "more samples" in judged(0, 0, 0, 150, max_drop=0.015)["reason"]


def test_changes_that_labels_show_to_cost_nothing_pass_where_changes_alone_do_not():
    verdict = judged(30, 2, 2, 2000, max_drop=0.005)
    assert verdict["answer"] == "pass" and verdict["reason"].startswith("lost 2 and gained 2 of 2000: at most 0.3")
    assert judged(90, 1, 60, 2000)["reason"] == "lost 1 and gained 60 of 2000: more are gained than lost (95 %)"


def test_the_bounds_of_a_pass_and_a_fail_err_in_at_most_the_share_they_say():
    draw = np.random.default_rng(0)
    for share, wrong in ((0.021, "pass"), (0.019, "fail")):  # true drops, where 0.02 is allowed
        lost, times = np.unique(draw.binomial(400, share, 20_000), return_counts=True)
        erred = [judged(int(x), int(x), 0, 400, max_drop=0.02)["answer"] == wrong for x in lost]
        assert np.dot(erred, times) / 20_000 <= 0.05


def test_flips_are_counted_answer_by_answer_and_lost_or_gained_only_where_a_label_is_known():
    theirs, mine = np.array([0, 1, 1, 2, 0]), np.array([1, 1, 0, 2, 1])
    assert flips_of(mine, theirs, np.array([0, 1, 0])) == Flips(3, 5, lost=1, gained=1, labelled=3, changed_labelled=2)


def test_where_every_answer_changes_no_number_of_samples_can_show_a_pass_by_changes_alone():
    assert "no number of samples" in judged(60, 10, 9, 150)["reason"]
    assert judged(60, 10, 9, 150)["reason"].endswith("more labelled ones may")


def test_the_reason_of_a_speed_names_the_kernels_the_float_operators_and_what_the_processor_lacks():
    delegation = {"time_share": 0.7, "outside": {"Gemm": 0.2, "DequantizeLinear": 0.06, "QuantizeLinear": 0.04}}
    assert because(delegation, "int8", frozenset({"avx2"})) == (
        "70% of its time in int8 kernels; in float: Gemm 20%; unfused casts: 10%; no VNNI or dotprod here"
    )
    whole = {"time_share": 1.0, "outside": {}}
    assert because(whole, "int8", frozenset({"asimddp"})) == "100% of its time in int8 kernels; dotprod here"
    assert because(whole, "int8", frozenset()) == "100% of its time in int8 kernels"
    assert because(whole, "fp16", frozenset({"avx2"})) == "100% of its time in fp16 kernels"  # VNNI is nothing to it


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
