"""MLPerf's LoadGen runs our functions; how near the clocks are is a row of the budget, not a test."""

import time

import pytest

from benchmarks.loadgen import both_clocks
from benchmarks.scenarios import Scenario

pytest.importorskip("mlperf_loadgen", reason="the oracle is MLPerf's: pip install mlcommons-loadgen")


def test_loadgen_and_we_time_the_same_queries_and_it_keeps_the_same_minima():
    def predict(given):
        time.sleep(0.001)
        return [given], {}

    found = both_clocks(predict, [1.0, 2.0], min_duration_s=0.2, min_queries=20)
    assert Scenario(min_duration_s=0.2, min_queries=20).is_met(0.2, found["n"])
    assert found["ours"]["p50"] >= 1e6 and found["loadgen"]["p50"] >= found["ours"]["p50"]
    assert found["loadgen"]["p90"] >= found["loadgen"]["p50"]
