import math

import pytest

from benchmarks import break_even, break_even_study
from benchmarks.break_even import Prices, Sides
from benchmarks.break_even_study import Point, agreement
from edge_runtime import examples
from edge_runtime.bundle import open_bundle

SIDES = Sides(device_ns=30e6, cloud_ns=12e6, rtt_ms=2.0, payload_bytes=150_000, server_ns=8e6)
GRID = (0.0, 5.0, 10.0, 20.0, 40.0)


def test_at_the_crossing_both_take_the_same():
    assert break_even.round_trip_ms(SIDES) == 20
    assert break_even.cloud_ns(SIDES, 20) == SIDES.device_ns
    assert break_even.round_trip_ms(SIDES, mbit=100) == 8  # 150 kB take 12 ms
    assert break_even.cloud_ns(SIDES, 8, 100) == SIDES.device_ns
    payload = break_even.payload_bytes(SIDES, 5, 100)
    assert (payload, break_even.cloud_ns(SIDES, 5, 100, round(payload))) == (187_500, 30e6)


def test_a_line_that_was_shaped_when_it_was_measured_is_taken_off():
    shaped = Sides(30e6, cloud_ns=12e6 + 12e6, rtt_ms=2.0, payload_bytes=150_000, server_ns=8e6, mbit=100)
    assert break_even.cloud_ns(shaped, 2) == pytest.approx(12e6)


def test_the_cloud_wins_from_some_batch_on_where_a_row_costs_it_less():
    rows = break_even.batch(SIDES, rtt_ms=70)
    assert rows == 4
    assert break_even.cloud_ns(SIDES, 70, n=rows) < rows * SIDES.device_ns
    assert break_even.cloud_ns(SIDES, 70, n=rows - 1) >= (rows - 1) * SIDES.device_ns
    assert break_even.batch(SIDES, rtt_ms=70, mbit=12) is None  # 100 ms a row on the line


def test_prices_say_after_how_many_answers_a_device_has_paid_for_itself():
    said = break_even.found(SIDES, 70, None, Prices(cloud_per_1000=0.5, device=80))
    assert said["answers_until_paid"] == pytest.approx(160_000)
    assert "paid for itself after 160,000 answers" in break_even.sentence(said)
    hungry = Sides(30e6, 12e6, 2.0, 150_000, 8e6, device_joules=18_000.0)
    said = break_even.found(hungry, 70, None, Prices(0.5, 80, kwh=0.3, radio_joules_per_mb=10))
    assert said["answers_until_paid"] == math.inf and said["radio_joules"] == pytest.approx(1.5)
    assert "it never pays, it needs more energy than sending (18000.000 J, 1.500 J)" in break_even.sentence(said)
    assert break_even.found(SIDES, 70)["answers_until_paid"] is None


def test_energy_that_the_machine_does_not_say_is_not_made_up():
    said = break_even.found(SIDES, 70, None, Prices(radio_joules_per_mb=10))
    assert "what it needs of energy this machine does not say" in break_even.sentence(said)


def test_the_prices_of_the_command_reach_the_sentence_and_the_chart_is_printed(monkeypatch, capsys):
    given = []

    def study(setting, grid, prices):
        given.append(prices)
        return agreement(GRID, points([20, 25, 28, 40, 60]), 14), break_even.found(SIDES, 70, None, prices)

    monkeypatch.setattr(break_even_study, "study", study)
    command = [str(examples.path("digits.zip")), "--per-1000", "0.5", "--device-price", "80", "--kwh", "0.3"]
    assert break_even_study.main([*command, "--radio", "10"]) == 0
    assert given == [Prices(0.5, 80, 0.3, 10)]
    said = capsys.readouterr().out
    assert "paid for itself after 160,000 answers" in said and "cloud at  70 ms" in said
    with pytest.raises(SystemExit):
        break_even_study.main([*command, "--radio", "-1"])


def test_the_sentence_and_the_chart_say_the_same():
    said = break_even.found(SIDES, 70)
    assert break_even.sentence(said) == (
        "An answer takes 30.0 ms on the device and 80.0 ms in the cloud at a round trip of 70 ms: the device is faster "
        "from a round trip of 20.0 ms on, and with fewer than 4 rows at once (modelled from what was measured)."
    )
    chart = {one["rtt_ms"]: one["cloud_ms"] - one["device_ms"] for one in said["chart"]}
    assert chart[20] == 0 and chart[10] < 0 < chart[40]
    quick = Sides(7e6, 10e6, 0.1, 150_000, 6e6)
    assert "at every round trip, with any payload, with any batch" in break_even.sentence(
        break_even.found(quick, 70, 12)
    )


def points(cloud_ms, device_ms=30.0):
    return [Point(rtt, device_ms * 1e6, cloud * 1e6, 8e6, {}, 100) for rtt, cloud in zip(GRID, cloud_ms, strict=True)]


def test_the_prediction_holds_within_one_step_of_the_grid():
    crossed = points([20, 25, 28, 40, 60])
    row = agreement(GRID, crossed, predicted_ms=14)
    assert (row["value"], row["bound"], row["holds"], row["n"]) == (pytest.approx(2.333, abs=0.001), 10, True, 500)
    assert agreement(GRID, crossed, predicted_ms=23)["holds"] is False
    everywhere = points([40, 45, 50, 60, 80])
    assert agreement(GRID, everywhere, predicted_ms=-3)["holds"] is True
    assert agreement(GRID, everywhere, predicted_ms=6)["holds"] is False
    never = agreement(GRID, points([1, 2, 3, 4, 5]), predicted_ms=99)
    assert never["holds"] is None and "give a longer --grid" in never["note"]


def test_the_payload_is_one_row_of_the_input():
    assert break_even_study.payload_of(open_bundle(examples.path("digits.zip"))) == 16 * 16 * 3


@pytest.mark.parametrize("grid", ["5,0", "0", "-1,5", "0,x"])
def test_a_grid_that_does_not_grow_is_refused(grid, capsys):
    assert break_even_study.main([str(examples.path("digits.zip")), f"--grid={grid}"]) == 2
    assert "round trips" in capsys.readouterr().err


def test_without_root_the_links_are_refused(monkeypatch, capsys):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert break_even_study.main([str(examples.path("digits.zip"))]) == 3
    assert "root" in capsys.readouterr().err
