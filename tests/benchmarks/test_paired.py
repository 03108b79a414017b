import pytest

from benchmarks import paired

CALM = [100.0, 101.0, 99.0] * 20


def times(factor, samples=CALM):
    return [factor * value for value in samples]


def test_a_ratio_holds_fails_or_is_only_reported():
    good = paired.ratio_row("half", 0.6, times(0.5), CALM)
    assert (good["value"], good["holds"], good["n"]) == (0.5, True, 60)
    assert "95 %: 0.500 to 0.500; A/A 1.0" in good["note"]
    assert paired.ratio_row("more", 0.4, times(0.5), CALM)["holds"] is False
    assert paired.ratio_row("no bound", None, times(5), CALM)["holds"] is True


def test_an_upper_limit_far_above_the_bound_fails_though_the_lower_one_is_below():
    spread = [0.4, 0.7] * 30
    row = paired.ratio_row("spread", 0.55, times(1, [100 * s for s in spread]), [100.0] * 60)
    assert row["holds"] is not True


def test_a_system_that_differs_from_itself_makes_the_row_neither_hold_nor_fail():
    restless = [100.0, 150.0] * 30  # odd rounds against even ones
    assert paired.is_noisy(restless) and not paired.is_noisy(CALM)
    row = paired.ratio_row("noisy", 0.6, times(0.1), restless)
    assert row["holds"] is None and row["note"].startswith("too noisy, run it again")


def test_few_pairs_and_a_busy_machine_pass_nothing():
    few = paired.ratio_row("few", 0.6, times(0.5, CALM[:29]), CALM[:29])
    assert few["holds"] is None and few["note"].startswith("fewer than 30 pairs")
    busy = paired.ratio_row("busy", 0.6, times(0.5), CALM, ["other work: 90% of the processors busy"])
    assert busy["holds"] is None and busy["note"].startswith("other work")


def test_systems_take_turns_and_the_first_round_is_thrown_away():
    turns = []
    systems = {name: lambda name=name: turns.append(name) or float(len(turns)) for name in "ab"}
    found = paired.rounds(systems, at_least=4, seconds=0)
    assert [len(values) for values in found.values()] == [4, 4] and len(turns) == 10
    assert all(set(turns[i : i + 2]) == {"a", "b"} for i in range(0, 10, 2))
    assert min(min(values) for values in found.values()) == 3  # 1 and 2 were the round before the first


def test_a_restless_machine_gets_more_rounds_until_it_is_calm():
    calls = iter(range(1000))
    found = paired.rounds({"a": lambda: 100.0 if next(calls) > 20 else 100.0 * (1 + next(calls) % 3)}, 10, 60)
    assert len(found["a"]) > 10 and len(found["a"]) % 10 == 0
    assert len(paired.rounds({"a": lambda: 7.0}, 10, 60)["a"]) == 10


@pytest.mark.parametrize("count", [2, 3, 31])
def test_a_system_that_always_takes_the_same_is_itself(count):
    assert paired.against_itself([5.0] * count) == (1.0, 1.0, 1.0)
