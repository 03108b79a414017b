from benchmarks import reference


def entry(kind, bundle, number, **scenario):
    return {"kind": kind, "bundle": {"name": bundle}, "scenario": scenario, "number": number}


def test_a_budget_measured_again_replaces_its_own_rows_and_no_others():
    old = [
        entry("bench", "food", 1, run="a"),
        entry("bench", "food", 2, run="a"),
        entry("budget", "b2", 3, budget="runtime", group="predict"),
        entry("budget", "food", 4, budget="serving"),
    ]
    new = [entry("budget", "food", 5, budget="serving"), entry("bench", "food", 6, run="b")]
    assert [one["number"] for one in reference.merged(old, new)] == [3, 5, 6]
    assert reference.merged(old, []) == old
