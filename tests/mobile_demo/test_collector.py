import json

import pytest

from benchmarks import results
from edge_runtime.errors import BadInput
from mobile_demo import collector

TOKEN = "right-token"


def posted(kind="bench", number=1, **changed):
    """A record as the page posts it."""
    latencies = [10_000_000, 12_000_000, 11_000_000]
    fields = {
        "schema_version": 1,
        "id": f"phone-{number:032x}",
        "time": "2026-11-25T17:00:00+00:00",
        "kind": kind,
        "target": "phone",
        "bundle": {"name": "digits", "version": 4, "task": "multiclass", "sha256": "0" * 64},
        "artifact": {"id": "onnx-int8", "engine": "onnxruntime-web", "precision": "int8", "size_bytes": 26876},
        "host": {"fingerprint": "0123456789ab", "cpu": "Redmi Note 12", "cores": 8, "memory_bytes": None},
        "scenario": {"name": "SingleStream", "run": "1" * 32, "threads": 1},
        "latency_ns": latencies if kind == "bench" else [],
        "n": 3 if kind == "bench" else 0,
        "p50_ns": 11_000_000 if kind == "bench" else None,
        "p90_ns": 12_000_000 if kind == "bench" else None,
        "validity": {"valid": True, "flags": []},
    }
    if kind == "field":
        fields["answer"] = {"predicted": "7", "actual": "1", "right": False, "probability": 0.93}
    return {**fields, **changed}


def post(record, folder, token=TOKEN):
    body = record if isinstance(record, bytes) else json.dumps(record).encode()
    return collector.answer(body, f"Bearer {token}", TOKEN, folder)


def test_a_record_is_kept_once_however_often_it_comes(tmp_path):
    assert post(posted(), tmp_path) == (201, {"kept": 1, "ids": [f"phone-{1:032x}"]})
    assert post(posted(), tmp_path)[0] == 200
    assert post(posted("field", 2), tmp_path)[0] == 201
    found = results.read(tmp_path)
    assert [record["kind"] for record in found.records] == ["bench", "field"]
    assert found.dropped == 0
    assert [path.name for path in tmp_path.iterdir()] == ["phone-0123456789ab.jsonl"]


def test_another_record_with_a_known_id_is_refused(tmp_path):
    post(posted(), tmp_path)
    status, said = post(posted(time="2026-11-25T18:00:00+00:00"), tmp_path)
    assert (status, said) == (409, {"error": f"another record has the id phone-{1:032x}"})
    assert len(results.read(tmp_path).records) == 1


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "ğ"])
def test_without_the_token_nothing_is_stored(tmp_path, token):
    assert post(posted(), tmp_path, token)[0] == 401
    assert list(tmp_path.iterdir()) == []


GARBAGE = {
    "empty": b"",
    "not JSON": b"{torn",
    "a list": b"[]",
    "deep": b'{"a":' * 50 + b"1" + b"}" * 50,
    "very deep": b"[" * 100_000,
    "not UTF-8": b'{"id": "\xff"}',
    "NaN": json.dumps(posted(extra=float("nan"))).encode(),
    "another schema": posted(schema_version=99),
    "forged quantile": posted(p50_ns=1),
    "latencies below 0": posted(latency_ns=[-5], n=1, p50_ns=-5, p90_ns=-5),
    "latencies of text": posted(latency_ns=["1"]),
    "a workstation's id": posted(id="0" * 32),
    "another target": posted(target="device"),
    "another kind": posted(kind="budget"),
    "a path for a fingerprint": posted(host={"fingerprint": "../../../../x", "cpu": "x"}),
    "no cpu": posted(host={"fingerprint": "0123456789ab"}),
    "terminal codes": posted(host={"fingerprint": "0123456789ab", "cpu": "\x1b[31m"}),
    "long text": posted(notes=["x" * 501]),
    "a huge number": posted(extra=10**40),
    "no time zone": posted(time="2026-11-25T17:00:00"),
    "no time": posted(time="yesterday"),
    "an answer that contradicts itself": posted("field", answer={"predicted": "7", "actual": "7", "right": False}),
    "no answer": posted("field", answer=None),
    "a probability of 7": posted("field", answer={"predicted": "7", "actual": "7", "right": True, "probability": 7}),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_refused_and_stored_nowhere(tmp_path, name):
    status, said = post(GARBAGE[name], tmp_path)
    assert status == 400, said
    assert list(tmp_path.iterdir()) == []


def test_more_than_the_cap_is_refused(tmp_path):
    assert post(b" " * (collector.MAX_BYTES + 1), tmp_path)[0] == 413
    assert list(tmp_path.iterdir()) == []


def test_a_saved_file_of_several_records_is_accepted_whole_or_not_at_all(tmp_path):
    lines = [json.dumps(posted(number=number)) for number in (1, 2)]
    assert len(collector.accept("\n".join(lines).encode())) == 2
    with pytest.raises(BadInput, match="line 2 is not a record: it is not JSON"):
        collector.accept("\n".join([lines[0], lines[1][:50]]).encode())


def test_a_full_room_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(collector, "MAX_KEPT_BYTES", 100)
    status, said = post(posted(), tmp_path)
    assert status == 507
    assert "no more than 100 are kept" in said["error"]


def test_the_file_that_is_written_is_the_record_itself(tmp_path):
    post(posted(), tmp_path)
    line = (tmp_path / "phone-0123456789ab.jsonl").read_bytes()
    assert json.loads(line) == posted()
