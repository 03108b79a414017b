import copy
import json

import pytest

from benchmarks import report, results
from mobile_demo.dashboard import charts, markup, views
from mobile_demo.dashboard.answer import allowed_loss, answer
from mobile_demo.dashboard.runs import runs
from mobile_demo.words import Words

EN, TR = Words("en"), Words("tr")


def plain(text):
    return text.replace("\xa0", " ").replace("\u2060", "")


def one(records):
    return runs(records).runs[0]


def test_the_answer_names_the_fastest_file_that_keeps_the_accuracy_with_its_numbers(made):
    records = made.run()
    found = answer(one(records))
    ratio, low, high = report.ratios(records[0], records[-1])["time to answer"]
    assert (found.verdict, found.chosen.system) == ("best", "xnnpack-int8")
    assert plain(views.sentence(found, EN, records[0]["host"]["fingerprint"])) == (
        f"On this machine **xnnpack-int8** answers a picture in **{records[0]['p50_ns'] / 1e6:.1f} ms**, "
        f"{ratio:.2f} times eager torch's time (95 %: {low:.2f} to {high:.2f}). "
        "It gets **146 of 150** right (97.3 %; 95 %: 93.3 % to 99.0 %), against 147 for eager torch."
    )
    assert "%97,3; %95 güven aralığı: %93,3–%99,0" in plain(views.sentence(found, TR))


def test_numbers_of_another_machine_are_told_as_that_machines(made):
    found = answer(one(made.run()))
    here = found.run.host["fingerprint"]
    assert plain(views.sentence(found, EN, here)).startswith("On this machine **xnnpack-int8** answers")
    assert plain(views.sentence(found, TR, here)).startswith("Bu makinede **xnnpack-int8**, bir resme")
    there = "On AMD EPYC 7B13, 2 cores, **xnnpack-int8** answers a picture in **12."
    assert plain(views.sentence(found, EN, "another")).startswith(there)
    there = "2 çekirdekli AMD EPYC 7B13 işlemcili makinede **xnnpack-int8**, bir resme **12,"
    assert plain(views.sentence(found, TR, "another")).startswith(there)


def test_a_record_without_a_fingerprint_is_of_no_machine_that_is_here(made):
    host = {key: value for key, value in made.run()[0]["host"].items() if key != "fingerprint"}
    found = answer(one(made.run(host=host)))
    assert "this machine" not in views.sentence(found, EN, "")
    assert "this machine" not in views.sentence(found, EN, "another")


def test_the_reasons_state_the_rule_and_why_each_other_file_was_not_chosen(made):
    lines = [plain(line) for line in views.reasons(answer(one(made.run())), EN)]
    assert lines[0].startswith("Kept are the files that get at most 2 of 150 fewer right than eager torch")
    assert lines[1] == "**onnx-int8**: 138 right, 9 fewer than eager torch."
    assert [line.split(":")[0] for line in lines[2:4]] == ["**xnnpack-fp32**", "**onnx-fp32**"]
    assert lines[4].startswith("The machine's own variation")


def test_a_faster_file_that_loses_answers_is_not_chosen(made):
    rows = {**made.food, "onnx-int8": (*made.food["onnx-int8"][:3], 5.0, 144, 0.5, 100, 3.9)}
    assert answer(one(made.run(rows))).chosen.system == "xnnpack-int8"
    rows["onnx-int8"] = (*rows["onnx-int8"][:4], 145, 0.5, 100, 3.9)
    assert answer(one(made.run(rows))).chosen.system == "onnx-int8"


@pytest.mark.parametrize(("n", "allowed"), [(150, 2), (74, 0), (75, 1), (360, 4)])
def test_two_of_150_answers_may_be_lost_and_no_more_of_fewer(n, allowed):
    assert allowed_loss(n) == allowed


def test_two_files_whose_ratio_may_be_one_are_called_a_tie(made):
    rows = {**made.food, "xnnpack-fp32": (*made.food["xnnpack-fp32"][:3], 12.42, 147, 0.2, 92, 13.5)}
    found = answer(one(made.run(rows)))
    assert found.verdict == "tie"
    assert {found.chosen.system, found.rival.system} == {"xnnpack-int8", "xnnpack-fp32"}
    assert views.sentence(found, EN).startswith("Cannot tell which is faster")
    assert not any(row.chosen for row in views.rows(found, EN))


def test_a_file_that_may_be_no_faster_than_eager_says_so(made):
    rows = {name: made.food[name] for name in ("xnnpack-int8", "eager")}
    rows["xnnpack-int8"] = (*rows["xnnpack-int8"][:3], 40.0, 147, 0.2, 53, 4.4)
    assert "cannot be told: the interval holds 1" in views.sentence(answer(one(made.run(rows))), EN)


def test_a_noisy_run_cannot_tell_and_names_its_own_variation(made):
    found = answer(one(made.run(noise=0.35)))
    assert (found.verdict, found.chosen) == ("noisy", None)
    assert "Eager torch against itself gave" in views.sentence(found, EN)
    assert views.tiles(found, EN) == []


