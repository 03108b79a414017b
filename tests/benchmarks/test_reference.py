from benchmarks import reference, results


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


def test_the_rows_of_the_a_a_study_come_along_and_its_single_comparisons_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference.jsonl")
    shared = {"kind": "study", "bundle": {"name": "aa"}, "artifact": {}, "target": "device", "host": {},
              "scenario": {"study": "aa"}, "latency_ns": [], "validity": {"valid": True, "flags": []}}  # fmt: skip
    fresh = [results.record(**shared, comparison={"answer": "A"}), results.record(**shared, rows=[])]
    results.append(fresh, tmp_path / "fresh.jsonl")
    assert reference.main([str(tmp_path / "fresh.jsonl")]) == 0
    assert ["rows" in entry for entry in results.read(tmp_path / "reference.jsonl").records] == [True]
