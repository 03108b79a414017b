import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import forks_study
from benchmarks.compare import pinned
from benchmarks.forks import Forks, forks
from edge_runtime import examples, worker
from edge_runtime.bundle import open_bundle
from edge_runtime.errors import BadRequest, EngineError
from edge_runtime.worker import Worker

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux forks its measured processes")
SAYS = """
import ctypes, json, os, sys, threading
def place(size):
    return ctypes.addressof(ctypes.c_char.from_buffer(bytearray(size)))
print(json.dumps({"versions": {}, "started": 0, "import": 0, "load": 0}), flush=True)
for line in sys.stdin:
    here = {"pid": os.getpid(), "parent": os.getppid(), "cores": sorted(os.sched_getaffinity(0)), "argv": sys.argv,
            "threads": threading.active_count(), "places": [place(40_000), place(4_000_000)],
            "open": [os.path.basename(os.path.realpath(f"/proc/self/fd/{one}")) for one in range(3, 64)]}
    print(json.dumps({"answers": [{**here, "total_ns": 1, "ended": 0}], "peak_rss_bytes": 0, "cpu_ns": 0}), flush=True)
"""


@pytest.fixture(scope="module")
def popen():
    with forks() as popen:
        yield popen


def said(popen, *arguments):
    with Worker([sys.executable, "-c", SAYS, *arguments], popen=popen) as child:
        return child.ask([0])[0]


@pytest.mark.parametrize("artifact", ["onnx-fp32", "xnnpack-int8"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_process_answers_as_a_fresh_one_to_the_bit(artifact, threads, popen):
    bundle, picture = examples.path("digits.zip"), str(examples.path("seven.png"))
    answers = []
    for start in (popen, subprocess.Popen):
        with worker.device(bundle, artifact, threads, popen=start) as child:
            answers.append([one["values"] for one in child.ask([picture] * 3)])
            assert set(child.versions) & {"onnxruntime", "executorch"}
    assert answers[0] == answers[1]
    assert {one.id for one in open_bundle(bundle).artifacts} >= {artifact}


def test_each_is_a_process_of_its_own_with_its_arguments_and_nothing_of_its_sisters(popen):
    one, other = said(popen, "a"), said(popen, "b")
    assert one["pid"] != other["pid"] and one["parent"] == other["parent"] not in (os.getpid(), one["pid"])
    assert (one["argv"], other["argv"]) == (["-c", "a"], ["-c", "b"])
    assert one["threads"] == 1
    assert not [name for name in other["open"] if "socket" in name or "pipe" in name]


def test_its_memory_lies_elsewhere_than_its_sisters(popen):
    places = [said(popen)["places"] for _ in range(6)]
    assert [len({one[kind] for one in places}) >= 4 for kind in range(2)] == [True, True]


def test_it_keeps_to_the_cores_that_it_was_started_on(popen):
    with pinned(1):
        mine = sorted(os.sched_getaffinity(0))
        assert said(popen)["cores"] == mine
    assert said(popen)["cores"] == sorted(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os.kill(os.getpid(), 11)", "stopped: it was ended by SIGSEGV"),
        ("raise ValueError('no such thing')", "stopped: ValueError: no such thing"),
        ("import sys; sys.exit('left early')", "stopped: SystemExit: left early"),
    ],
)
def test_what_ends_it_is_told(code, said, popen):
    with Worker([sys.executable, "-c", code], popen=popen) as child, pytest.raises(EngineError, match=said):
        child.ready()


def test_a_bundle_that_is_not_there_is_the_workers_own_sentence(popen):
    missing = examples.path("digits.zip").with_name("none.zip")
    with worker.device(missing, "onnx-fp32", 1, popen=popen) as child, pytest.raises(EngineError, match=r"none\.zip"):
        child.ready()


def test_one_that_hangs_is_ended(popen):
    child = Worker([sys.executable, "-c", "import time; time.sleep(60)"], 0.2, popen)
    with pytest.raises(EngineError, match=r"did not answer within 0.2 s and was ended"):
        child.ready()
    child.close()
    assert child._child.wait(5) == -signal.SIGKILL


def test_a_server_that_is_gone_is_an_error_and_not_a_wait():
    server = Forks()
    server._server.kill()
    server._server.wait()
    with pytest.raises(EngineError, match="the process that forks the measured ones is gone"):
        Worker([sys.executable, "-c", SAYS], popen=server.popen)
    server.close()


def test_the_server_and_what_it_forked_end_with_the_process_that_asked():
    code = (
        "import os, sys, signal\n"
        "from benchmarks.forks import Forks\n"
        "from edge_runtime.worker import Worker\n"
        "server = Forks()\n"
        f"child = Worker([sys.executable, '-c', {SAYS!r}], popen=server.popen)\n"
        "child.ready()\n"
        "print(server._server.pid, child._child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    left = [int(number) for number in done.stdout.split()]
    assert len(left) == 2
    end = time.monotonic() + 30
    while any(map(_runs, left)) and time.monotonic() < end:
        time.sleep(0.01)
    assert not any(map(_runs, left))


def _runs(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_forked_pairs_that_differ_less_than_fresh_ones_do_not_hold():
    fresh = [0.02 * (-1) ** number + 0.001 * number / 80 for number in range(80)]
    alike = forks_study.spread_row(fresh, fresh[::-1])
    assert (alike["holds"], alike["value"]) == (True, pytest.approx(1.0))
    surer = forks_study.spread_row(fresh, [value / 2 for value in fresh])
    assert (surer["holds"], surer["value"]) == (False, pytest.approx(2.0))
    with pytest.raises(BadRequest, match="29 pairs of processes do not show how far they spread; give 30 or more"):
        forks_study.study(29)
