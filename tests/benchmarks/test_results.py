import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.results import compact, journal
from benchmarks.results.crash import crash
from benchmarks.results.speed import MAIN_TABLE, made_records
from edge_runtime.errors import BadRequest, Missing


def fields(**changes):
    return {
        "kind": "bench",
        "bundle": {"name": "digits"},
        "artifact": {"id": "onnx-fp32"},
        "target": "device",
        "host": {"fingerprint": "abc"},
        "scenario": {"run": "one"},
        "latency_ns": [300, 100, 200],
        "validity": {"valid": True, "flags": []},
        **changes,
    }


def test_a_record_derives_its_statistics_from_the_raw_latencies(tmp_path):
    whole = results.record(**fields())
    assert (whole["n"], whole["p50_ns"], whole["p90_ns"]) == (3, 200, 300)
    results.append([whole], tmp_path / "a.jsonl")
    assert results.read(tmp_path).records == (whole,)


def test_torn_foreign_and_wrong_lines_are_dropped_and_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    good = results.record(**fields())
    results.append([good], path)
    lied = {**results.record(**fields()), "p90_ns": 1}
    empty = {**results.record(**fields()), "latency_ns": [], "n": 0, "p50_ns": None, "p90_ns": None}
    newer = {**results.record(**fields()), "schema_version": 99}
    with path.open("ab") as handle:
        handle.write(
            json.dumps(lied).encode()
            + b"\n"
            + json.dumps(newer).encode()
            + b"\n"
            + json.dumps(empty).encode()
            + b'\n[1]\nnonsense\n\xff\xfe\n{"id": '
        )
    after = results.record(**fields())
    results.append([after], path)  # after a torn line without a newline
    found = results.read(tmp_path)
    assert {entry["id"] for entry in found.records} == {good["id"], after["id"]}
    assert found.dropped == 7


def test_eight_processes_append_at_once_and_no_line_is_lost(tmp_path):
    path = tmp_path / "a.jsonl"
    code = (
        "import sys, json; from pathlib import Path; from benchmarks import results\n"
        f"fields = json.loads({json.dumps(json.dumps(fields(latency_ns=[5] * 500)))})\n"
        f"for _ in range(50): results.append([results.record(**fields)], Path({str(path)!r}))"
    )
    children = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(8)]
    assert [child.wait(60) for child in children] == [0] * 8
    found = results.read(tmp_path)
    assert (len(found.records), found.dropped) == (400, 0)


def test_a_folder_that_is_not_there_is_empty_and_one_that_cannot_be_written_is_said(tmp_path):
    assert results.read(tmp_path / "none").records == ()
    (tmp_path / "file").write_text("")
    with pytest.raises(BadRequest, match="the records cannot be written to"):
        results.append([results.record(**fields())], tmp_path / "file" / "a.jsonl")


def test_a_record_without_a_field_or_with_a_false_latency_is_our_bug():
    with pytest.raises(ValueError, match="latency_ns must be whole nanoseconds above 0"):
        results.record(**fields(latency_ns=[0.5]))
    with pytest.raises(ValueError, match="target is not a str"):
        results.record(**fields(target=None))


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    results.append([results.record(**fields())], path)
    before = path.read_bytes()
    whole_write = journal.os.write
    monkeypatch.setattr(journal.os, "write", lambda descriptor, data: whole_write(descriptor, data[:40]))
    with pytest.raises(BadRequest, match="No space left on device"):
        results.append([results.record(**fields())], path)
    assert path.read_bytes() == before


def test_a_failure_is_a_record_without_latencies_and_never_a_valid_one():
    said = {"what": "the server answered 503", "detail": "three times"}
    failed = results.record(**fields(latency_ns=[], failure=said, validity={"valid": False, "flags": []}))
    assert (failed["n"], failed["p50_ns"]) == (0, None)
    with pytest.raises(ValueError, match="a record with a failure is not valid"):
        results.record(**fields(latency_ns=[], failure=said))
    with pytest.raises(ValueError, match="failure has no detail that is a str"):
        results.record(**fields(latency_ns=[], failure={"what": "x"}, validity={"valid": False}))
    with pytest.raises(ValueError, match="or a failure that says why there are none"):
        results.record(**fields(latency_ns=[]))


def test_an_answer_from_the_field_is_a_record_of_its_own_kind():
    answer = {"predicted": "pizza", "actual": "steak", "right": False, "probability": 0.61}
    assert results.record(**fields(kind="field", target="phone", latency_ns=[], answer=answer))["answer"] == answer
    with pytest.raises(ValueError, match="a field record needs a bundle's name and an answer"):
        results.record(**fields(kind="field", latency_ns=[]))


