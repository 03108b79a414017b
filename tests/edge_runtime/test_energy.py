import pytest

from edge_runtime import energy


def package(root, name, energy_uj, wraps=1_000_000):
    (root / name).mkdir(parents=True)
    (root / name / "energy_uj").write_text(f"{energy_uj}\n")
    (root / name / "max_energy_range_uj").write_text(f"{wraps}\n")


def test_rapls_counters_are_read_and_one_that_started_again_is_followed(tmp_path):
    package(tmp_path, "intel-rapl:0", 999_000)
    package(tmp_path, "intel-rapl:1", 5_000)
    before = energy.counters(tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("1000\n")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("8000\n")
    assert energy.joules_between(before, energy.counters(tmp_path)) == pytest.approx(0.005)


def test_a_counter_that_cannot_be_read_is_left_out(tmp_path):
    package(tmp_path, "intel-rapl:0", 1)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("not a number")
    assert energy.counters(tmp_path) == {} and energy.counters(tmp_path / "nowhere") == {}


def test_the_pis_rails_are_summed_and_one_without_its_current_is_not():
    said = " 3V3_SYS_A current(1)=0.10A\n 3V3_SYS_V volt(9)=3.30V\n EXT5V_V volt(24)=5.14V\n"
    said += " VDD_CORE_A current(7)=1.00A\n VDD_CORE_V volt(15)=0.75V\n"
    assert energy.watts_of_pmic(said) == pytest.approx(0.33 + 0.75)
    assert energy.watts_of_pmic("Command not registered") is None


def test_a_battery_counts_only_while_it_is_emptied(tmp_path):
    for name, status in (("BAT0", "Discharging"), ("BAT1", "Full"), ("AC", None)):
        (tmp_path / name).mkdir()
        if status:
            (tmp_path / name / "status").write_text(status + "\n")
        (tmp_path / name / "current_now").write_text("2000000\n")
        (tmp_path / name / "voltage_now").write_text("12000000\n")
    assert energy.watts_of_battery(tmp_path) == pytest.approx(24.0)
    (tmp_path / "BAT0" / "status").write_text("Charging\n")
    assert energy.watts_of_battery(tmp_path) is None


def test_a_machine_that_says_nothing_says_why(monkeypatch):
    monkeypatch.setattr(energy, "counters", dict)
    monkeypatch.setattr(energy, "watts", lambda: None)
    assert energy.Meter().read() == {"no_joules": energy.NONE}


def test_two_samples_of_power_make_an_energy(monkeypatch):
    clock = iter([10.0, 12.0])
    power = iter([3.0, 5.0])
    monkeypatch.setattr(energy, "counters", dict)
    monkeypatch.setattr(energy, "watts", lambda: next(power))
    monkeypatch.setattr(energy.time, "monotonic", lambda: next(clock))
    assert energy.Meter().read() == {"joules": 8.0}
