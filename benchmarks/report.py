"""From records to tables: what the terminal prints after a run, and RESULTS.md. Nothing here is typed by hand.

`python -m benchmarks.report results/reference.jsonl > RESULTS.md`
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from edge_runtime.measure import quantile, ratio_interval

Record = Mapping[str, Any]
NOISE_LIMIT = 0.05  # where an A/A interval leaves 1 by more than this, a latency tells nothing


def runs(records: Iterable[Record]) -> list[list[Record]]:
    """The bench records, grouped by the run that measured them together, oldest run first."""
    grouped: dict[str, list[Record]] = {}
    for entry in records:
        if entry["kind"] == "bench":
            grouped.setdefault(entry["scenario"]["run"], []).append(entry)
    return list(grouped.values())


def newest_runs(records: Iterable[Record]) -> list[list[Record]]:
    """The newest run of each bundle on each host."""
    latest = {(group[0]["bundle"]["name"], group[0]["host"]["fingerprint"]): group for group in runs(records)}
    return list(latest.values())


def ratios(one: Record, other: Record) -> dict[str, tuple[float, ...]]:
    """One system against another of the same run.

    Returns:
        `time to answer` as (ratio, lower, upper) over paired block medians; `cold start` likewise over
        paired processes; `peak memory` as (ratio,). A figure that was not measured is left out.
    """
    cold = [[start["total"] for start in entry["cold_start_ns"]] for entry in (one, other)]
    found: dict[str, tuple[float, ...]] = {
        "time to answer": ratio_interval(block_medians(one), block_medians(other)),
        "cold start": ratio_interval(cold[0], cold[1]),
    }
    if one["peak_rss_bytes"] and other["peak_rss_bytes"]:
        found["peak memory"] = (one["peak_rss_bytes"] / other["peak_rss_bytes"],)
    return found


def same_against_itself(entry: Record) -> tuple[float, ...]:
    """The A/A ratio: the later half of the passes over the same blocks against the earlier, with its interval."""
    medians = block_medians(entry)
    half = len(medians) // 2
    return ratio_interval(medians[half:], medians[:half])


def is_noisy(entry: Record) -> bool:
    """Whether the machine varied too much during a record's passes: the A/A interval leaves 0.95 to 1.05."""
    _, low, high = same_against_itself(entry)
    return low < 1 - NOISE_LIMIT or high > 1 + NOISE_LIMIT


def block_medians(entry: Record) -> list[float]:
    """The median latency of each block in nanoseconds, passes one after another."""
    size, latencies = entry["scenario"]["block"], entry["latency_ns"]
    a_pass = entry["scenario"]["inputs_a_pass"]
    passes = [latencies[i : i + a_pass] for i in range(0, len(latencies), a_pass)]
    return [quantile(part[i : i + size], 0.5) for part in passes for i in range(0, len(part), size)]


def table(group: Sequence[Record]) -> str:
    """One run as a Markdown table, a line a system."""
    head = ("system", "accuracy (95 %)", "p50", "p90", "cold start", "peak memory", "size")
    rows = [
        (
            f"{entry['artifact']['id']} ({entry['target']})",
            accuracy(entry["accuracy"]),
            _ms(entry["p50_ns"]),
            _ms(entry["p90_ns"]),
            f"{entry['cold_start_p50_ns']['total'] / 1e9:.2f} s",
            f"{entry['peak_rss_bytes'] / 1e6:.0f} MB" if entry["peak_rss_bytes"] else "not measured",
            f"{entry['artifact']['size_bytes'] / 1e6:.2f} MB",
        )
        for entry in group
    ]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def accuracy(found: Mapping[str, Any]) -> str:
    """An accuracy with n and its interval, in one phrase."""
    low, high = found["interval"]
    if found["metric"] == "top-1":
        return f"{found['value']:.1%} ({found['correct']} of {found['n']}; {low:.1%} to {high:.1%})"
    return f"mean return {found['value']:.1f} ({low:.1f} to {high:.1f}, {found['n']} episodes)"


def against_eager(group: Sequence[Record]) -> str:
    """The ratios of each device system against the eager baseline of the same run, as Markdown lines."""
    base = next((entry for entry in group if entry["target"] == "eager"), None)
    if base is None:
        return ""
    lines = []
    for entry in group:
        if entry is not base:
            said = ", ".join(f"{name} {_ratio(values)}" for name, values in ratios(entry, base).items())
            lines.append(f"- {entry['artifact']['id']} against eager: {said}")
    noise = _ratio(same_against_itself(base))
    return "\n".join(
        [*lines, f"- the machine's own variation (eager's later passes against its earlier ones): {noise}"]
    )


def document(records: Sequence[Record]) -> str:
    """RESULTS.md."""
    parts = [
        "# Results\n\nGenerated by `make docs` from `results/reference.jsonl`; raw samples are in the records. "
        "Each system ran in its own process, in turn by blocks; ratios carry 95 % intervals. "
        "Absolute times are this machine's and vary; ratios of the same run are what to compare.\n"
    ]
    for group in newest_runs(records):
        first = group[0]
        host, data = first["host"], first["accuracy"]["data"]
        flags = "; ".join(first["validity"]["flags"]) or "none"
        parts.append(
            f"## {first['bundle']['name']}, version {first['bundle']['version']}\n\n"
            f"{host['cpu']}, {host['cores']} cores, {first['scenario']['threads']} threads, {host['system']}, "
            f"{first['time']}. Data: {data['name']}"
            f"{', the test side' if data.get('split') else ', seeded episodes'}. Flags: {flags}.\n\n"
            f"{table(group)}\n\n{against_eager(group)}\n"
        )
    return "\n".join(parts)


def _ms(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.1f} ms" if nanoseconds >= 1e6 else f"{nanoseconds / 1e3:.0f} µs"


def _ratio(values: Sequence[float]) -> str:
    return f"{values[0]:.2f}x" + (f" ({values[1]:.2f} to {values[2]:.2f})" if len(values) == 3 else "")


def main(argv: list[str]) -> int:
    """Writes the document of one file of records to stdout."""
    if len(argv) != 1 or not Path(argv[0]).is_file():
        sys.stderr.write("usage: python -m benchmarks.report RECORDS.jsonl   (the file must exist)\n")
        return 2
    from benchmarks import runtime_budget, zoo_budget  # they read this module's ratios

    records = results.read(Path(argv[0])).records
    parts = (document(records), runtime_budget.markdown(records), zoo_budget.markdown(records))
    sys.stdout.write("\n".join(filter(None, parts)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
