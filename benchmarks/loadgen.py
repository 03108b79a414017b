"""MLPerf's own LoadGen as our oracle: it offers the load of a scenario of ours, and says what it asked and judged.

>>> found = both_clocks(lambda given: ([given], {}), [1.0], min_duration_s=0.1, min_queries=10)  # doctest: +SKIP
>>> sorted(found)                                                                                # doctest: +SKIP
['loadgen', 'n', 'ours']
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.scenarios import Scenario
from edge_runtime import worker
from edge_runtime.errors import Missing
from edge_runtime.measure import quantile

QUANTILES = {"p50": 0.5, "p90": 0.9}


@dataclass(frozen=True)
class Observed:
    """A run of LoadGen: `said` are the keys of its detail log; the rest, a query each, only of a traced run."""

    said: dict[str, Any]
    at_ns: list[int]  # when it was to arrive, from the first on
    samples: list[int]
    latencies_ns: list[int]


def observed(
    scenario: Scenario,
    inputs: int,
    issue: Callable[[Sequence[tuple[int, int]]], None],
    flush: Callable[[], None] = lambda: None,
    traced: bool = True,
) -> Observed:
    """Runs LoadGen over a scenario of ours.

    Args:
        scenario: what it offers.
        inputs: how many it draws from.
        issue: takes the queries that it sends together, each its id and its input's number; `complete` answers one.
        flush: called when the last is sent.
        traced: note each query, which costs it time.

    Raises:
        Missing: mlcommons-loadgen is not installed.
    """
    loadgen = _loadgen()
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, scenario.name)
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms, settings.min_query_count = round(scenario.min_duration_s * 1000), scenario.min_queries
    settings.server_target_latency_ns = scenario.bound_ns
    if scenario.qps is not None:
        settings.server_target_qps = settings.offline_expected_qps = scenario.qps
    with tempfile.TemporaryDirectory(prefix="lokma-loadgen-") as folder:
        log = loadgen.LogSettings()
        log.log_output.outdir, log.log_output.copy_summary_to_stdout, log.enable_trace = folder, False, traced
        system = loadgen.ConstructSUT(lambda asked: issue([(one.id, one.index) for one in asked]), flush)
        library = loadgen.ConstructQSL(inputs, inputs, lambda _: None, lambda _: None)
        try:
            loadgen.StartTestWithLogSettings(system, library, settings, log)
        finally:
            loadgen.DestroyQSL(library)
            loadgen.DestroySUT(system)
        return _read(Path(folder))


def complete(query: int) -> None:
    """Tells LoadGen that a query is answered."""
    loadgen = _loadgen()
    loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(query, 0, 0)])


def both_clocks(
    predict: worker.Predict, inputs: Sequence[Any], min_duration_s: float, min_queries: int
) -> dict[str, Any]:
    """Runs LoadGen's SingleStream over a function.

    Args:
        predict: input to (values, stages), as `edge_runtime.worker.serve` takes it.
        inputs: LoadGen draws from them.
        min_duration_s: of the run.
        min_queries: of the run.

    Returns:
        `{"n", "loadgen": {"p50", "p90"}, "ours": {"p50", "p90"}}` in nanoseconds.

    Raises:
        Missing: mlcommons-loadgen is not installed.
    """
    ours: list[int] = []

    def issue(queries: Sequence[tuple[int, int]]) -> None:
        for query, index in queries:
            ours.append(worker.answered(predict, inputs[index], time.monotonic_ns())["total_ns"])
            complete(query)

    said = observed(Scenario("SingleStream", min_duration_s, min_queries), len(inputs), issue, traced=False).said
    return {
        "n": len(ours),
        "loadgen": {k: said[f"result_{q * 100:.2f}_percentile_latency_ns"] for k, q in QUANTILES.items()},
        "ours": {k: quantile(ours, q) for k, q in QUANTILES.items()},
    }


def _loadgen() -> Any:
    try:
        import mlperf_loadgen
    except ImportError as error:
        raise Missing("the oracle is MLPerf's: pip install mlcommons-loadgen") from error
    return mlperf_loadgen


def _read(folder: Path) -> Observed:
    """LoadGen's logs: the detail is a JSON a line, and of the trace each line with a sample's begin is one too."""
    detail = (folder / "mlperf_log_detail.txt").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line.removeprefix(":::MLLOG ")) for line in detail]
    trace = (folder / "mlperf_log_trace.json").read_text(encoding="utf-8").splitlines()
    samples = [json.loads(line.rstrip(",")) for line in trace if '"name":"Sample"' in line and '"ph":"b"' in line]
    samples.sort(key=lambda one: one["args"]["sample_seq"])
    at_ns = [round(one["ts"] * 1000) for one in samples]  # it writes microseconds
    return Observed(
        {entry["key"]: entry["value"] for entry in entries},
        [at - at_ns[0] for at in at_ns],
        [one["args"]["sample_idx"] for one in samples],
        [one["args"]["complete_ns"] for one in samples],
    )
