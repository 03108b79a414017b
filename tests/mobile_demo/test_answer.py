import copy

import pytest

from benchmarks import report, results
from mobile_demo.dashboard import compare, markup, views
from mobile_demo.dashboard.answer import Question, answer
from mobile_demo.dashboard.runs import runs
from mobile_demo.dashboard.said import in_words
from mobile_demo.words import Words

EN, TR = Words("en"), Words("tr")
ASKED = Question(0.95, 30)


def plain(text):
    return text.replace("\xa0", " ").replace("\u2060", "")


def one(records):
    return runs(records).runs[0]


def whys(found):
    return {gate.one.system: gate.why for gate in found.gates}


def test_the_answer_is_one_sentence_with_the_fastest_file_that_keeps_both_demands(made):
    records = made.run()
    found = answer(one(records), ASKED)
    assert (found.verdict, found.chosen.system) == ("keeps", "xnnpack-int8")
    assert plain(views.sentence(found, EN, records[0]["host"]["fingerprint"])) == (
        "Yes: **xnnpack-int8** keeps 95 % and 30 FPS on this machine: **97.3 %** right (146 of 150), and nine in "
        f"ten answers within **{records[0]['p90_ns'] / 1e6:.1f} ms**. It is the fastest of the 3 that do. "
        "150 examples do not prove 95 %: the 95 % confidence interval begins at 93.3 %."
    )
    assert plain(views.sentence(found, TR)).startswith("Evet: **xnnpack-int8**, 2 çekirdekli AMD EPYC 7B13 üzerinde")


def test_every_no_has_its_reason(made):
    found = answer(one(made.run()), Question(0.95, 50))
    assert whys(found) == {
        "xnnpack-int8": "",
        "onnx-int8": "why_under",
        "xnnpack-fp32": "why_slow",
        "onnx-fp32": "why_slow",
    }
    rows = {row.cells[0]: row for row in views.gates(found, EN)}
    assert plain(rows["onnx-int8"].cells[3]) == "Too often wrong: 92.0 %, asked for 95 %."
    assert plain(rows["onnx-fp32"].cells[3]).startswith("Too slow: 50 FPS allows 20.0 ms a frame")
    assert rows["onnx-fp32"].marks == (None, True, False, None)
    assert answer(one(made.run()), Question(0.95, 1000)).gates[1].why == "why_both"


def test_a_rate_is_kept_where_nine_in_ten_answers_come_in_time(made):
    run = one(made.run({name: made.food[name] for name in ("xnnpack-int8", "eager")}))
    p90 = run.device[0].p90_ns
    assert answer(run, Question(0.9, 1e9 / (p90 + 1))).chosen is not None
    assert answer(run, Question(0.9, 1e9 / (p90 - 1))).chosen is None


def test_a_floor_that_is_reached_exactly_is_kept_and_may_be_unproven(made):
    run = one(made.run({name: made.food[name] for name in ("xnnpack-int8", "eager")}))
    assert answer(run, Question(146 / 150, 30)).chosen is not None
    assert answer(run, Question(146.1 / 150, 30)).chosen is None
    assert "do not prove" not in views.sentence(answer(run, Question(0.93, 30)), EN)


def test_where_none_keeps_both_the_answer_is_no(made):
    found = answer(one(made.run()), Question(0.999, 30))
    assert (found.verdict, found.chosen) == ("none", None)
    assert plain(views.sentence(found, EN)).startswith("No: no model file keeps 99.9 % and 30 FPS on AMD EPYC 7B13")
    assert views.tiles(found, EN) == []


def test_two_files_whose_ratio_lies_within_the_machines_own_variation_are_both_named(made):
    rows = {**made.food, "xnnpack-fp32": (*made.food["xnnpack-fp32"][:3], 12.42, 147, 0.2, 92, 13.5)}
    found = answer(one(made.run(rows)), ASKED)
    assert found.verdict == "tie"
    assert "would be slower cannot be told; either will do" in views.sentence(found, EN)


