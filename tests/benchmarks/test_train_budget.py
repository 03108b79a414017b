"""The budget of training: its rows, from sides that are made up here."""

from __future__ import annotations

import json

import pytest

from benchmarks import report, results, train_budget


@pytest.fixture
def sides(monkeypatch, tmp_path):
    """What each side answers: seconds in the order asked, and how many of 90 pictures were right."""
    monkeypatch.setenv("LOKMA_RESULTS", str(tmp_path))
    asked: list = []
    answers = {("food", 0): (1.0, 86), ("food", 1): (10.0, 87), ("tinyvgg", 0): (5.0, 0), ("tinyvgg", 1): (10.0, 0)}

    def child(name, side):
        asked.append((name, side))
        seconds, right = answers[name, side]
        return {"seconds": seconds, "right": right, "n": 90}

    monkeypatch.setattr(train_budget, "in_a_child", child)
    return asked, answers


def test_both_sides_run_in_turn_and_every_second_is_kept(sides, tmp_path, capsys):
    asked, _ = sides
    assert train_budget.main(["--pairs", "2", "--json"]) == 1  # the third row is open: nothing is on record
    assert asked[:4] == [("food", 0), ("food", 1), ("food", 1), ("food", 0)]
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["value"], row["bound"], row["holds"]) for row in rows[:3]] == [
        (0.1, 0.15, True),
        (0.5, 0.7, True),
        (None, 0.5, None),
    ]
    kept = results.read(tmp_path).records
    assert [entry["latency_ns"] for entry in kept] == [[10**9] * 2, [5 * 10**9] * 2, []]
    assert [entry["against_ns"] for entry in kept[:2]] == [[10**10] * 2] * 2
    shown = report.budgets(kept)  # as RESULTS.md has it
    assert shown.startswith("## The budget: train") and shown.count("| holds ") == 2


def test_what_was_measured_last_is_printed_again_with_its_age(sides, capsys):
    asked, _ = sides
    assert train_budget.main(["--only", "food", "--pairs", "2"]) == 0
    done = len(asked)
    capsys.readouterr()
    assert train_budget.main(["--recorded", "--json"]) == 1  # two rows are not on record yet
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(asked) == done and [row["value"] for row in rows] == [0.1, None, None]
    assert "; measured " in rows[0]["note"] and rows[1]["note"] == "not on record yet"


def test_a_slow_side_or_another_accuracy_does_not_hold(sides):
    _, answers = sides
    answers["tinyvgg", 0] = (9.0, 0)
    row, _ = train_budget.measured("tinyvgg", 2)
    assert row["value"] == 0.9 and row["holds"] is False
    answers["food", 0] = (1.0, 40)
    row, _ = train_budget.measured("food", 2)
    assert row["value"] == 0.1 and row["holds"] is False and "DIFFER" in row["note"]
