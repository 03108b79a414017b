import csv
import io
import json

import pytest

from benchmarks.verdicts import verdict
from mobile_demo.dashboard import charts, compare
from mobile_demo.dashboard.runs import runs
from mobile_demo.words import Words

EN, TR = Words("en"), Words("tr")


def plain(text):
    return text.replace("\xa0", " ").replace("\u2060", "")


def systems(records):
    return runs(records).runs[0].systems


def test_every_figure_of_the_table_comes_from_its_record(made):
    records = made.run()
    by_id = {record["artifact"]["id"]: record for record in records}
    for row in compare.rows(systems(records), EN):
        record = by_id[row.cells[0]]
        cells = [plain(cell) for cell in row.cells]
        assert cells[1] == f"{record['accuracy']['value'] * 100:.1f} %"
        assert cells[2:4] == [f"{record[key] / 1e6:.1f} ms" for key in ("p50_ns", "p90_ns")]
        assert cells[7] == f"{record['artifact']['size_bytes'] / 1e6:.1f} MB"
        low, high = record["p50_interval_ns"]
        assert plain(row.under[2]) == f"{low / 1e6:.1f} ms to {high / 1e6:.1f} ms"
    assert [row.cells[0] for row in compare.rows(systems(records), EN)][-1] == "eager"


def test_what_was_not_measured_is_said_not_guessed(made):
    records = made.run()
    records[0].update(peak_rss_bytes=None, cold_start_p50_ns=None, p50_interval_ns=None)
    row = next(row for row in compare.rows(systems(records), EN) if row.cells[0] == "xnnpack-int8")
    assert row.cells[4:7] == ("not measured", "not measured", "not measured")
    assert row.under[2] == ""


def test_a_p99_of_few_answers_says_how_many_it_needs(made):
    assert compare.rows(systems([made.phone()]), EN)[0].cells[4] == "needs 299"


def test_trade_points_carry_both_intervals_and_the_front(made):
    records = made.run()
    points = compare.trade_points(systems(records), TR)
    assert points[0]["system"] == "xnnpack-int8"
    assert points[0]["cost_low"] < points[0]["cost"] < points[0]["cost_high"]
    assert (points[0]["accuracy_low"], points[0]["accuracy_high"]) == tuple(records[0]["accuracy"]["interval"])
    assert plain(points[0]["said_accuracy"]) == "%97,3 (146/150; %93,3–%99,0)"
    assert [point["system"] for point in points if point["front"]] == ["xnnpack-int8", "xnnpack-fp32"]


@pytest.mark.parametrize(("axis", "front"), [("size", ["xnnpack-int8", "onnx-int8", "xnnpack-fp32"])])
def test_the_front_follows_the_cost(made, axis, front):
    points = compare.trade_points(systems(made.run()), EN, axis)
    assert [point["system"] for point in points if point["front"]] == front
    assert points[0]["said_cost"] == "4.4\xa0MB"


def test_stage_bars_are_the_records_medians(made):
    records = made.run()
    bars = compare.stage_bars(systems(records), TR)
    assert [bar["stage"] for bar in bars[:4]] == ["Kod çözme", "Ön işleme", "Çıkarım", "Son işleme"]
    assert bars[2]["ms"] == records[0]["stages_ns"]["inference"] / 1e6


def test_two_devices_of_one_system_have_names_of_their_own(made):
    first, second, third = (made.run(seed=seed)[0] for seed in (1, 2, 3))
    second["host"] = {**second["host"], "cpu": "Pi", "fingerprint": "aaaa11112222"}
    third["host"] = {**third["host"], "fingerprint": "bbbb11112222"}
    two = [one for record in (first, second) for one in systems([record])]
    assert list(compare.labels(two, EN).values()) == ["xnnpack-int8 · AMD EPYC 7B13", "xnnpack-int8 · Pi"]
    alike = [one for record in (first, third) for one in systems([record])]
    assert list(compare.labels(alike, EN).values()) == [
        "xnnpack-int8 · AMD EPYC 7B13 · 0123",
        "xnnpack-int8 · AMD EPYC 7B13 · bbbb",
    ]
    assert [row.under[0] for row in compare.rows(alike, EN)] == [
        "on the device · AMD EPYC 7B13 · 0123",
        "on the device · AMD EPYC 7B13 · bbbb",
    ]
    twice = [one for record in (first, made.run(seed=4)[0]) for one in systems([record])]
    assert list(compare.labels(twice, EN).values()) == ["xnnpack-int8 (1)", "xnnpack-int8 (2)"]


