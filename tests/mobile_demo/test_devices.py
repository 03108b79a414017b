from datetime import UTC, datetime, timedelta

from mobile_demo.dashboard import devices, model_charts
from mobile_demo.dashboard.runs import Accuracy
from mobile_demo.dashboard.store import Device, Field
from mobile_demo.words import Words

EN, TR = Words("en"), Words("tr")
NOW = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)
FIELD = Field("food", "onnx-int8", "int8", 3, 18, 20, NOW - timedelta(minutes=5))
TESTED = {("food", "onnx-int8"): Accuracy("top-1", 0.98, 147, 150, 0.943, 0.993)}


def plain(text):
    return text.replace("\xa0", " ").replace("\u2060", "")


def test_who_reported_stands_with_when_and_from_where():
    phone = Device("f1", "Pixel 8", 8, 0, ("phone",), ("food",), 12, NOW - timedelta(hours=3))
    here = Device("f2", "AMD EPYC", 2, 16_000_000_000, ("device", "eager"), ("food", "cartpole"), 5, NOW)
    first, second = devices.device_rows([phone, here], "f2", TR, NOW)
    assert (first.cells[0], first.cells[1], first.cells[4]) == ("Pixel 8", "belirtilmemiş", "3 saat önce")
    assert first.under[2] == "telefon"
    assert second.under[0] == "2 çekirdek, bu makine"
    assert (first.chosen, second.chosen) == (False, True)


def test_a_phone_whose_clock_is_ahead_reported_now_not_in_the_future():
    late = Device("f", "x", 1, 1, (), (), 1, NOW + timedelta(days=2))
    assert devices.device_rows([late], "", EN, NOW)[0].cells[4] == "1 second ago"


def test_field_accuracy_has_n_and_interval_beside_the_test_sides():
    row = devices.field_rows([FIELD], TESTED, EN, NOW)[0]
    assert plain(row.cells[2]) == "90.0 %"
    assert plain(row.under[2]) == "18 of 20; 69.9 % to 97.2 %"
    assert plain(row.under[3]) == "147 of 150; 94.3 % to 99.3 %"
    assert devices.field_rows([FIELD], {}, EN, NOW)[0].cells[3] == "not measured"
    points = devices.field_points([FIELD], TESTED, EN)
    assert [point["what"] for point in points] == ["Field accuracy", "Test accuracy"]
    model_charts.field(points, EN).to_dict()


def test_what_spoke_against_a_measurement_stands_with_its_device():
    found = devices.findings_of({"validity": {"valid": False, "flags": ["cpu governor is powersave", 7]}})
    assert found == [{"name": "preflight", "ok": False, "detail": "cpu governor is powersave"}]
    assert devices.findings_of({"validity": {"flags": []}}) == [{"name": "preflight", "ok": True, "detail": ""}]
    assert devices.findings_of({"validity": "fine"}) == devices.findings_of(None) == []
    rows = devices.finding_rows([*found, {"name": "cpu", "ok": True}, {"name": "gpu", "ok": None}], TR)
    assert [row.cells[1] for row in rows] == ["düzeltilmeli", "yolunda", "not"]
    assert [row.marks[1] for row in rows] == [False, True, None]
