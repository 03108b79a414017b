import sys
import time
from pathlib import Path

import pytest

from edge_runtime import load
from edge_runtime.errors import EngineError
from edge_runtime.worker import STAGES, Worker, device, killed_by, peak_rss_bytes

READY = 'print(\'{"started": 1, "import": 2, "load": 3, "versions": {}}\', flush=True);'


def python(code):
    return Worker([sys.executable, "-c", code])


def test_a_worker_answers_as_the_runtime_does_and_measures_itself(policy):
    rows = policy.inputs.tolist()
    with device(policy.folder, "xnnpack-fp32", 1) as worker:
        ready = worker.ready()
        assert set(ready) == {"process", "import", "load"} and all(value > 0 for value in ready.values())
        answers = worker.ask(rows)
        assert worker.ask([]) == []
    here = load(policy.folder, "xnnpack-fp32")
    for row, answer in zip(rows, answers, strict=True):
        assert answer["values"] == pytest.approx(here.predict(row).values, rel=1e-6)
        assert set(answer["ns"]) == set(STAGES) and sum(answer["ns"].values()) <= answer["total_ns"]
    assert worker.cold["total"] > worker.cold["process"] + worker.cold["import"] + worker.cold["load"]
    assert worker.cold["first"] == answers[0]["total_ns"]
    assert 5e6 < worker.peak_rss_bytes < 80e6 and worker.cpu_ns > 0  # no numpy, no torch


def test_a_picture_is_asked_for_by_its_path(pictures, tmp_path):
    (tmp_path / "a.png").write_bytes(pictures.goldens[0])
    with device(pictures.zip, "onnx-int8", 1) as worker:
        (answer,) = worker.ask([str(tmp_path / "a.png")])
    assert answer["values"] == pytest.approx(load(pictures.folder, "onnx-int8").predict(pictures.goldens[0]).values)


def test_a_bundle_that_cannot_be_loaded_is_the_parents_error(tmp_path):
    with (
        device(tmp_path / "nowhere", "x", 1) as worker,
        pytest.raises(EngineError, match=r"stopped: .*does not exist"),
    ):
        worker.ready()


def test_a_bad_input_is_the_parents_error(policy):
    with (
        device(policy.folder, "xnnpack-fp32", 1) as worker,
        pytest.raises(EngineError, match="takes 4 numbers"),
    ):
        worker.ask([[1, 2]])


def test_a_child_that_dies_between_two_questions_is_an_error():
    with python(READY) as worker:
        worker.ready()
        worker._child.wait()
        with pytest.raises(EngineError, match="the measured process stopped: it said nothing"):
            worker.ask([1])


def test_a_child_that_a_signal_ended_names_it():
    with (
        python(
            "import os, signal, sys; sys.stderr.write('some chatter'); os.kill(os.getpid(), signal.SIGILL)"
        ) as worker,
        pytest.raises(EngineError, match="the measured process stopped: it was ended by SIGILL"),
    ):
        worker.ready()
    assert killed_by(0) is None and killed_by(3) is None and killed_by(-9999) == "it was ended by the signal 9999"


def test_a_child_that_cannot_be_started_is_an_error():
    with pytest.raises(EngineError, match="the measured process cannot be started: No such file or directory"):
        Worker(["/nowhere/python"])


@pytest.mark.parametrize("before", ["", READY])
def test_a_child_that_hangs_is_ended_when_its_time_is_up(before):
    start = time.monotonic()
    hangs = [sys.executable, "-c", before + "import time; time.sleep(60)"]
    with (
        Worker(hangs, patience_s=0.5) as worker,
        pytest.raises(EngineError, match=r"did not answer within 0\.5 s and was ended"),
    ):
        worker.ask([1])
    assert time.monotonic() - start < 20


def test_a_child_that_answers_in_time_lives_on(policy):
    with Worker([sys.executable, "-c", READY + "input(); print('{}')"]) as worker:
        worker.ready()
        worker._patience_s = 0.5  # not while it starts, which takes longer on an emulated board
        time.sleep(0.7)  # nothing is asked, so nothing is late
        assert worker._child.poll() is None


def test_a_plain_name_is_the_folder_that_was_meant(policy, monkeypatch):
    monkeypatch.chdir(policy.folder.parent)
    with device(Path(policy.folder.name), "xnnpack-fp32", 1) as worker:
        assert worker._child.args[3] == str(policy.folder)


def test_a_child_that_says_something_else_is_an_error():
    with (
        python("print('hello from a library')") as worker,
        pytest.raises(EngineError, match="said 'hello from"),
    ):
        worker.ready()


def test_a_child_that_fills_stderr_does_not_hang():
    with python("import sys; sys.stderr.write('warning ' * 100_000);" + READY) as worker:
        assert worker.ready()["load"] == 3


def test_a_child_is_ended_with_its_context():
    with pytest.raises(RuntimeError), python(READY + "import time; time.sleep(60)") as worker:
        start = time.monotonic()
        raise RuntimeError("a bug")
    assert worker._child.returncode is not None and time.monotonic() - start < 5


def test_peak_memory_is_this_process_own():
    assert 10e6 < peak_rss_bytes() < 10e9


SERVE = """
import time
from edge_runtime import worker
from edge_runtime.errors import NoAnswer
def predict(given):
    if given < 0:
        raise NoAnswer("the server said 429")
    time.sleep(given)
    return [given], {"inference": 1}
worker.serve(1, 1, {}, predict, AT_ONCE)
"""


def serving(at_once):
    return python(SERVE.replace("AT_ONCE", str(at_once)))


def test_what_arrives_while_another_is_in_work_waits_in_the_queue_and_its_time_counts_from_its_arrival():
    with serving(1) as worker:
        first, second = worker.ask([0.2, 0.0], [0, 50_000_000])
    assert first["total_ns"] >= 200e6 and second["total_ns"] >= 140e6
    assert second["ns"]["queue"] >= 140e6 and second["ns"]["queue"] > first["ns"]["queue"]


def test_a_child_that_may_work_on_two_at_once_lets_the_second_pass_the_first():
    with serving(2) as worker:
        first, second = worker.ask([1.0, 0.0], [0, 1_000_000])
    assert second["ended"] < first["ended"]


def test_one_input_without_an_answer_is_an_error_among_the_others_where_that_was_asked_for():
    with serving(1) as worker:
        answers = worker.ask([0, -1, 0], partial=True, energy=True)
        assert [sorted(answer) for answer in answers][1] == ["ended", "error", "total_ns"]
        assert answers[1]["error"] == "the server said 429" and answers[2]["values"] == [0]
        assert worker.spent["wall_ns"] > 0 and (worker.spent["joules"] or worker.spent["no_joules"])
        with pytest.raises(EngineError, match="could not answer: the server said 429"):
            worker.ask([-1])


def test_a_relay_passes_on_what_the_worker_behind_it_says_with_that_machines_cold_start(policy):
    command = [sys.executable, "-m", "edge_runtime.worker", "relay", str(policy.folder), "xnnpack-fp32", "1"]
    with Worker(command) as far:
        (answer,) = far.ask([policy.inputs.tolist()[0]])
        assert far.cold["total"] > far.cold["process"] + far.cold["import"] + far.cold["load"]
        assert far.cold["first"] == answer["total_ns"] and far.versions["executorch"]