def test_without_an_accurate_file_none_is_named(made):
    rows = {name: row if name == "eager" else (*row[:4], 140, *row[5:]) for name, row in made.food.items()}
    assert answer(one(made.run(rows))).verdict == "unfit"


@pytest.mark.parametrize(("kept", "verdict"), [(["xnnpack-int8"], "no_baseline"), (["eager"], "nothing")])
def test_a_run_that_lacks_a_side_cannot_tell(made, kept, verdict):
    found = answer(one(made.run({name: made.food[name] for name in kept})))
    assert found.verdict == verdict
    assert views.sentence(found, EN).startswith("Cannot tell")


def test_files_of_other_blocks_are_not_compared(made):
    records = made.run()
    records[0]["scenario"] = {**records[0]["scenario"], "block": 30}
    assert answer(one(records)).verdict == "uncompared"


def test_a_policy_is_judged_by_its_mean_return(made):
    found = answer(one(made.policy_run()))
    assert found.chosen.system == "xnnpack-fp32"
    text = plain(views.sentence(found, EN))
    assert "answers an observation in **11.1 µs**" in text
    assert "mean return is **500.0** over 100 episodes (95 %: 500.0 to 500.0), against 500.0 for eager torch" in text
    records = made.policy_run()
    records[0]["accuracy"] = {**records[0]["accuracy"], "value": 431.0, "interval": [420.0, 442.0]}
    lost = answer(one(records))
    assert lost.chosen.system == "onnx-fp32"
    assert "**xnnpack-fp32**: ortalama toplam ödül 431,0; 500,0 sınırının altında." in views.reasons(lost, TR)


def test_an_answer_never_mixes_runs(made):
    old = made.run(seed=1)
    new = made.run({name: made.food[name] for name in ("xnnpack-fp32", "eager")}, seed=2)
    for record in old:
        record["time"] = "2020-01-01T00:00:00+00:00"
    found = runs([*old, *new])
    assert [len(run.systems) for run in found.of("foodvision-mini")] == [2, 5]
    assert {one.record["id"] for one in found.runs[0].systems} == {record["id"] for record in new}
    assert answer(found.runs[0]).chosen.system == "xnnpack-fp32"


def test_every_figure_of_the_table_comes_from_its_record(made):
    records = made.run()
    found = answer(one(records))
    by_id = {record["artifact"]["id"]: record for record in records}
    for row in views.rows(found, EN):
        record = by_id[row.cells[0]]
        cells = [plain(cell) for cell in row.cells]
        assert cells[1] == f"{record['accuracy']['value'] * 100:.1f} %"
        assert cells[2:4] == [f"{record[key] / 1e6:.1f} ms" for key in ("p50_ns", "p90_ns")]
        assert cells[6] == f"{record['artifact']['size_bytes'] / 1e6:.1f} MB"
        low, high = record["p50_interval_ns"]
        assert plain(row.under[2]) == f"{low / 1e6:.1f} ms to {high / 1e6:.1f} ms"
    assert [row.chosen for row in views.rows(found, EN)] == [True, False, False, False, False]
    assert [row.cells[0] for row in views.rows(found, EN)][-1] == "eager"


def test_what_was_not_measured_is_said_not_guessed(made):
    records = made.run()
    records[0].update(peak_rss_bytes=None, cold_start_p50_ns=None, p50_interval_ns=None)
    found = answer(one(records))
    row = next(row for row in views.rows(found, EN) if row.cells[0] == "xnnpack-int8")
    assert row.cells[4:6] == ("not measured", "not measured")
    assert row.under[2] == ""
    assert [tile.name for tile in views.tiles(found, EN)] == ["Time to the answer", "File size"]


def test_the_tiles_compare_with_eager_by_the_reports_own_ratios(made):
    records = made.run()
    ratios = report.ratios(records[0], records[-1])
    time, cold, memory, size = views.tiles(answer(one(records)), EN)
    assert time.against == f"{ratios['time to answer'][0]:.2f} × eager torch"
    assert cold.against == f"{ratios['cold start'][0]:.3f} × eager torch"
    assert (memory.against, memory.interval) == (f"{ratios['peak memory'][0]:.3f} × eager torch", "")
    assert size.against == "0.32 × eager torch"


def test_trade_points_carry_both_intervals(made):
    records = made.run()
    points = views.trade_points(one(records), TR)
    assert points[0]["system"] == "xnnpack-int8"
    assert points[0]["ms_low"] < points[0]["ms"] < points[0]["ms_high"]
    assert (points[0]["accuracy_low"], points[0]["accuracy_high"]) == tuple(records[0]["accuracy"]["interval"])
    assert plain(points[0]["said_accuracy"]) == "%97,3 (146/150; %93,3–%99,0)"


