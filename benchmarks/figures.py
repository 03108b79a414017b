"""From what a system answered to the figures of its record: latencies, stages, quantiles, processor, energy, accuracy.

A figure that cannot be had is None, with its reason.

>>> latency_figures([5_000_000] * 150, 150)[1]
{'p99_ns': '150 latencies; p99 needs 299 at least', 'p99_interval_ns': '150 latencies; its interval needs 368'}
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import accuracy
from benchmarks.evaluation import Work
from benchmarks.passes import Measured
from edge_runtime import host
from edge_runtime.bundle import Bundle
from edge_runtime.measure import quantile, quantile_interval, repeated_quantile_interval

STAGES = ("decode", "preprocess", "queue", "network", "inference", "postprocess", "retry")
MIN_P99, MIN_P99_INTERVAL = 299, 368  # 0.99**n < 0.05, one-sided; two-sided
MANY = 20_000  # above it p50's interval is that of order statistics too: drawing again would take minutes
SPINS, OVER = 0.1, 1.25  # of a core while asked nothing; of the processor time that its threads can use


def kept(found: Measured, inputs: int) -> tuple[list[list[dict[str, Any]]], list[int]]:
    """The whole passes, an even number where there are two, and the inputs that were answered in each of them.

    Where not even one pass is whole, what there is of it counts.
    """
    passes = [one for one in found.passes if len(one) == inputs]
    passes = passes[: len(passes) - len(passes) % 2] if len(passes) > 1 else passes or found.passes[:1]
    width = min(map(len, passes), default=0)
    answered = [index for index in range(width) if all("error" not in one[index] for one in passes)]
    return passes, answered


def latencies_of(found: Measured, inputs: int) -> tuple[list[int], int]:
    """Nanoseconds, one pass after another, and how many a pass."""
    if found.offered:
        latencies = [answer["total_ns"] for answer in found.offered if "error" not in answer]
        return latencies, len(latencies)
    passes, answered = kept(found, inputs)
    return [one[index]["total_ns"] for one in passes for index in answered], len(answered)


def latency_figures(latencies: Sequence[int], inputs: int) -> tuple[dict[str, Any], dict[str, str]]:
    """p99 and the intervals of the quantiles; p50's counts the repeats of an input as one, where they are not many."""
    n = len(latencies)
    repeated = n <= MANY and inputs and n % inputs == 0 and n > inputs
    p50 = repeated_quantile_interval(latencies, inputs, 0.5) if repeated else quantile_interval(latencies, 0.5)
    p99 = quantile(latencies, 0.99) if n >= MIN_P99 else None
    wide = quantile_interval(latencies, 0.99) if n >= MIN_P99_INTERVAL else None
    reasons = {}
    if p99 is None:
        reasons["p99_ns"] = f"{n} latencies; p99 needs {MIN_P99} at least"
    if wide is None:
        reasons["p99_interval_ns"] = f"{n} latencies; its interval needs {MIN_P99_INTERVAL}"
    figures = {"p50_interval_ns": p50, "p90_interval_ns": quantile_interval(latencies, 0.9), "p99_ns": p99}
    return {**{key: list(value) if isinstance(value, tuple) else value for key, value in figures.items()},
            "p99_interval_ns": None if wide is None else list(wide)}, reasons  # fmt: skip


def stages_of(found: Measured, inputs: int) -> dict[str, float]:
    """The median nanoseconds of each stage that the system told."""
    passes, answered = kept(found, inputs)
    answers = [answer for answer in found.offered if "error" not in answer]
    answers = answers or [one[index] for one in passes for index in answered]
    told = [stage for stage in STAGES if any(stage in answer["ns"] for answer in answers)]
    return {stage: quantile([answer["ns"].get(stage, 0) for answer in answers], 0.5) for stage in told}


def spent_of(found: Measured, threads: int) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Processor time, energy and throughput a query; why not; and what looks wrong with the threads."""
    n = found.answered
    seconds = found.wall_ns / 1e9
    share = found.cpu_ns / max(1, found.wall_ns)
    spins = found.idle_cpu_ns / max(1, found.idle_ns)
    figures = {
        "cpu": {
            "ns_a_query": round(found.cpu_ns / max(1, n)),
            "cores_used": round(share, 3),
            "idle_cores_used": round(spins, 3),
            "threads": threads,
        },
        "throughput_a_second": round(n / seconds, 3) if seconds else None,
        "energy_joules": found.joules / n if found.joules is not None and n else None,
    }
    flags = []
    if share > OVER * threads:
        flags.append(f"oversubscribed: it used {share:.1f} cores with {threads} threads")
    if found.idle_ns > 5e8 and spins > SPINS:
        flags.append(f"spinning: it used {spins:.0%} of a core while it was asked nothing")
    if threads > host.usable_cores():
        flags.append(f"{threads} threads on {host.usable_cores()} cores")
    reasons = {} if figures["energy_joules"] is not None else {"energy_joules": found.no_joules or "not measured"}
    return figures, reasons, flags


def unanswered(found: Measured) -> dict[str, Any] | None:
    """How many queries got no answer, and why; None where all did."""
    if not found.errors:
        return None
    asked = found.answered + len(found.errors)
    return {"n": len(found.errors), "of": asked, "kinds": dict(Counter(found.errors).most_common(5))}


def judged(bundle: Bundle, found: Measured, work: Work) -> dict[str, Any] | None:
    """The accuracy on what was answered, from the same answers that were timed; None where none was."""
    data = dict(work.data)
    if bundle.spec.task == "policy":
        if not found.returns:
            return None
        from train.episodes import RETURNS

        return {**accuracy.returns(found.returns, RETURNS), "data": data}
    rows: dict[int, Any] = {}
    numbered = [(index, answer) for one in found.passes for index, answer in enumerate(one)]
    for index, answer in numbered or zip(found.offered_inputs, found.offered, strict=True):
        if "error" not in answer:
            rows.setdefault(index, answer["values"])
    chosen = sorted(rows)
    if not chosen or not work.labels:
        return None
    labels = [label.id for label in bundle.spec.labels]
    judgement = accuracy.judged(
        bundle.spec.task, [rows[index] for index in chosen], [work.labels[index] for index in chosen], labels
    )
    names = work.names
    inputs = {"inputs": [names[index] for index in chosen]} if names else {}
    return {**judgement, **inputs, "data": data}


def cold_medians(cold: Sequence[Mapping[str, int]]) -> dict[str, int] | None:
    """Of process, import, load, first and total; None where none was started."""
    if not cold:
        return None
    return {key: statistics.median_low([entry[key] for entry in cold]) for key in cold[0]}
