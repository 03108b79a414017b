import json
import math
import random
import statistics

import pytest

from benchmarks import aa_study, compare, results, verdicts
from edge_runtime import cli, examples
from edge_runtime.bundle import open_bundle
from edge_runtime.errors import BadRequest
from edge_runtime.measure import quad_ratio_interval, rounds_ratio_interval, student_t

CARTPOLE = str(examples.path("cartpole.zip"))


def quads(ratio, n=200, seed=0):
    """ABBA BAAB times of a machine that drifts, has a neighbour whose bursts last several answers, and heavy tails.

    B takes `ratio` times as long.
    """
    draw = random.Random(seed)
    level, burst, found = 0.0, 0, []
    for number in range(n):
        times = []
        for _ in range(4):
            level = 0.95 * level + draw.gauss(0, 0.02)
            burst = max(0, burst - 1) or (int(draw.expovariate(0.2)) + 1 if draw.random() < 0.02 else 0)
            tail = 1 + (draw.paretovariate(1.5) - 1) * 0.1 if draw.random() < 0.2 else 1
            times.append(math.exp(level + abs(draw.gauss(0, 0.03))) * tail * (1.6 if burst else 1))
        a1, b1, b2, a2 = times if number % 2 == 0 else (times[i] for i in (1, 0, 3, 2))
        found.append((a1, b1 * ratio, b2 * ratio, a2))
    return found


def test_the_interval_of_a_ratio_covers_it_as_often_as_it_says():
    found = [quad_ratio_interval(quads(1.05, seed=seed)) for seed in range(1000)]
    assert sum(low <= 1.05 <= high for _, low, high in found) == 982
    assert statistics.fmean(ratio for ratio, _, _ in found) == pytest.approx(1.05, abs=0.0005)


def test_quads_of_one_ratio_have_no_width_and_a_few_are_refused():
    assert quad_ratio_interval([(1, 3, 3, 1), (10, 30, 30, 10)] * 10) == pytest.approx((3, 3, 3))
    with pytest.raises(ValueError, match="at least 20 quads; got 19"):
        quad_ratio_interval([(1, 1, 1, 1)] * 19)


def test_students_quantiles_are_the_tables():
    assert [round(student_t(p, 19), 3) for p in (0.9, 0.975, 0.99, 0.995)] == [1.328, 2.093, 2.539, 2.861]


def test_a_drift_and_the_place_in_a_quad_cancel():
    slowing = [1.01**number for number in range(160)]  # the first of four takes 7 % longer, whoever it is
    found = []
    for number in range(0, 160, 4):
        first, second, third, fourth = (slowing[number + i] * (1.07 if i == 0 else 1) for i in range(4))
        found.append((first, second, third, fourth) if number % 8 == 0 else (second, first, fourth, third))
    assert quad_ratio_interval(found)[0] == pytest.approx(1.0, abs=1e-12)


def rounds(ratio, n=6, seed=0):
    """Rounds of processes of their own, which differ from pair to pair by 2.3 %, as measured, while they live."""
    draw = random.Random(1000 + seed)
    return [quads(ratio * math.exp(draw.gauss(0, 0.023)), 40, 1000 * seed + number) for number in range(n)]


def test_the_same_twice_is_seldom_different_and_five_percent_is_mostly_found():
    same = [verdicts.latency_verdict(rounds(1.0, seed=seed))["answer"] for seed in range(1000)]
    slower = [verdicts.latency_verdict(rounds(1.05, seed=seed))["answer"] for seed in range(1000)]
    assert same.count("cannot tell") == 982  # 1,000 at alpha 0.02: 980
    assert (slower.count("A"), slower.count("B")) == (910, 0)


def test_with_the_rounds_of_a_small_model_five_percent_is_always_found():
    count = compare.ROUNDS
    same = [verdicts.latency_verdict(rounds(1.0, count, seed))["answer"] for seed in range(400)]
    slower = [verdicts.latency_verdict(rounds(1.05, count, seed))["answer"] for seed in range(400)]
    assert same.count("cannot tell") == 391  # 400 at alpha 0.02: 392
    assert (slower.count("A"), slower.count("B")) == (400, 0)


def test_one_pair_of_processes_cannot_tell_the_file_from_the_process():
    """What the rounds are for: intervals over the quads of one pair take the processes' difference for the file's."""
    told = [quad_ratio_interval(rounds(1.0, 1, seed)[0]) for seed in range(300)]
    assert sum(low > 1 or high < 1 for _, low, high in told) == 183


def test_cannot_tell_says_how_many_more_rounds_would():
    found = verdicts.latency_verdict(rounds(1.03, seed=0))
    assert (found["answer"], found["more"]) == ("cannot tell", 8)
    assert verdicts.latency_verdict(rounds(1.03, 6 + 8, 0))["answer"] == "A"
    few = verdicts.latency_verdict([[(1.0, 2.0, 2.0, 1.0)]] * 3)
    assert (few["answer"], few["more"]) == ("cannot tell", 1)
    assert "about 1 more rounds would (too few rounds: 3)" in verdicts.sentences({"latency": few})
    drawn = [[(1.0, 1.004 + 0.01 * (number % 2) - 0.005, 1.004, 1.0)] * 4 for number in range(6)]
    assert verdicts.latency_verdict(drawn)["more"] is None
    with pytest.raises(ValueError, match="at least 4 rounds"):
        rounds_ratio_interval([[(1, 1, 1, 1)]] * 3)


