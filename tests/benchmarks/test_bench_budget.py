from benchmarks import bench_budget, results
from benchmarks.environment import host


def study(name, rows, fingerprint=None):
    return results.record(
        kind="study", commit="abc", bundle={}, artifact={}, target="device",
        host={**host(), "fingerprint": fingerprint or host()["fingerprint"]}, scenario={"study": name},
        latency_ns=[], rows=rows, validity={"valid": True, "flags": []},
    )  # fmt: skip


def test_a_study_that_was_never_run_here_holds_nothing_and_its_command_is_named():
    rows = bench_budget.studies([study("aa", [{"name": "x", "holds": True}], "another machine")])
    assert len(rows) == len(bench_budget.STUDIES)
    assert all(row["holds"] is None and row["value"] is None for row in rows)
    assert rows[0]["note"] == "no record on this machine: make aa"


def test_the_newest_record_of_a_study_is_read_with_its_age():
    old = study("aa", [{"name": "A/A", "value": 9, "bound": 10, "holds": True, "n": 200, "note": "old"}])
    new = study("aa", [{"name": "A/A", "value": 12, "bound": 10, "holds": False, "n": 200, "note": "new"}])
    first = bench_budget.studies([old, new])[0]
    assert (first["value"], first["holds"], first["n"]) == (12, False, 200)
    assert first["note"] == "new; 0.0 hours old, commit abc"


def test_the_null_engine_is_asked_as_systems_are(monkeypatch):
    monkeypatch.setattr(bench_budget, "REPEATS", 1)
    monkeypatch.setattr(bench_budget, "QUERIES", 800)
    (row,) = bench_budget.overhead()
    assert row["n"] == 800 and row["value"] > 0 and row["bound"] == 150.0
