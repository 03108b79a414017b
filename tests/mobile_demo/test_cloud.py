from mobile_demo.dashboard import cloud
from mobile_demo.dashboard.runs import runs
from mobile_demo.words import Words

EN, TR = Words("en"), Words("tr")


def plain(text):
    return text.replace("\xa0", " ")


def measured(made, ms, network_ms, note="the network lan between them is emulated"):
    row = ("cloud", "onnxruntime", "fp32", ms, 147, 0.6, 142.6, 13.6)
    stages = {"network": network_ms * 1_000_000, "inference": 5_000_000}
    records = made.run({"onnx-fp32": row}, stages_ns=stages, notes=[note])
    return runs(records).runs[0].systems[0]


def device(made):
    return runs(made.run()).runs[0].systems[0]


def test_a_slow_network_says_from_which_one_on_the_cloud_would_win(made):
    own, far = device(made), measured(made, 40, 30)
    found = cloud.break_even(own, far)
    assert found == cloud.BreakEven(30_000_000, own.p50_ns - far.p50_ns + 30_000_000)
    said = [plain(line) for line in cloud.sentences(own, [far], EN)]
    assert said[0].startswith("No: the answer came from the cloud after **4")
    assert "reckoned from the medians: with a network that takes less than **" in said[1]
    assert said[1].endswith("the measured one took 30.0 ms.")


def test_a_slow_server_loses_with_any_network_and_a_fast_one_wins(made):
    said = [plain(line) for line in cloud.sentences(device(made), [measured(made, 90, 2)], TR)]
    assert said[1].startswith("Başa baş noktası (ortancalardan modellendi): yok.")
    assert cloud.sentences(device(made), [measured(made, 3, 1)], EN)[0].startswith("Faster, yes")


def test_a_record_that_does_not_part_the_network_has_no_break_even(made):
    own, far = device(made), measured(made, 40, 0)
    assert cloud.break_even(own, far) is None
    assert len(cloud.sentences(own, [far], EN)) == 1
    rows = cloud.rows(own, [far], EN)
    assert (rows[0].chosen, rows[0].cells[3], rows[1].cells[3]) == (True, "\u2013", "not measured")
    assert "emulated" in rows[1].under[0]


def study(device="eager", host="0123456789ab", differences_ms=(15, 5, -5), **changed):
    points = [
        {"rtt_ms": 10.0 * place, "device_ns": 30e6, "cloud_ns": 30e6 - apart * 1e6}
        for place, apart in enumerate(differences_ms)
    ]
    record = {"host": {"fingerprint": host}, "artifact": {"id": device}, "points": points}
    return {**record, "scenario": {"study": "break-even", "cloud": "onnx-fp32", "mbit": 100.0}, **changed}


def test_the_measured_break_even_lies_where_the_two_crossed_on_the_links():
    found = cloud.crossing([study()], "0123456789ab", "onnx-int8")
    assert found == cloud.Crossing("eager", "onnx-fp32", 0.0, 20.0, 100.0, 15.0, False)
    assert plain(cloud.measured_even(found, EN)) == (
        "Break-even, measured: from a round trip of **15.0 ms** on, eager on this device is faster than onnx-fp32 in "
        "the cloud (emulated links of 0 ms to 20 ms, 100 Mbit/s)."
    )
    assert "gidiş dönüş **15,0 ms** ya da daha uzunsa" in plain(cloud.measured_even(found, TR))


def test_a_measured_break_even_may_lie_nowhere_on_the_links():
    won, lost = (cloud.crossing([study(differences_ms=d)], "0123456789ab", "eager") for d in ((-1, -9), (9, 1)))
    assert "even with a round trip of 0 ms" in plain(cloud.measured_even(won, EN))
    assert "none up to a round trip of 10 ms" in plain(cloud.measured_even(lost, EN))


def test_only_this_devices_break_even_counts_and_its_own_system_comes_first():
    studies = [study(), study("onnx-int8", differences_ms=(5, -5)), study(points=[{}]), study(scenario={})]
    assert cloud.crossing(studies, "ffffffffffff", "eager") is None
    assert cloud.crossing(studies, "0123456789ab", "onnx-int8").at_ms == 5.0
    assert cloud.crossing(studies[2:], "0123456789ab", "eager") is None


def test_where_the_break_even_was_measured_none_is_reckoned(made):
    assert len(cloud.sentences(device(made), [measured(made, 40, 30)], EN, reckon=False)) == 1
