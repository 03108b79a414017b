import pytest

from benchmarks import preflight
from edge_runtime.errors import GateFailed


def test_an_unfit_machine_is_refused_and_measured_anyway_where_that_is_asked_for(monkeypatch):
    monkeypatch.setattr(preflight.host, "busy", lambda seconds: ["other work: 62% of the processors busy"])
    with pytest.raises(GateFailed, match=r"not fit to be measured on: other work: 62%.* --anyway measures and says so"):
        preflight.refuse_unfit(anyway=False, seconds=0.01)
    assert "other work: 62% of the processors busy" in preflight.refuse_unfit(anyway=True, seconds=0.01)


def test_a_fit_machine_has_nothing_said_of_it(monkeypatch):
    monkeypatch.setattr(preflight.host, "busy", lambda seconds: [])
    monkeypatch.setattr(preflight.host, "read", lambda path: None)
    monkeypatch.setattr(preflight, "_times", dict)
    assert preflight.refuse_unfit(anyway=False, seconds=0.01) == []


@pytest.mark.parametrize(
    ("said", "ok"), [(None, None), ("performance", True), ("schedutil", True), ("powersave", False)]
)
def test_a_governor_that_saves_power_speaks_against_it(said, ok):
    assert preflight.governor(said).ok is ok


def test_heavy_processes_are_named_and_a_sleeping_or_new_one_is_not():
    before = {1: ("ffmpeg", 10.0), 2: ("bash", 1.0), 3: ("chromium", 5.0)}
    after = {1: ("ffmpeg", 10.9), 2: ("bash", 1.0), 3: ("chromium", 5.5), 4: ("new", 99.0)}
    found = preflight.processes(before, after, 1.0)
    assert found.ok is False
    assert found.detail == "heavy processes: ffmpeg (90 % of a core), chromium (50 % of a core)"
    assert preflight.processes(before, before, 1.0).ok is True and preflight.processes({}, {}, 1.0).ok is None


@pytest.mark.parametrize(("said", "ok"), [("throttled=0x0", True), ("throttled=0x50005", False), (None, None)])
def test_a_pi_that_is_throttled_now_is_unfit(said, ok):
    assert preflight.throttled(said).ok is ok


def test_a_pi_that_was_throttled_once_is_fit_again():
    assert preflight.throttled("throttled=0x50000").ok is None


def test_a_battery_that_is_emptied_speaks_against_it(tmp_path):
    assert preflight.battery(tmp_path).ok is None
    (tmp_path / "BAT0").mkdir()
    (tmp_path / "BAT0" / "status").write_text("Discharging\n")
    assert preflight.battery(tmp_path).detail == "it runs on its battery; plug it in"
    (tmp_path / "BAT0" / "status").write_text("Full\n")
    assert preflight.battery(tmp_path).ok is True


@pytest.mark.parametrize(("ahead", "says"), [(0.2, 0), (-3600.0, 1), (7200.0, 1)])
def test_a_clock_that_jumps_is_named(monkeypatch, ahead, says):
    clock = preflight.Clock()
    now = preflight.time.time
    monkeypatch.setattr(preflight.time, "time", lambda: now() + ahead)
    assert len(clock.doubts()) == says