def test_a_restless_machine_calls_no_file_slower(made):
    found = answer(one(made.run(noise=0.35)), Question(0.95, 5))
    assert found.verdict in ("tie", "keeps")
    assert found.noise.high > 1.05
    assert all(gate.ratio.low > found.noise.high for gate in found.gates if gate.why == "why_slower")


def test_files_of_other_blocks_are_not_compared(made):
    records = made.run()
    records[0]["scenario"] = {**records[0]["scenario"], "block": 30}
    found = answer(one(records), ASKED)
    assert (found.verdict, found.against) == ("unordered", None)
    assert "not measured in the same blocks" in views.sentence(found, EN)


def test_a_run_without_model_files_cannot_tell(made):
    found = answer(one(made.run({"eager": made.food["eager"]})), ASKED)
    assert found.verdict == "nothing"
    assert views.sentence(found, EN).startswith("Cannot tell")


def test_a_policys_floor_is_a_share_of_eager_torchs_return(made):
    records = made.policy_run()
    found = answer(one(records), ASKED)
    assert found.gates[0].share == 1.0
    assert plain(views.sentence(found, EN)).startswith(
        "Yes: **xnnpack-fp32** keeps 95 % of eager torch's return and 30 FPS on AMD EPYC 7B13 (2 cores): a mean return"
    )
    records[0]["accuracy"] = {**records[0]["accuracy"], "value": 431.0}
    assert whys(answer(one(records), ASKED))["xnnpack-fp32"] == "why_under"
    assert whys(answer(one(records[:2]), ASKED))["onnx-fp32"] == "why_unmeasured"


def test_an_accuracy_that_was_not_measured_is_no_yes(made):
    records = made.run()
    records[0]["accuracy"] = None
    assert whys(answer(one(records), ASKED))["xnnpack-int8"] == "why_unmeasured"


def test_a_record_without_a_fingerprint_is_of_no_machine_that_is_here(made):
    host = {key: value for key, value in made.run()[0]["host"].items() if key != "fingerprint"}
    assert "this machine" not in views.sentence(answer(one(made.run(host=host)), ASKED), EN, "")


def test_an_answer_never_mixes_runs(made):
    old, new = made.run(seed=1), made.run({name: made.food[name] for name in ("xnnpack-fp32", "eager")}, seed=2)
    for record in old:
        record["time"] = "2020-01-01T00:00:00+00:00"
    found = runs([*old, *new])
    assert [len(run.systems) for run in found.of("foodvision-mini")] == [2, 5]
    assert {one.record["id"] for one in found.runs[0].systems} == {record["id"] for record in new}


def test_the_tiles_compare_with_eager_by_the_reports_own_ratios(made):
    records = made.run()
    ratios = report.ratios(records[0], records[-1])
    time, cold, memory, size = views.tiles(answer(one(records), ASKED), EN)
    assert time.against == f"{ratios['time to answer'][0]:.2f} × eager torch"
    assert cold.against == f"{ratios['cold start'][0]:.3f} × eager torch"
    assert (memory.against, memory.interval) == (f"{ratios['peak memory'][0]:.3f} × eager torch", "")
    assert size.against == "0.32 × eager torch"


def test_a_phone_without_block_or_memory_still_answers(made):
    phone = made.phone()
    found = answer(one([phone]), Question(0.0, 1))
    assert whys(found) == {"onnx-int8": "why_unmeasured"}
    assert found.gates[0].one.cold_ns == 4_000_000_000
    assert views.gates(found, EN)[0].under[0] == "on a phone"


def test_a_failed_system_is_a_row_with_the_records_words(made):
    records = made.run()
    failure = {"what": "unreachable", "detail": "no route to host"}
    lost = {**records[0], "latency_ns": [], "n": 0, "p50_ns": None, "p90_ns": None, "failure": failure}
    run = one([*records[1:], {**lost, "validity": {"valid": False}, "target": "cloud"}])
    assert views.gates(answer(run, ASKED), EN)[-1].cells[3] == "unreachable: no route to host"


