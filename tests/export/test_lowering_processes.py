import hashlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from edge_runtime.errors import BadRequest, EngineError
from export import cache, lowering, processes
from export.recipes import Job, Lowered
from tests.export.tiny import normed, of_side, samples

SPEC = of_side(16)
RECIPES = ("xnnpack-fp32", "onnx-fp32", "onnx-int8")


def jobs(model, names=RECIPES):
    inputs = samples(SPEC, 6)
    return {name: Job(model, SPEC, inputs, inputs[:2]) for name in names}


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """A store for each test, whose keys stay where somebody edits the code at the same time."""
    monkeypatch.setattr(cache, "CODE", ())
    monkeypatch.setenv("LOKMA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def apart(monkeypatch):
    """Two processes at a time, however small the model and the machine."""
    monkeypatch.setattr(lowering, "APART_FROM_BYTES", 0)
    monkeypatch.setattr(lowering, "usable_cores", lambda: 2)


def said(lowered):
    """The details without the shares of time, which are measured anew."""
    return {**lowered.details, "delegation": {"delegated": lowered.details["delegation"]["delegated"]}}


def test_processes_give_what_one_after_another_gives_and_the_second_time_nothing_is_lowered(
    apart, monkeypatch, caplog, home
):
    caplog.set_level(logging.INFO, "export")
    model = normed()
    torch.set_num_threads(2)
    model(torch.randn(8, 3, 64, 64))  # this process's OpenMP threads are running when it is forked
    together = lowering.lower_all(jobs(model))
    assert set(caplog.messages) >= {f"lowering {name}" for name in RECIPES}
    alone = {name: lowering.lower(name, job) for name, job in jobs(model).items()}
    for name in RECIPES:
        assert together[name].data == alone[name].data, name
        assert said(together[name]) == said(alone[name])
        assert list(together[name].stages) == list(alone[name].stages)
        for stage, outputs in together[name].stages.items():
            assert np.abs(outputs - alone[name].stages[stage]).max() < 1e-5
    monkeypatch.setattr(lowering, "_called", None)  # whoever calls it fails
    again = lowering.lower_all(jobs(model))
    assert list(again) == list(RECIPES)
    assert all(again[name].data == together[name].data for name in RECIPES)
    assert len(list((home / "exports").iterdir())) == len(RECIPES)


def test_only_what_is_new_is_lowered_and_fresh_lowers_all(monkeypatch):
    called = []

    def fake(name, job):
        called.append(name)
        return Lowered(name.encode(), {"quantization": None}, {"graph": np.zeros((2, 3), np.float32)})

    monkeypatch.setattr(lowering, "_called", fake)
    model = normed()
    lowering.lower_all(jobs(model, ("onnx-fp32",)))
    lowering.lower_all(jobs(model))
    assert called == ["onnx-fp32", "xnnpack-fp32", "onnx-int8"]
    lowering.lower_all(jobs(model, ("onnx-fp32",)), fresh=True)
    assert called[3:] == ["onnx-fp32"]
    with torch.no_grad():
        model[0].weight[0, 0, 0, 0] += 1e-3
    lowering.lower_all(jobs(model, ("onnx-fp32",)))
    assert len(called) == 5


def test_the_key_changes_with_everything_that_decides_the_result():
    model, inputs = normed(), samples(SPEC, 6)
    job = Job(model, SPEC, inputs, inputs[:2])
    other = torch.nn.Sequential(*model[:2], torch.nn.ReLU(), *model[3:])  # the same weights, another activation
    keys = [
        cache.key_of("onnx-fp32", job),
        cache.key_of("onnx-int8", job),
        cache.key_of("onnx-fp32", Job(other, SPEC, inputs, inputs[:2])),
        cache.key_of("onnx-fp32", Job(model, SPEC, inputs[:5], inputs[:2])),
        cache.key_of("onnx-fp32", Job(model, SPEC, inputs, inputs[:3])),
        cache.key_of("onnx-fp32", Job(model, SPEC, inputs, inputs[:2], frozenset({"0"}))),
    ]
    assert len(set(keys)) == len(keys)
    assert cache.key_of("onnx-fp32", Job(normed(), SPEC, inputs.clone(), inputs[:2])) == keys[0]


def test_a_damaged_entry_is_lowered_again_and_the_oldest_make_room(monkeypatch, home):
    lowered = Lowered(b"a file" * 100, {"quantization": None, "n": 3}, {"graph": np.arange(6.0).reshape(2, 3)})
    cache.put("one", cache.pack(lowered))
    found = cache.get("one")
    assert (found.data, found.details) == (lowered.data, lowered.details)
    assert np.array_equal(found.stages["graph"], lowered.stages["graph"])
    path = home / "exports" / "one.npz"
    whole = path.read_bytes()
    at = whole.index(b"a filea file") + 40
    for damaged in (whole[:-100], b"", b"nonsense", whole[:at] + b"#" + whole[at + 1 :]):
        path.write_bytes(damaged)
        assert cache.get("one") is None
    path.write_bytes(whole)
    os.utime(path, (1, 1))
    monkeypatch.setattr(cache, "MAX_BYTES", 2 * len(whole))
    for key in ("two", "three"):
        cache.put(key, whole)
    assert sorted(entry.stem for entry in (home / "exports").iterdir()) == ["three", "two"]


def test_a_store_that_cannot_be_written_costs_nothing_but_time(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOKMA_HOME", str(tmp_path / "file"))
    cache.put("one", b"")
    assert cache.get("one") is None


def test_what_is_prepared_while_the_first_works_is_there_for_all_others():
    prepared = []
    found = dict(
        processes.made([["a"], ["b"], ["c"]], lambda _: str(prepared).encode(), 2, lambda: prepared.append(os.getpid()))
    )
    assert found == {"a": b"[]", "b": f"[{os.getpid()}]".encode(), "c": f"[{os.getpid()}]".encode()}


def test_what_goes_wrong_in_a_process_comes_back_as_itself():
    class OddError(RuntimeError):
        def __init__(self, code, text):
            super().__init__(text)

    def fails(name):
        raise {
            "lokma": BadRequest("there is no layer"),
            "engine": EngineError("refused", "Invalid"),
            "torch": torch.onnx.errors.OnnxExporterError("no such operator"),
            "odd": OddError(3, "odd text"),
            "key": KeyError("a"),
        }[name]

    for name, kind, text in (
        ("lokma", BadRequest, "there is no layer"),
        ("engine", EngineError, "refused"),
        ("torch", torch.onnx.errors.OnnxExporterError, "no such operator"),
        ("odd", RuntimeError, "odd text"),
        ("key", KeyError, "'a'"),
    ):
        with pytest.raises(kind) as raised:
            dict(processes.made([[name]], fails, 1))
        assert str(raised.value) == text
        assert "in fails" in raised.value.__notes__[0]
        if name == "engine":
            assert raised.value.code == "Invalid"


def test_a_process_that_dies_is_named_and_its_neighbour_is_ended(tmp_path):
    neighbour = tmp_path / "neighbour"

    def make(name):
        if name == "good":
            neighbour.write_text(str(os.getpid()))
            time.sleep(60)
        while not (neighbour.exists() and neighbour.read_text()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(EngineError, match=r"lowering bad stopped: it was ended by SIGKILL; .* memory runs out"):
        dict(processes.made([["good"], ["bad"]], make, 2))
    with pytest.raises(ProcessLookupError):
        os.kill(int(neighbour.read_text()), 0)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_processes_end_with_the_one_that_started_them(how, tmp_path):
    code = f"""
import os, pathlib, time
from export import processes
def make(name):
    pathlib.Path({str(tmp_path)!r}, name).write_text(str(os.getpid()))
    time.sleep(60)
print("started", flush=True)
dict(processes.made([["a"], ["b"]], make, 2))
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 30
    while not all((tmp_path / name).exists() and (tmp_path / name).read_text() for name in "ab"):
        assert time.monotonic() < until
        time.sleep(0.02)
    parent.send_signal(how)
    _, errors = parent.communicate(timeout=30)
    assert parent.returncode != 0 and errors.count("Traceback") == (1 if how == signal.SIGINT else 0)
    for name in "ab":
        process = int((tmp_path / name).read_text())
        while alive(process):
            assert time.monotonic() < until
            time.sleep(0.02)


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_small_model_or_one_core_or_cuda_stays_in_this_process(monkeypatch):
    monkeypatch.setattr(processes, "made", None)  # whoever calls it fails
    monkeypatch.setattr(lowering, "_called", lambda name, job: Lowered(name.encode(), {}))
    model = normed()
    assert hashlib.sha256(lowering.lower_all(jobs(model))["onnx-int8"].data)
    monkeypatch.setattr(lowering, "APART_FROM_BYTES", 0)
    monkeypatch.setattr(lowering, "usable_cores", lambda: 1)
    lowering.lower_all(jobs(model), fresh=True)
    monkeypatch.setattr(lowering, "usable_cores", lambda: 8)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    lowering.lower_all(jobs(model), fresh=True)