def test_sql_sees_scalars_and_a_record_comes_back_with_its_raw_arrays(tmp_path):
    whole = results.record(
        **fields(
            p50_interval_ns=[150, 250],
            accuracy={"metric": "top-1", "value": 0.5, "n": 2, "correct": 1, "interval": [0.1, 0.9]},
            validity={"valid": False, "flags": ["noisy", "other work"]},
            notes=["emulated"],
        )
    )
    results.append([whole], tmp_path / "a.jsonl")
    store = results.connect(tmp_path)
    row = store.sql("SELECT * FROM records WHERE artifact = ?", ["onnx-fp32"])[0]
    assert (row["p50_ns"], row["p50_low_ns"], row["accuracy_high"], row["valid"]) == (200, 150, 0.9, False)
    assert (row["flags"], row["notes"], row["failure"]) == ("noisy; other work", "emulated", None)
    assert store.record(whole["id"]) == whole
    with pytest.raises(BadRequest, match="has no record 'x'"):
        store.record("x")
    with pytest.raises(BadRequest, match="the records cannot answer that"):
        store.sql("SELECT nothing FROM records")


def test_whole_records_come_back_together_the_last_line_of_an_id_and_none_where_one_contradicts_itself(tmp_path):
    first, second = (results.record(**fields(latency_ns=[one])) for one in (100, 200))
    again = {**second, "notes": [f"beside {first['id']}"], "id": first["id"]}
    torn = {**second, "id": "wrong", "p50_ns": 7}
    results.append([first], tmp_path / "old.jsonl")
    compact.compact(tmp_path)
    assert results.connect(tmp_path).records([first["id"]]) == {first["id"]: first}
    results.append([first, again, second], tmp_path / "new.jsonl")
    with (tmp_path / "new.jsonl").open("a") as handle:
        handle.write(json.dumps(torn))
    store = results.connect(tmp_path)
    asked = [first["id"], second["id"], "wrong", "nowhere"]
    assert store.records(asked) == {first["id"]: again, second["id"]: second, "wrong": None}
    assert store.records([]) == {}
    with pytest.raises(BadRequest, match="contradicts its raw latencies"):
        store.record("wrong")
    assert store.sql("SELECT count(*) AS n FROM records")[0]["n"] == 3
    compact.compact(tmp_path)
    assert store.records([second["id"]]) == {second["id"]: second}  # its file is gone; it looks again


HOSTILE = (
    b'{"id": "torn',
    b'[1]\nnull\n5\n"text"\n\xff\xfe\n{"id": {}}\n' + b"[" * 5000 + b"]" * 5000,
    b'{"schema_version":1,"id":5,"time":[],"kind":{},"bundle":3,"artifact":null}',
)


def test_sql_drops_and_counts_the_same_lines_as_the_reader(tmp_path):
    good = results.record(**fields())
    wrong = [{**results.record(**fields()), **change} for change in ({"schema_version": 2}, {"host": []}, {"time": 1})]
    lines = [json.dumps(entry).encode() for entry in (good, *wrong)]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([*HOSTILE, *lines, b"", HOSTILE[0]]))
    odd = {**results.record(**fields()), "notes": 5, "stages_ns": "x", "bundle": {"name": "b", "version": "latest"}}
    results.append([odd], tmp_path / "a.jsonl")
    store, found = results.connect(tmp_path), results.read(tmp_path)
    assert [row["id"] for row in store.sql("SELECT id FROM records ORDER BY bundle")] == [odd["id"], good["id"]]
    assert store.dropped == found.dropped == 1 + 7 + 1 + 3 + 1
    assert len(found.records) == 2
    assert store.sql("SELECT bundle_version, notes, decode_ns FROM records WHERE bundle = 'b'") == [
        {"bundle_version": None, "notes": None, "decode_ns": None}
    ]


