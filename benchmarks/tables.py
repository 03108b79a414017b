"""The tables of a run, as Markdown: what each system reached, and where its time goes. What is missing says so.

>>> print(grid_of(("system", "p50"), [("onnx-int8", "6.9 ms")]))
| system    | p50    |
| --------- | ------ |
| onnx-int8 | 6.9 ms |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
NONE = "not measured"
STAGES = ("decode", "preprocess", "queue", "network", "inference", "postprocess", "retry")
COLD = ("process", "import", "load", "first")


def systems(group: Sequence[Record]) -> str:
    """A line a system: accuracy and times with intervals, cold start, memory, processor time, energy, size."""
    head = ("system", "accuracy (95 %)", "p50 (95 %)", "p90 (95 %)", "p99 (95 %)", "a second", "cold start",
            "peak memory", "processor", "energy", "size")  # fmt: skip
    return grid_of(*_told(head, [_system(entry) for entry in group]))


def where_time_goes(group: Sequence[Record]) -> str:
    """A line a system: the cold start's parts and the stages of one answer, medians; empty where none was timed."""
    rows = []
    for entry in group:
        if entry.get("failure") and not entry["latency_ns"]:
            continue
        cold, stages = entry.get("cold_start_p50_ns") or {}, entry.get("stages_ns") or {}
        times = [_ms(source[key]) if source.get(key) is not None else "" for source, keys in
                 ((cold, COLD), (stages, STAGES)) for key in keys]  # fmt: skip
        rows.append((name_of(entry), *times))
    if not rows:
        return ""
    head = ("system", *(f"start: {key}" if key == "process" else key for key in COLD), *STAGES)
    return grid_of(*_told(head, rows))


def name_of(entry: Record) -> str:
    """The file, the target, and the network between."""
    network = entry.get("network") or {}
    profile = network.get("profile", "")
    emulated = ", emulated" if network.get("emulated") else ""
    return f"{entry['artifact']['id']} ({entry['target']}{f', {profile}{emulated}' if profile else ''})"


def _system(entry: Record) -> tuple[str, ...]:
    failure = entry.get("failure")
    if failure and not entry["latency_ns"]:
        detail = str(failure["detail"]).replace("|", "\\|").removeprefix(f"{NONE}: ")
        return (name_of(entry), f"{NONE}: {detail}", *[""] * 9)
    cpu, energy, rate = entry.get("cpu"), entry.get("energy_joules"), entry.get("throughput_a_second")
    cold, memory, size = (
        entry.get("cold_start_p50_ns"),
        entry.get("peak_rss_bytes"),
        entry["artifact"].get("size_bytes"),
    )
    found = entry.get("accuracy")
    return (
        name_of(entry),
        accuracy(found) if found else NONE,
        *(_quantile(entry, name) for name in ("p50", "p90", "p99")),
        (f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}") if rate else "",
        f"{cold['total'] / 1e9:.2f} s" if cold and "total" in cold else NONE,
        f"{memory / 1e6:.0f} MB" if memory else NONE,
        _ms(cpu["ns_a_query"]) if cpu else "",
        f"{energy * 1e3:.3g} mJ" if energy is not None else "",
        f"{size / 1e6:.2f} MB" if size else "",
    )


def _quantile(entry: Record, name: str) -> str:
    """A quantile with its interval; one that the sample cannot give is a dash (`null_reasons` says why)."""
    value, interval = entry.get(f"{name}_ns"), entry.get(f"{name}_interval_ns")
    if value is None:
        return "-" if name == "p99" and "p99_ns" in entry else ""
    return f"{_ms(value)} ({_ms(interval[0])} to {_ms(interval[1])})" if interval else _ms(value)


def accuracy(found: Mapping[str, Any]) -> str:
    """An accuracy with n and its interval, in one phrase."""
    low, high = found["interval"]
    if found["metric"] == "top-1":
        more = f", macro-F1 {found['macro_f1']['value']:.3f}" if found.get("macro_f1") else ""
        return f"{found['value']:.1%} ({found['correct']} of {found['n']}; {low:.1%} to {high:.1%}{more})"
    if found["metric"] == "episodic return":
        return f"mean return {found['value']:.1f} ({low:.1f} to {high:.1f}, {found['n']} episodes)"
    return f"{found['metric']} {found['value']:.4g} ({low:.4g} to {high:.4g}, n {found['n']})"


def grid_of(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up as text too; None of a long reason widens its column."""
    widths = [
        max(len(head[at]), *(len(row[at]) for row in rows if NONE + ":" not in row[at]), 3) for at in range(len(head))
    ]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def _told(head: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Without the columns in which nobody says anything."""
    kept = [at for at in range(len(head)) if at == 0 or any(row[at] for row in rows)]
    return tuple(head[at] for at in kept), [tuple(row[at] for at in kept) for row in rows]


def _ms(nanoseconds: float) -> str:
    if nanoseconds >= 1e9:
        return f"{nanoseconds / 1e9:.2f} s"
    return f"{nanoseconds / 1e6:.1f} ms" if nanoseconds >= 1e6 else f"{nanoseconds / 1e3:.0f} µs"