def test_flags_are_said_once_in_the_pages_language(made):
    flags = ["other work: 62% of the processors busy before the run", "cpu governor is powersave", "something new"]
    flags += [f"noisy: the later passes took {low} to 1.12 of the earlier ones' time" for low in ("0.91", "0.95")]
    run = one(made.run(validity={"valid": False, "flags": flags}))
    assert views.flags(run, TR) == (
        "Bu sayılar uyarı taşıyor: ölçümden önce işlemcilerin %62 kadarı başka işlerle doluydu; "
        "işlemci hız yöneticisi: powersave; something new; "
        "makine dalgalandı: sonraki geçişlerin süresi öncekilerin 0,91 ile 1,12 katı arasında."
    )
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
    ("artifact", {}),
    ("artifact", {"id": "x", "engine": "e", "precision": "p", "size_bytes": 0}),
    ("scenario", {}),
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
    views.gates(answer(found.runs[0], ASKED), EN)


def test_a_nonsense_block_spoils_only_the_comparison(made):
    records = made.run()
    records[1] = {**records[1], "scenario": {**records[1]["scenario"], "block": 0, "inputs_a_pass": 0}}
    assert whys(answer(one(records), ASKED))["xnnpack-fp32"] == "why_unpaired"


def test_records_of_other_kinds_are_passed_over_uncounted():
    other = results.record(
        kind="soak", bundle={}, artifact={}, target="device", host={}, scenario={}, latency_ns=[], validity={}
    )
    assert (runs([other]).runs, runs([other]).unreadable) == ((), 0)


def test_markup_escapes_what_records_say(made):
    rows = {"<script>alert(1)</script>": made.food["xnnpack-int8"], "eager": made.food["eager"]}
    found = answer(one(made.run(rows)), ASKED)
    html = markup.table(views.gate_heads(found, EN), views.gates(found, EN), "chosen", ["<i>"] * 4)
    html += markup.facts([("<b>", "&")]) + markup.said(views.sentence(found, EN), True)
    html += markup.picture_card('" onerror="x', "<u>", "")
    assert not any(tag in html for tag in ("<script>", "<i>", "<b>", "<u>", '"x"', '" onerror'))
    assert "<strong>&lt;script&gt;alert(1)&lt;/script&gt;</strong>" in html
    assert "<dt>&lt;b&gt;</dt><dd>&amp;</dd>" in html


def test_a_server_that_does_not_say_its_files_size_or_precision_has_a_row_all_the_same(made):
    record = {**made.run()[0], "target": "cloud", "artifact": {"id": "onnx-fp32", "size_bytes": None}}
    found = runs([*made.run()[1:], record])
    assert found.unreadable == 0
    far = next(one for run in found.runs for one in run.systems if one.target == "cloud")
    assert (far.size_bytes, far.precision, far.engine) == (None, "", "")
    assert compare.rows([far], EN)[0].cells[7] == "not measured"


def test_flags_and_notes_are_said_in_the_pages_language_and_what_is_unknown_stays():
    note = "server and client share this machine; the network lte between them is emulated"
    assert in_words(note, EN) == note
    assert in_words(note, TR) == "sunucu ve istemci aynı makinede; aralarındaki ağ öykünüldü: lte"
    assert in_words("it lasted 1234.5 s, of 6000 s at least", TR) == "1.234,5 sn sürdü; en az 6.000 sn gerekir"
    server = "the server says it is lokma 0.1.0; which file it runs is not known here"
    assert in_words(server, TR) == (
        "sunucu kendini şöyle tanıtıyor: lokma 0.1.0; hangi dosyayı çalıştırdığı burada bilinmiyor"
    )
    own = "cold start, memory and processor time are the client's own; the server was up before"
    assert in_words(own, EN) == own
    assert in_words(own, TR) == (
        "soğuk başlangıç, bellek ve işlemci süresi istemcinin kendisinindir; sunucu önceden açıktı"
    )
    heavy = "heavy processes: python (98 % of a core)"
    assert plain(in_words(heavy, TR)) == "yanında ağır süreçler çalıştı: python (bir çekirdekte %98)"
    assert in_words("it runs on its battery; plug it in", TR) == "pilden çalışıyordu; fişe tak"
    assert in_words("a note of tomorrow; cpu governor is powersave", TR) == (
        "a note of tomorrow; işlemci hız yöneticisi: powersave"
    )
