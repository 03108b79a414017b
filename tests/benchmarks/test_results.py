import json
import subprocess
import sys

import pytest

from benchmarks import results
from edge_runtime.errors import BadRequest


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
    whole_write = results.os.write
    monkeypatch.setattr(results.os, "write", lambda descriptor, data: whole_write(descriptor, data[:40]))
    with pytest.raises(BadRequest, match="No space left on device"):
        results.append([results.record(**fields())], path)
    assert path.read_bytes() == before
