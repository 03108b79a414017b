"""From records to tables: what the terminal prints after a run, and RESULTS.md. Nothing here is typed by hand.

`python -m benchmarks.report results/reference.jsonl > RESULTS.md`
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results, tables
from benchmarks.tables import Record, grid_of
from edge_runtime.measure import quantile, ratio_interval

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
    found: dict[str, tuple[float, ...]] = {}
    if _same_blocks(one, other):
        mine, theirs = block_medians(one), block_medians(other)
        found["time to answer"] = ratio_interval(mine[: len(theirs)], theirs[: len(mine)])
    cold = [[start["total"] for start in entry["cold_start_ns"] if "total" in start] for entry in (one, other)]
    if pairs := min(map(len, cold)):
        found["cold start"] = ratio_interval(cold[0][:pairs], cold[1][:pairs])
    if one["peak_rss_bytes"] and other["peak_rss_bytes"]:
        found["peak memory"] = (one["peak_rss_bytes"] / other["peak_rss_bytes"],)
    return found


def same_against_itself(entry: Record) -> tuple[float, ...]:
    """The A/A ratio: the later half of the passes over the same blocks against the earlier, with its interval."""
    medians = block_medians(entry)
    half = len(medians) // 2
    return ratio_interval(medians[half : 2 * half], medians[:half]) if half else (1.0, 0.0, math.inf)


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


def _same_blocks(one: Record, other: Record) -> bool:
    """Whether both answered the same inputs in the same blocks, in turn: only then can their times be paired."""
    keys = ("name", "block", "inputs_a_pass", "run")
    return all(one["scenario"].get(key) == other["scenario"].get(key) for key in keys)


def table(group: Sequence[Record]) -> str:
    """One run as Markdown: what each system reached, a line a system."""
    return tables.systems(group)


def whole(records: Sequence[Record]) -> str:
    """What the terminal shows after `lokma bench`: each bundle's tables, the comparison, and every doubt."""
    parts = []
    for group in _by_bundle(records):
        first = group[0]
        host = first["host"]
        where = f"{host.get('cpu')}, {first['scenario'].get('threads', '?')} threads"
        parts.append(f"{first['bundle']['name']}, version {first['bundle'].get('version')}, on {where}\n")
        parts.append(tables.systems(group) + "\n")
        if stages := tables.where_time_goes(group):
            parts.append(f"Where the time goes (medians):\n\n{stages}\n")
        parts += [f"{text}\n" for text in (against_eager(group), _sustained(group), doubts(group)) if text]
    return "\n".join(parts).rstrip()


def doubts(group: Sequence[Record]) -> str:
    """What the reader must know of the figures, each once, with whom it is about."""
    said: dict[str, list[str]] = {}
    for entry in group:
        flags = [] if entry.get("failure") and not entry["latency_ns"] else entry["validity"].get("flags", [])
        reasons = [f"{key}: {why}" for key, why in (entry.get("null_reasons") or {}).items() if key != "latency_ns"]
        for line in [*flags, *reasons, *(entry.get("notes") or [])]:
            said.setdefault(str(line), []).append(tables.name_of(entry))
    whom = {line: "all" if len(names) == len(group) > 1 else ", ".join(names) for line, names in said.items()}
    return "\n".join(f"- {line} [{whom[line]}]" for line in said)


def _by_bundle(records: Sequence[Record]) -> list[list[Record]]:
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for entry in records:
        groups.setdefault((entry["bundle"]["name"], entry["bundle"].get("version")), []).append(entry)
    return list(groups.values())


def _sustained(group: Sequence[Record]) -> str:
    lines = []
    for entry in group:
        if (found := entry.get("sustained")) and len(found["minutes"]) > 1:
            ratio = _ratio(found["last_against_first"])
            after = found["throttling"].get("after", "not known")
            minutes = f"minute {len(found['minutes'])} against minute 1: {ratio}"
            lines.append(f"- {tables.name_of(entry)}, {minutes}; throttling: {after}")
    return "\n".join(lines)


def against_eager(group: Sequence[Record]) -> str:
    """The ratios of each device system against the eager baseline of the same run, as Markdown lines."""
    base = next((entry for entry in group if entry["target"] == "eager" and entry["latency_ns"]), None)
    if base is None:
        return ""
    lines = []
    for entry in group:
        if entry is not base and entry["latency_ns"] and entry["scenario"]["run"] == base["scenario"]["run"]:
            said = ", ".join(f"{name} {_ratio(values)}" for name, values in ratios(entry, base).items())
            who = entry["artifact"]["id"] if entry["target"] == "device" else tables.name_of(entry)
            lines.append(f"- {who} against eager: {said}")
    if base["scenario"].get("passes") != 1:  # Server, Offline and the sustained mode have one
        noise = _ratio(same_against_itself(base))
        lines.append(f"- the machine's own variation (eager's later passes against its earlier ones): {noise}")
    return "\n".join(lines)


