"""The benchmarks' own budget: what measuring adds, and whether its figures can be trusted.

`python -m benchmarks.bench_budget [--json]` measures the driver's own overhead and sets it beside MLPerf's LoadGen
(about a minute), reads the newest record of each long study, which are commands of their own, with its age, appends
one record, prints each row and exits 1 where one does not hold.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from benchmarks import budget, results
from benchmarks.environment import as_installed, busy, host
from benchmarks.loadgen import QUANTILES, both_clocks
from benchmarks.paired import Row, row
from benchmarks.results import crash
from edge_runtime import examples, load, worker
from edge_runtime.errors import Missing
from edge_runtime.measure import quantile, quantile_interval

MAX_OVERHEAD_US, MAX_APART = 150.0, 0.02
QUERIES, BLOCK, REPEATS = 4000, 100, 3
ORACLE_S, ORACLE_QUERIES, ENGINE_S = 6.0, 500, 0.002
APPENDS, PROCESSES = 10_000, 8
NULL = """
from edge_runtime import worker
worker.serve(1, 1, {}, lambda given: ((0.0,), {}))
"""
# the name of a study (or long budget) in its records: the command that makes them, and what its rows are about
STUDIES = {
    "aa": ("make aa", "compare against itself: 200 A/A and 100 A/B comparisons"),
    "forks": ("python -m benchmarks.forks_study", "compare's forked processes differ as fresh ones do"),
    "records": ("python -m benchmarks.results speed", "the main table over 20,000 and 1,000,000 records"),
    "break-even": ("python -m benchmarks.break_even", "the break-even sentence against the measured crossing"),
}


def overhead() -> list[Row]:
    """What a query costs above the engine: a process that answers at once, asked as systems are asked.

    Each block's wall time here, divided by its queries: the lines there and back, JSON, and the clocks.
    """
    a_query = []
    with worker.Worker([sys.executable, "-c", NULL]) as child:
        child.ask([[0.0]] * BLOCK)
        for _ in range(QUERIES // BLOCK * REPEATS):
            began = time.monotonic_ns()
            child.ask([[0.0]] * BLOCK, partial=True, energy=True)
            a_query.append((time.monotonic_ns() - began) / BLOCK / 1e3)
    value, interval = quantile(a_query, 0.5), quantile_interval(a_query, 0.5)
    note = f"µs; 95 %: {interval[0]:.1f} to {interval[1]:.1f}; blocks of {BLOCK}" if interval else "µs"
    holds = interval is not None and interval[1] <= MAX_OVERHEAD_US
    return [row("own overhead a query on a null engine", value, MAX_OVERHEAD_US, holds, len(a_query) * BLOCK, note)]


def oracle() -> list[Row]:
    """LoadGen's p50 and p90 against ours, of the same queries, both clocks in one run.

    On an engine of 2 ms, and on the example's artifact, which takes 0.1 ms or so: there the oracle's own way counts.
    """
    predictor = load(examples.path("digits.zip"))

    def slept(seconds: Any) -> tuple[Sequence[float], Mapping[str, int]]:
        time.sleep(seconds)
        return (0.0,), {}

    def digits(given: Any) -> tuple[Sequence[float], Mapping[str, int]]:
        answer = predictor.predict(given)
        return answer.values, {}

    pictures = [str(examples.path("seven.png"))]
    systems: dict[str, tuple[worker.Predict, Sequence[Any]]] = {
        f"a {ENGINE_S * 1e3:g} ms engine": (slept, [ENGINE_S]),
        "a picture of digits": (digits, pictures),
    }
    rows = []
    for name, (predict, inputs) in systems.items():
        try:
            found = both_clocks(predict, inputs, ORACLE_S, ORACLE_QUERIES)
        except Missing as error:
            return [row("LoadGen's p50 and p90 against ours", None, MAX_APART, None, 0, str(error))]
        for key in QUANTILES:
            theirs, ours = found["loadgen"][key], found["ours"][key]
            apart = abs(theirs - ours) / theirs
            note = f"LoadGen {theirs / 1e3:.1f} µs, ours {ours / 1e3:.1f} µs"
            title = f"LoadGen's {key} against ours, {name}"
            rows.append(row(title, apart, MAX_APART, apart <= MAX_APART, found["n"], note))
    predictor.close()
    return rows


def crashes() -> list[Row]:
    """Appends from processes that are killed at random moments: acknowledged lines that were lost."""
    found = crash.crash(APPENDS, PROCESSES)
    title = f"acknowledged records lost, {PROCESSES} processes killed at random"
    return [row(title, found.lost, 0, found.holds, found.appends, str(found))]


def studies(records: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The rows of each long study's newest record here, with its age; one that was never run holds nothing."""
    here = host()["fingerprint"]
    found: list[Row] = []
    for name, (command, about) in STUDIES.items():
        known = [
            entry
            for entry in records
            if name in (entry["scenario"].get("study"), entry["scenario"].get("budget")) and entry.get("rows")
            and entry["host"].get("fingerprint") == here
        ]  # fmt: skip
        if not known:
            found.append(row(about, None, None, None, 0, f"no record on this machine: {command}"))
            continue
        newest = known[-1]
        age = f"{_age(newest['time'])} old, commit {str(newest.get('commit'))[:12]}"
        for one in newest["rows"]:
            said = "; ".join(filter(None, [str(one.get("note") or ""), age]))
            found.append(
                row(one["name"], one.get("value"), one.get("bound"), one.get("holds"), one.get("n") or 0, said)
            )
    return found


def _age(stamp: str) -> str:
    """How long ago, in the unit that fits."""
    hours = (datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds() / 3600
    return f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.1f} hours"


def measured() -> Iterator[Row]:
    """The rows that are measured now; they are recorded."""
    flags, rows = busy(), []
    groups: tuple[Callable[[], list[Row]], ...] = (overhead, oracle, crashes)
    for group in groups:
        for one in group():
            if flags and one["holds"] is False:
                one = {**one, "holds": None, "note": f"{'; '.join(flags)}; {one['note']}"}
            rows.append(one)
            yield one
    budget.keep(budget.record({"budget": "bench", "run": uuid.uuid4().hex}, rows, flags))


def main(argv: list[str]) -> int:
    """Prints the rows; 1 where one does not hold, or a study was never run."""
    args = budget.parser("bench_budget", __doc__).parse_args(argv)
    as_installed()

    def rows() -> Iterator[Row]:
        yield from measured()
        yield from studies(results.read().records)

    return budget.answered("bench_budget", lambda: budget.show(rows(), args.json))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