def test_a_server_is_named_with_its_network_in_the_pages_language(made):
    row = ("cloud", "onnxruntime", "fp32", 30.0, 147, 0.6, 142.6, 13.6)
    notes = ["server and client share this machine; the network lte between them is emulated"]
    far = systems(made.run({"onnx-fp32": row}, notes=notes))
    assert list(compare.labels(far, TR).values()) == ["onnx-fp32 · bulut · lte"]


@pytest.mark.parametrize("words", [EN, TR], ids=["en", "tr"])
@pytest.mark.parametrize("policy", [False, True])
def test_chart_axes_follow_the_language(made, words, policy):
    found = systems(made.policy_run() if policy else made.run())
    trade = charts.trade(compare.trade_points(found, words), words, policy)
    spec = json.dumps(trade.to_dict(), ensure_ascii=False)
    bars = json.dumps(charts.stages(compare.stage_bars(found, words), words).to_dict(), ensure_ascii=False)
    assert words("axis_latency") in spec
    assert words("axis_time") in bars
    assert ("' µs'" in spec) == policy
    if words is TR:
        assert "'.', ','" in spec
        assert ("'%' + format" in spec) == (not policy)


def test_a_wide_range_of_latencies_takes_a_logarithmic_axis(made):
    rows = {**made.food, "eager": (*made.food["eager"][:3], 900.0, *made.food["eager"][4:])}
    spec = charts.trade(compare.trade_points(systems(made.run(rows)), EN), EN, False).to_dict()
    assert spec["layer"][3]["encoding"]["x"]["scale"]["type"] == "log"


def test_what_is_taken_away_has_points_and_units_whatever_the_language(made):
    lines = compare.plain(systems(made.run()))
    read = list(csv.DictReader(io.StringIO(compare.as_csv(lines))))
    assert [line["system"] for line in read][-1] == "eager"
    assert float(read[0]["accuracy"]) == 146 / 150
    assert int(read[0]["p50_ns"]) == lines[0]["p50_ns"]


def test_a_spreadsheet_runs_no_formula_that_a_record_brings(made):
    text = compare.as_csv([{"system": "=HYPERLINK(1)", "n": -1}])
    assert text == "system,n\n'=HYPERLINK(1),-1\n"


def test_the_verdict_of_two_says_who_is_better_by_what_or_how_many_more_would_tell(made):
    records = {record["artifact"]["id"]: record for record in made.run()}
    labels = [i % 3 for i in range(150)]
    for record in records.values():
        record["accuracy"]["labels"] = labels
    one, other = records["xnnpack-int8"], records["onnx-int8"]
    accuracy, latency = compare.verdict_rows(verdict(one, other), "X", "O", EN)
    assert accuracy.cells[:2] == ("Which is right more often?", "X is right more often")
    assert plain(accuracy.cells[2]).startswith(
        "Of 150 inputs X alone is right on 8, O alone on 0 (exact McNemar, p 0.008)"
    )
    assert latency.cells[1] == "X is faster"
    assert "98 % interval" in latency.cells[2]
    accuracy, _ = compare.verdict_rows(verdict(one, records["xnnpack-fp32"]), "X", "F", TR)
    assert accuracy.cells[1] == "söylenemez"
    assert accuracy.under[2].endswith("tane daha gerekli.")


def test_two_that_cannot_be_paired_are_told_why_in_the_pages_language(made):
    rows = compare.verdict_rows(verdict(made.run()[0], made.phone()), "A", "B", TR)
    assert [row.cells[1] for row in rows] == ["söylenemez"] * 2
    assert rows[0].cells[2] == "Kayıtlardan birinde tahminler ve doğru etiketleri yok."
    assert rows[1].cells[2].startswith("Aynı ölçümde sırayla ölçülmediler")