def document(records: Sequence[Record]) -> str:
    """The runs' part of RESULTS.md."""
    parts = [
        "# Results\n\nGenerated by `make docs` from `results/reference.jsonl`; raw samples are in the records. "
        "Each system ran in its own process, in turn by blocks; ratios carry 95 % intervals. "
        "Absolute times are this machine's and vary; ratios of the same run are what to compare.\n"
    ]
    for group in newest_runs(records):
        first = next((entry for entry in group if entry["latency_ns"]), group[0])
        host, scenario = first["host"], first["scenario"]
        data = (first.get("accuracy") or {}).get("data")
        side = "none" if data is None else f"{data['name']}{_side(data)}"
        parts.append(
            f"## {first['bundle']['name']}, version {first['bundle']['version']}\n\n"
            f"{host['cpu']}, {host['cores']} cores, {scenario.get('threads')} threads, {host['system']}, "
            f"{first['time']}. Data: {side}.\n\n{table(group)}\n"
        )
        parts += [f"{text}\n" for text in (tables.where_time_goes(group), against_eager(group), doubts(group)) if text]
    return "\n".join(parts)


def _side(data: Mapping[str, Any]) -> str:
    return {"test": ", the test side", "all": ", all of it"}.get(data.get("split", ""), ", seeded episodes")


def budgets(records: Sequence[Record], left_out: Sequence[str] = ()) -> str:
    """Every room's budget, a table each: the newest record of each of its groups."""
    newest: dict[str, dict[str, Record]] = {}
    for entry in records:
        room = entry["scenario"].get("budget")
        if entry["kind"] == "budget" and room not in left_out:
            newest.setdefault(str(room), {})[str(entry["scenario"].get("group", ""))] = entry
    return "\n".join(_rows_section(f"The budget: {room}", list(found.values())) for room, found in newest.items())


def studies(records: Sequence[Record], left_out: Sequence[str] = ()) -> str:
    """Every long study that keeps rows: the newest record of each."""
    newest: dict[str, dict[str, Record]] = {}
    for entry in records:
        name = entry["scenario"].get("study")
        if entry["kind"] == "study" and entry.get("rows") and name not in left_out:
            newest.setdefault(str(name), {})[str(entry["scenario"].get("group", ""))] = entry
    return "\n".join(_rows_section(f"The study: {name}", list(found.values())) for name, found in newest.items())


def answers(records: Sequence[Record]) -> str:
    """What people said on the phone page to *was it right?*; empty where nobody was asked."""
    given: dict[str, list[bool]] = {}
    for entry in records:
        if entry["kind"] == "field" and isinstance(entry.get("answer"), Mapping):
            given.setdefault(str(entry["bundle"].get("name")), []).append(bool(entry["answer"].get("right")))
    lines = [f"- {name}: {sum(said)} of {len(said)} answers were right, say those who asked" for name, said in
             given.items()]  # fmt: skip
    return "\n".join(["## In the field\n", *lines, ""]) if lines else ""


def _rows_section(title: str, found: Sequence[Record]) -> str:
    first = found[0]
    rows = [row for entry in found for row in entry.get("rows") or []]
    body = grid_of(
        ("what", "value", "bound", "", "n", "note"),
        [
            (
                str(row.get("name")),
                "-" if row.get("value") is None else f"{row['value']:.4g}",
                "none" if row.get("bound") is None else f"{row['bound']:g}",
                mark(row),
                str(row.get("n", "")),
                str(row.get("note") or "").replace("|", "\\|"),
            )
            for row in rows
        ],
    )
    said = f"{first['time']}, commit {first.get('commit')}, {first['host'].get('cpu')}."
    return f"## {title}\n\n{said}\n\n{body}\n"


def mark(row: Mapping[str, Any]) -> str:
    """What a row of a budget came to."""
    if row.get("value") is None and row.get("holds") is None:
        return "not measured"
    if row.get("bound") is None:
        return "reported" if row.get("holds") is not False else "FAILS"
    return {True: "holds", False: "FAILS", None: "cannot tell"}[row.get("holds")]


def _ratio(values: Sequence[float]) -> str:
    return f"{values[0]:.2f}x" + (f" ({values[1]:.2f} to {values[2]:.2f})" if len(values) == 3 else "")


def main(argv: list[str]) -> int:
    """Writes the document of one file of records to stdout."""
    if len(argv) != 1 or not Path(argv[0]).is_file():
        sys.stderr.write("usage: python -m benchmarks.report RECORDS.jsonl   (the file must exist)\n")
        return 2
    from benchmarks import decode_drift, peers_budget, runtime_budget, zoo_budget  # they read this module's ratios

    records = results.read(Path(argv[0])).records
    parts = (
        document(records),
        runtime_budget.markdown(records),
        budgets(records, left_out=("runtime",)),
        zoo_budget.markdown(records),
        peers_budget.markdown(records),
        studies(records, left_out=(decode_drift.STUDY,)),
        answers(records),
    )
    sys.stdout.write("\n".join(filter(None, parts)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
