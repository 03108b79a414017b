"""MLPerf's own LoadGen as our oracle: it offers the load, and both clocks take the time of the same queries.

>>> found = both_clocks(lambda given: ([given], {}), [1.0], min_duration_s=0.1, min_queries=10)  # doctest: +SKIP
>>> sorted(found)                                                                                # doctest: +SKIP
['loadgen', 'n', 'ours']
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_runtime import worker
from edge_runtime.errors import EngineError, Missing
from edge_runtime.measure import quantile

QUANTILES = {"p50": 0.5, "p90": 0.9}


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
        EngineError: LoadGen wrote no figures.
    """
    try:
        import mlperf_loadgen as loadgen
    except ImportError as error:
        raise Missing("the oracle is MLPerf's: pip install mlcommons-loadgen") from error
    ours: list[int] = []

    def issue(samples: Sequence[Any]) -> None:
        for sample in samples:
            ours.append(worker.answered(predict, inputs[sample.index], time.monotonic_ns())["total_ns"])
            loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(sample.id, 0, 0)])

    settings = loadgen.TestSettings()
    settings.scenario = loadgen.TestScenario.SingleStream
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms, settings.min_query_count = round(min_duration_s * 1000), min_queries
    with tempfile.TemporaryDirectory(prefix="lokma-loadgen-") as folder:
        log = loadgen.LogSettings()
        log.log_output.outdir, log.log_output.copy_summary_to_stdout = folder, False
        system = loadgen.ConstructSUT(issue, lambda: None)
        library = loadgen.ConstructQSL(len(inputs), len(inputs), lambda _: None, lambda _: None)
        try:
            loadgen.StartTestWithLogSettings(system, library, settings, log)
        finally:
            loadgen.DestroyQSL(library)
            loadgen.DestroySUT(system)
        summary = (Path(folder) / "mlperf_log_summary.txt").read_text(encoding="utf-8")
    return {
        "n": len(ours),
        "loadgen": _quantiles(summary),
        "ours": {k: quantile(ours, q) for k, q in QUANTILES.items()},
    }


def _quantiles(summary: str) -> dict[str, int]:
    """p50 and p90 of LoadGen's summary.

    >>> _quantiles("50.00 percentile latency (ns)   : 5\\n90.00 percentile latency (ns)   : 9\\n")
    {'p50': 5, 'p90': 9}
    """
    found = {}
    for name, q in QUANTILES.items():
        line = re.search(rf"^{q * 100:.2f} percentile latency \(ns\)\s*:\s*(\d+)", summary, re.MULTILINE)
        if line is None:
            raise EngineError(f"LoadGen's summary has no {name}: {summary[:200]!r}")
        found[name] = int(line[1])
    return found