def test_accuracy_is_decided_by_the_samples_that_one_alone_has_right():
    both, alone = [True] * 80, [True] * 8
    found = verdicts.accuracy_verdict([*both, *alone], [*both, *([False] * 8)])
    assert (found["answer"], found["only_a"], found["only_b"], found["n"]) == ("A", 8, 0, 88)
    assert found["p"] == pytest.approx(2 / 2**8)
    found = verdicts.accuracy_verdict([*both, True, True, False], [*both, False, False, True])
    assert found["answer"] == "cannot tell" and found["p"] == 1.0
    assert found["drop_bound"] == pytest.approx(0.0739, abs=1e-4)
    assert found["more"] == 3154
    assert verdicts.accuracy_verdict(both, both)["more"] is None


def bench(run, accuracy, latency_ns, name="a"):
    return results.record(
        kind="bench", bundle={"name": "food"}, artifact={"id": name}, target="device", host={},
        scenario={"run": run, "block": 5, "inputs_a_pass": 50}, latency_ns=latency_ns,
        accuracy=accuracy, validity={"valid": True, "flags": []},
    )  # fmt: skip


def test_two_records_of_one_run_are_paired_and_others_are_not():
    one = {"predictions": [0, 1, 2, 0], "labels": [0, 1, 2, 1]}
    fast, slow = (
        bench("r", one, [1000 + i % 7 for i in range(200)]),
        bench("r", one, [1500 + i % 5 for i in range(200)]),
    )
    found = verdicts.verdict(fast, slow)
    assert (found["latency"]["answer"], found["latency"]["quads"]) == ("A", 40)
    assert (found["accuracy"]["answer"], found["accuracy"]["only_a"]) == ("cannot tell", 0)
    assert "A is better" in verdicts.sentences(found)
    other = bench("s", {**one, "labels": [0, 1, 2, 0]}, [1000] * 200)
    found = verdicts.verdict(fast, other)
    assert "not measured in turn in one run" in found["latency"]["reason"]
    assert "did not answer the same inputs" in found["accuracy"]["reason"]
    assert "cannot tell: they were not measured" in verdicts.sentences(found)
    assert "keeps no predictions" in verdicts.verdict(fast, bench("r", None, [1] * 200))["accuracy"]["reason"]


def test_the_verb_compares_two_artifacts_of_a_bundle(capsys):
    assert cli.main(["compare", f"{CARTPOLE}:xnnpack-fp32", ":xnnpack-int8", "--seconds", "0.2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["latency"]["answer"] in ("A", "B", "cannot tell") and found["latency"]["n"] > 0
    assert "a policy model has no answer that is right or wrong" in found["accuracy"]["reason"]


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (":onnx-fp32", f"{CARTPOLE}:onnx-fp32", "names no bundle"),
        (f"{CARTPOLE}:onnx", ":onnx-fp32", "has no artifact 'onnx'; it has"),
        ("0123456789ab", "0123456789ab", "neither BUNDLE:ARTIFACT nor the id of one record"),
        (f"{CARTPOLE}:onnx-fp32", f"{examples.path('digits.zip')}:onnx-fp32", "answer different questions"),
    ],
)
def test_what_cannot_be_compared_is_refused(a, b, said, tmp_path, monkeypatch):
    monkeypatch.setenv("LOKMA_RESULTS", str(tmp_path))
    with pytest.raises(BadRequest, match=said):
        compare.compare(a, b, seconds=0.1)


def test_records_are_compared_by_the_start_of_their_ids(tmp_path, monkeypatch):
    monkeypatch.setenv("LOKMA_RESULTS", str(tmp_path))
    wholes = [bench("r", None, [1000 * factor] * 200) for factor in (2, 1)]
    results.append(wholes, tmp_path / "a.jsonl")
    assert compare.compare(wholes[0]["id"][:12], wholes[1]["id"])["latency"]["answer"] == "B"


def test_the_study_records_each_comparison_and_goes_on_where_it_was_cut_off(tmp_path, monkeypatch):
    monkeypatch.setenv("LOKMA_RESULTS", str(tmp_path))
    monkeypatch.setattr(aa_study, "SECONDS", 1.0)
    monkeypatch.setattr(compare, "ROUNDS", 4)
    bundle = open_bundle(CARTPOLE)
    aa_study.study(bundle, "xnnpack-fp32", 1, {"same": 2, "slowed": 1})
    *found, last = results.read(tmp_path).records
    assert sorted(entry["scenario"]["kind"] for entry in found) == ["same", "same", "slowed"]
    assert all(len(entry["comparison"]["rounds_ns"]) == 4 and entry["scenario"]["neighbour"] for entry in found)
    assert [bool(entry["comparison"]["wait_ns"]) for entry in found] == [False, False, True]
    assert [row["name"] for row in last["rows"]][1] == "5 % slower: found" and last["scenario"]["study"] == "aa"
    aa_study.study(bundle, "xnnpack-fp32", 1, {"same": 2, "slowed": 1})
    assert len(results.read(tmp_path).records) == 5  # and the rows once more


def test_the_study_says_whether_its_bounds_hold_and_what_power_would_take():
    one = {"answer": "cannot tell", "seconds": 4.5, "ratio": 1.0, "low": 0.96, "high": 1.04, "n": 6, "more": 20}
    same = [*({**one, "answer": "A"} for _ in range(11)), *([one] * 189)]
    slowed = [*({**one, "answer": "A", "more": None} for _ in range(89)), *([one] * 11)]
    different, found, seconds = aa_study.rows({"same": same, "slowed": slowed})
    assert (different["value"], different["holds"], found["value"], found["holds"]) == (11, False, 89, False)
    assert "of 6 rounds; 90 % would be found with 7" in found["note"] and seconds["holds"] is True
    assert aa_study.rows({"same": same[12:], "slowed": slowed})[0]["holds"] is None