def test_compacted_records_are_the_same_bytes_beside_fresh_ones_and_other_lines_stay(tmp_path):
    path = tmp_path / "a.jsonl"
    first, second = (results.record(**fields(notes=[text])) for text in ("ağ", "\u2028"))
    results.append([first, second], path)
    lines = path.read_bytes()
    with path.open("ab") as handle:
        handle.write(b'{"schema_version": 2, "id": "of a newer lokma"}\n{"id": "torn')
    assert compact.compact(tmp_path) == compact.Compacted(files=1, records=2, rest=2)
    assert b"\n".join(compact.lines_of(next(tmp_path.glob("*.parquet")))) + b"\n" == lines
    assert b"of a newer lokma" in next(tmp_path.glob("*.rest.jsonl")).read_bytes()
    third = results.record(**fields())
    results.append([third], path)
    store, found = results.connect(tmp_path), results.read(tmp_path)
    assert store.sql("SELECT count(*) AS n FROM records") == [{"n": 3}]
    assert store.dropped == found.dropped == 2
    assert found.records == tuple(sorted((first, second, third), key=lambda entry: entry["time"]))
    assert store.record(second["id"]) == second
    assert compact.compact(tmp_path).records == 1
    assert store.record(third["id"]) == third  # its file went while the store was open
    assert compact.compact(tmp_path) == compact.Compacted(0, 0, 0)


@pytest.mark.parametrize("moment", range(9))
def test_a_compaction_that_is_killed_loses_and_doubles_nothing(tmp_path, monkeypatch, moment):
    wholes = [results.record(**fields()) for _ in range(5)]
    results.append(wholes, tmp_path / "a.jsonl")
    with (tmp_path / "a.jsonl").open("ab") as handle:
        handle.write(b"torn\n")
    steps = iter(range(99))

    class Killed(BaseException):
        pass

    def dies(before):
        def step(*arguments, **named):
            if next(steps) == moment:
                raise Killed
            return before(*arguments, **named)

        return step

    with monkeypatch.context() as patch:
        for place, name in ((compact.Path, "rename"), (compact.Path, "unlink"), (compact, "_parquet")):
            patch.setattr(place, name, dies(getattr(place, name)))
        patch.setattr(journal, "flush_folder", dies(journal.flush_folder))
        patch.setattr(compact.tempfile.TemporaryDirectory, "cleanup", lambda self: self._finalizer.detach())
        try:
            compact.compact(tmp_path)
        except Killed:
            pass
        else:
            assert moment > 7
    for _ in range(2):
        store = results.connect(tmp_path)
        assert sorted(row["id"] for row in store.sql("SELECT id FROM records")) == sorted(w["id"] for w in wholes)
        assert store.dropped == results.read(tmp_path).dropped == 1
        assert len(results.read(tmp_path).records) == 5
        compact.compact(tmp_path)
    assert sorted(path.suffixes[-1] for path in tmp_path.glob("a*")) == [".jsonl", ".parquet"]
    assert not list(tmp_path.glob(".compacting-*"))


def test_a_record_in_two_files_counts_once(tmp_path):
    whole = results.record(**fields())
    for name in ("a", "b", "c"):
        results.append([whole], tmp_path / f"{name}.jsonl")
        if name != "c":
            compact.compact(tmp_path)
    for store in (results.connect(tmp_path), results.connect(tmp_path / "c.jsonl")):
        assert store.sql("SELECT count(*) AS n FROM records") == [{"n": 1}]
    (tmp_path / "c.jsonl").unlink()
    assert results.connect(tmp_path).sql("SELECT count(*) AS n FROM records") == [{"n": 1}]


def test_what_was_acknowledged_survives_kills_and_compactions(tmp_path):
    found = crash(60, 3, compacting=True)
    assert found.holds and found.lost == 0 and found.killed and found.compactions, str(found)


def test_the_main_table_shows_the_newest_run_of_each_bundle_on_each_machine(tmp_path):
    results.append(list(made_records(range(2000), 3)), tmp_path / "a.jsonl")
    shown = results.connect(tmp_path).sql(MAIN_TABLE)
    assert len(shown) == 400 * 5
    assert {row["bundle"] for row in shown} == {f"bundle-{number}" for number in range(100)}


def test_a_url_is_read_by_duckdbs_extension_or_refused_and_never_written(tmp_path, monkeypatch):
    monkeypatch.setenv("LOKMA_RESULTS", "s3://bucket/results")
    monkeypatch.setenv("HOME", str(tmp_path))  # no extension is installed there
    with pytest.raises(Missing, match="DuckDB needs its extension httpfs, which is not installed here"):
        results.connect()
    with pytest.raises(BadRequest, match="records are appended to a folder, and LOKMA_RESULTS is s3://bucket/results"):
        results.folder()


def test_what_does_not_fit_into_memory_is_put_where_temporary_files_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (row,) = results.connect(tmp_path).sql("SELECT current_setting('temp_directory') AS place")
    assert Path(row["place"]).parent == Path(tempfile.gettempdir())
