import asyncio
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import serving_studies
from benchmarks.cloud import protocol
from benchmarks.cloud.load import http_request
from benchmarks.cloud.models import Batching
from benchmarks.paired import row
from edge_runtime.errors import Missing
from tests.benchmarks.serving import serving


def test_requests_at_a_fixed_rate_are_answered_or_refused_and_counted(policy):
    with serving(policy.folder, artifact="onnx-fp32", batching=Batching(1, queue=1)) as server:
        takes = server.models.find(None).takes
        sent = protocol.write_request(np.zeros(4, np.float32), 1, takes, binary=True)
        request = http_request("/v2/models/tiny-balance/infer", *sent)
        said = asyncio.run(serving_studies._overloaded(server.port, request, 100, 0.5))
    assert said["failed"] == 0 and 40 <= said["accepted"] + said["rejected"] <= 50
    assert 0 < said["accepted_p50_ms"] <= said["accepted_max_ms"]


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