def test_stage_bars_are_the_records_medians(made):
    records = made.run()
    bars = views.stage_bars(one(records), TR)
    assert [bar["stage"] for bar in bars[:4]] == ["Kod çözme", "Ön işleme", "Çıkarım", "Son işleme"]
    assert bars[2]["ms"] == records[0]["stages_ns"]["inference"] / 1e6


@pytest.mark.parametrize("words", [EN, TR], ids=["en", "tr"])
@pytest.mark.parametrize("policy", [False, True])
def test_chart_axes_follow_the_language(made, words, policy):
    run = one(made.policy_run() if policy else made.run())
    spec = json.dumps(charts.trade(views.trade_points(run, words), words, policy).to_dict(), ensure_ascii=False)
    bars = json.dumps(charts.stages(views.stage_bars(run, words), words).to_dict(), ensure_ascii=False)
    assert words("axis_latency") in spec
    assert words("axis_time") in bars
    assert ("' µs'" in spec) == policy
    if words is TR:
        assert "'.', ','" in spec
        assert ("'%' + format" in spec) == (not policy)


def test_a_wide_range_of_latencies_takes_a_logarithmic_axis(made):
    rows = {**made.food, "eager": (*made.food["eager"][:3], 900.0, *made.food["eager"][4:])}
    spec = charts.trade(views.trade_points(one(made.run(rows)), EN), EN, False).to_dict()
    assert spec["layer"][2]["encoding"]["x"]["scale"]["type"] == "log"


def test_flags_are_said_in_the_pages_language(made):
    flags = ["other work: 62% of the processors busy before the run", "cpu governor is powersave", "something new"]
    flags.append("noisy: the later passes took 0.91 to 1.12 of the earlier ones' time")
    run = one(made.run(validity={"valid": False, "flags": flags}))
    assert views.flags(run, TR) == (
        "Bu sayılar uyarı taşıyor: ölçümden önce işlemcilerin %62 kadarı başka işlerle doluydu; "
        "işlemci hız yöneticisi: powersave; something new; "
        "makine dalgalandı: sonraki geçişlerin süresi öncekilerin 0,91 ile 1,12 katı arasında."
    )
    assert {row.cells[-1] for row in views.rows(answer(run), EN)} == {"no"}
    assert "without a reason" in views.flags(one(made.run(validity={"valid": False})), EN)
    assert views.flags(one(made.run()), EN) == ""


def test_the_facts_name_machine_time_and_data(made):
    record = made.run()[0]
    record["time"] = "2026-11-23T09:22:10+00:00"
    facts = {name: plain(text) for name, text in views.facts(one([record]), TR)}
    assert facts["Makine"] == "AMD EPYC 7B13, 2 çekirdek, 16,8 GB bellek, Linux 6.1.0"
    assert facts["Ölçüldü"] == "23 Kasım 2026, 09:22 UTC, foodvision-mini sürüm 3"
    assert facts["Veri"] == "food, 150 girdi"


BROKEN = [
    ("bundle", {}),
    ("bundle", {"name": "x", "version": "three"}),
    ("artifact", {"id": "x"}),
    ("artifact", {"id": "x", "engine": "e", "precision": "p", "size_bytes": 0}),
    ("scenario", {}),
    ("scenario", {"run": "x", "block": 0, "inputs_a_pass": 0}),
    ("accuracy", {"metric": "top-1", "value": float("nan"), "n": 1, "interval": [0, 1]}),
    ("accuracy", []),
    ("accuracy", {"metric": "top-1", "value": 1, "n": 1, "interval": [0]}),
    ("p90_ns", None),
    ("stages_ns", {"decode": "long"}),
    ("host", {"memory_bytes": "much"}),
    ("time", "yesterday"),
    ("validity", {"valid": True, "flags": 3}),
    ("latency_ns", []),
]


@pytest.mark.parametrize(("field", "value"), BROKEN)
def test_a_record_that_lacks_what_the_page_needs_is_counted_and_spoils_no_run(made, field, value):
    records = made.run()
    bad = {**copy.deepcopy(records[1]), field: value}
    found = runs([records[0], bad, *records[2:]])
    empty = field == "accuracy" and value == []  # reads as not measured
    assert found.unreadable == (0 if empty else 1)
    assert len(found.runs[0].systems) == (5 if empty else 4)
    views.rows(answer(found.runs[0]), EN)


def test_records_of_other_kinds_are_passed_over_uncounted(made):
    other = results.record(
        kind="soak", bundle={}, artifact={}, target="device", host={}, scenario={}, latency_ns=[], validity={}
    )
    assert (runs([other]).runs, runs([other]).unreadable) == ((), 0)


def test_markup_escapes_what_records_say(made):
    rows = {"<script>alert(1)</script>": made.food["xnnpack-int8"], "eager": made.food["eager"]}
    found = answer(one(made.run(rows)))
    html = markup.table(views.heads(found.run, EN), views.rows(found, EN), "chosen") + markup.facts([("<b>", "&")])
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "<dt>&lt;b&gt;</dt><dd>&amp;</dd>" in html
