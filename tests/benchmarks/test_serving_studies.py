import asyncio
import re
import socket
from pathlib import Path

import numpy as np
import pytest

from benchmarks import serving_budget, serving_studies
from benchmarks.cloud import protocol
from benchmarks.cloud.limits import Limits
from benchmarks.cloud.load import http_request, offered, silent
from benchmarks.cloud.models import Batching
from benchmarks.paired import row
from edge_runtime.errors import EngineError, Missing
from tests.benchmarks.serving import serving


def test_requests_at_a_fixed_rate_are_answered_or_refused_and_counted(policy):
    with serving(policy.folder, artifact="onnx-fp32", batching=Batching(1, queue=1)) as server:
        takes = server.models.find(None).takes
        sent = protocol.write_request(np.zeros(4, np.float32), 1, takes, binary=True)
        request = http_request("/v2/models/tiny-balance/infer", *sent)
        said = asyncio.run(serving_studies._overloaded(server.port, request, 100, 0.5))
    assert said["failed"] == 0 and 40 <= said["accepted"] + said["rejected"] <= 50
    assert 0 < said["accepted_p50_ms"] <= said["accepted_max_ms"]


@pytest.fixture(scope="module")
def asked(policy):
    with serving(policy.folder, artifact="onnx-fp32", limits=Limits(read_s=0.6, connections=60)) as server:
        takes = server.models.find(None).takes
        sent = protocol.write_request(np.zeros(4, np.float32), 1, takes, binary=True)
        yield server.port, http_request("/v2/models/tiny-balance/infer", *sent)


def test_what_fails_under_a_load_is_counted_where_it_may_and_an_error_where_it_may_not(asked):
    port, request = asked
    wrong = request.replace(b"tiny-balance/infer", b"tiny-nothing/infer")
    assert offered(port, [request] * 7, 3).lost == 0
    came = offered(port, [request, wrong, request, wrong], 2, may_fail=True)
    assert (len(came.latency_ns), came.lost, [index for index, *_ in sorted(came.bodies)]) == (2, 2, [0, 2])
    with pytest.raises(EngineError, match="a request was lost: the server answered 404"):
        offered(port, [wrong], 1)


def test_a_load_on_a_port_where_nothing_listens_is_lost_and_has_no_rate():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    came = offered(port, [b""], 1, 0.1, may_fail=True)
    assert came.lost > 0 and came.ns_per_answer == float("inf")


def test_silent_connections_are_sent_away_while_one_that_asks_is_answered(asked):
    came = asyncio.run(silent(*asked, 100))
    assert came.statuses == {"503": 41, "408": 59}  # of 60 the first asks
    assert came.lost == 0 and len(came.latency_ns) > 3


def test_the_newest_record_of_the_budget_is_shown_with_its_age():
    def entry(kind, value):
        rows = [row("answers", value, 9, True, 9)]
        return {"kind": kind, "scenario": {"budget": "serving"}, "rows": rows, "time": "monday", "commit": "abc"}

    (shown,) = serving_budget.recorded([entry("budget", 1), entry("budget", 9), entry("study", 0)])
    assert (shown["value"], shown["note"]) == (9, "measured monday at abc")
    assert serving_budget.recorded([]) == []


def test_the_newest_record_of_a_study_is_shown_with_its_age_and_what_was_not_run_with_its_command():
    def entry(value, time):
        scenario = {"budget": "serving", "study": "kill"}
        return {"scenario": scenario, "rows": [row("lost", value, 0, True, 9, "ok")], "time": time, "commit": "abc"}

    rows = serving_studies.recorded([entry(1, "monday"), entry(0, "tuesday")])
    by_name = {one["name"]: one for one in rows}
    assert by_name["lost"]["value"] == 0 and by_name["lost"]["note"] == "ok; measured tuesday at abc"
    assert by_name["soak"]["holds"] is None
    assert by_name["soak"]["note"] == "not run: python -m benchmarks.serving_studies soak"


def test_make_names_only_studies_that_exist():
    makefile = (Path(__file__).resolve().parents[2] / "Makefile").read_text()
    named = re.search(r"for study in ([a-z ]+);", makefile).group(1).split()
    assert {*named, "soak"} == set(serving_studies.STUDIES)


def test_kserve_without_its_environment_says_what_makes_it(monkeypatch):
    monkeypatch.setattr(serving_studies, "KSERVE", Path("nowhere") / "python")
    with pytest.raises(Missing, match="make client-kserve makes it"):
        serving_studies.kserve()
