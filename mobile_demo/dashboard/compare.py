"""What the page *Compare* shows: systems of all devices in one table, and the points and bars of its charts.

>>> [row.cells[0] for row in rows(run.systems, Words("en"))]                            # doctest: +SKIP
['onnx-int8', 'xnnpack-int8', 'onnx-fp32', 'xnnpack-fp32', 'eager']
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mobile_demo.dashboard.runs import STAGES, Measurement
from mobile_demo.dashboard.said import in_words
from mobile_demo.dashboard.views import Row, accuracy_cell, named, told_apart, where
from mobile_demo.words import Words

COLUMNS = ("system", "accuracy", "p50", "p90", "p99", "cold_start", "peak_memory", "size", "valid")
AXES: dict[str, tuple[str, Callable[[Measurement], float | None]]] = {
    "latency": ("axis_latency", lambda one: one.p50_ns),
    "size": ("tile_size", lambda one: one.size_bytes),
    "memory": ("tile_memory", lambda one: one.peak_rss_bytes),
}
_NETWORK = re.compile(r"the network (\S+) between")  # of a server's notes
PERCENTILES = ("p50", "p90", "p99")


def heads(policy: bool, words: Words) -> tuple[str, ...]:
    """The main table's column heads."""
    return tuple(words("mean_return" if policy and key == "accuracy" else key) for key in COLUMNS)


def rows(systems: Sequence[Measurement], words: Words) -> list[Row]:
    """The main table: a line a system, in the order given; where several devices measured them, each is named."""
    places = _places(systems)
    return [_row(one, words, places[one.host] if len(places) > 1 else "") for one in systems]


def _places(systems: Sequence[Measurement]) -> dict[str, str]:
    return told_apart({one.host: one.cpu for one in systems})


def _row(one: Measurement, words: Words, device: str) -> Row:
    value, under = accuracy_cell(one.accuracy, words)
    missing, interval = words("not_measured"), one.p50_interval_ns
    place = " · ".join(filter(None, (where(one, words), device)))
    few = words("p99_needs") if one.n < 299 else missing
    return Row(
        cells=(
            one.system,
            value,
            words.duration(one.p50_ns),
            words.duration(one.p90_ns),
            few if one.p99_ns is None else words.duration(one.p99_ns),
            missing if one.cold_ns is None else words.duration(one.cold_ns),
            missing if one.peak_rss_bytes is None else words.size(one.peak_rss_bytes),
            missing if one.size_bytes is None else words.size(one.size_bytes),
            words("yes" if one.valid else "no"),
        ),
        under=(
            f"{place}; {in_words(one.notes, words)}" if one.target == "cloud" and one.notes else place,
            under,
            span(*interval, words) if interval else "",
            *[""] * 6,
        ),
        numeric=(False, *[True] * 7, False),
    )


def span(low_ns: float, high_ns: float, words: Words) -> str:
    """An interval of two times."""
    return words.span(words.duration(low_ns), words.duration(high_ns))


def labels(systems: Sequence[Measurement], words: Words, numbered: bool = True) -> dict[str, str]:
    """The systems' names in a chart by their ids: where each ran, and over which network; twins are numbered."""
    places = _places(systems)
    devices: dict[tuple[str, str], set[str]] = {}
    for one in systems:
        devices.setdefault((one.system, one.target), set()).add(one.host)
    found: dict[str, list[str]] = {}
    for one in systems:
        network = _NETWORK.search(one.notes)
        device = places[one.host] if len(devices[one.system, one.target]) > 1 else ""
        parts = (named(one, words), network[1] if network else "", device)
        found.setdefault(" · ".join(filter(None, parts)), []).append(one.id)
    return {
        key: f"{name} ({number})" if numbered and len(alike) > 1 else name
        for name, alike in found.items()
        for number, key in enumerate(alike, start=1)
    }


def trade_points(systems: Sequence[Measurement], words: Words, axis: str = "latency") -> list[dict[str, Any]]:
    """Accuracy against a cost: a point a system, with intervals, its tooltip's words, and whether it is on the front.

    A system is on the front where none is at least as accurate at a lower cost. Times are in ms, sizes in MB; an
    interval that was not measured has the point itself as both limits.
    """
    cost, names = AXES[axis][1], labels(systems, words)
    found = [(one, float(at)) for one in systems if one.accuracy and (at := cost(one))]
    points = []
    for one, at in found:
        assert one.accuracy is not None
        low, high = (one.p50_interval_ns or (at, at)) if axis == "latency" else (at, at)
        value, under = accuracy_cell(one.accuracy, words)
        front = not any(
            other.accuracy.value >= one.accuracy.value and there < at for other, there in found if other.accuracy
        )
        said = words.duration(at) if axis == "latency" else words.size(at)
        points.append(
            {
                "system": names[one.id],
                "engine": one.engine,
                "precision": one.precision,
                "cost": at / 1e6,
                "cost_low": low / 1e6,
                "cost_high": high / 1e6,
                "accuracy": one.accuracy.value,
                "accuracy_low": one.accuracy.low,
                "accuracy_high": one.accuracy.high,
                "front": front,
                "said_cost": f"{said} ({span(low, high, words)})" if axis == "latency" else said,
                "said_accuracy": f"{value} ({under})",
            }
        )
    return points


def stage_bars(systems: Sequence[Measurement], words: Words) -> list[dict[str, Any]]:
    """The median of each stage in milliseconds, a line a system and stage that took time, in order of happening."""
    names = labels(systems, words)
    return [
        {
            "system": names[one.id],
            "stage": words(stage),
            "order": STAGES.index(stage),
            "ms": one.stages_ns[stage] / 1e6,
            "said_time": words.duration(one.stages_ns[stage]),
        }
        for one in systems
        for stage in STAGES
        if one.stages_ns.get(stage)
    ]


def percentile_points(systems: Sequence[Measurement], words: Words) -> list[dict[str, Any]]:
    """p50, p90 and, where it was measured, p99 of each system, in milliseconds."""
    names = labels(systems, words)
    return [
        {
            "system": names[one.id],
            "percentile": words(name),
            "ms": at / 1e6,
            "said_time": words.duration(at),
        }
        for one in systems
        for name in PERCENTILES
        if (at := getattr(one, f"{name}_ns")) is not None
    ]


VERDICTS = ("accuracy", "latency")  # of `benchmarks.verdicts`, and keys of the catalogue
REASONS = {  # why two records cannot be paired: the verdict's own words, and ours
    "a record keeps no predictions with their true labels": "pair_no_predictions",
    "the two records did not answer the same inputs": "pair_other_inputs",
    "they were not measured in turn in one run: lokma compare measures them anew": "pair_other_run",
    "they were not measured in the same blocks": "pair_other_blocks",
    "a record has no latencies": "pair_no_times",
}


def verdict_heads(words: Words) -> tuple[str, ...]:
    """The heads of the paired verdict's table."""
    return tuple(words(key) for key in ("pair_about", "pair_answer", "pair_evidence"))


def verdict_rows(found: Mapping[str, Any], a: str, b: str, words: Words) -> list[Row]:
    """The paired verdict of two measurements: who is better, or that it cannot be told, and by what evidence.

    Args:
        found: of `benchmarks.verdicts.verdict`.
        a: the name of the one.
        b: that of the other.
        words: the page's language.
    """
    rows = []
    for kind in VERDICTS:
        one = found[kind]
        better = {"A": a, "B": b}.get(one["answer"])
        answer = words("pair_unclear") if better is None else words(f"pair_{kind}", name=better)
        cells = (words(f"pair_about_{kind}"), answer, _evidence(kind, one, a, b, words))
        more = words("pair_more", count=words.number(one["more"])) if one.get("more") else ""
        rows.append(Row(cells, ("", "", more), numeric=(False,) * 3))
    return rows


def _evidence(kind: str, one: Mapping[str, Any], a: str, b: str, words: Words) -> str:
    if "reason" in one:
        return words(REASONS.get(one["reason"], "pair_few_blocks"))
    said = {"a": a, "b": b, "n": words.number(one.get("quads", one["n"]))}
    if kind == "accuracy":
        p = words.number(one["p"], 3)
        return words("pair_by_answers", **said, only_a=one["only_a"], only_b=one["only_b"], p=p)
    interval = words.span(words.number(one["low"], 3), words.number(one["high"], 3))
    return words("pair_by_times", **said, ratio=words.number(one["ratio"], 3), interval=interval)


def plain(systems: Sequence[Measurement]) -> list[dict[str, Any]]:
    """The table as numbers with their units in the names, for CSV and JSON: points and full precision everywhere."""
    return [
        {
            "id": one.id,
            "time": one.time.isoformat(),
            "system": one.system,
            "target": one.target,
            "device": one.cpu,
            "engine": one.engine,
            "precision": one.precision,
            "accuracy": one.accuracy.value if one.accuracy else None,
            "accuracy_low": one.accuracy.low if one.accuracy else None,
            "accuracy_high": one.accuracy.high if one.accuracy else None,
            "accuracy_n": one.accuracy.n if one.accuracy else None,
            "n": one.n,
            "p50_ns": one.p50_ns,
            "p90_ns": one.p90_ns,
            "p99_ns": one.p99_ns,
            **{f"{stage}_ns": one.stages_ns[stage] for stage in STAGES},
            "cold_ns": one.cold_ns,
            "peak_rss_bytes": one.peak_rss_bytes,
            "size_bytes": one.size_bytes,
            "valid": one.valid,
        }
        for one in systems
    ]


def as_csv(lines: Sequence[dict[str, Any]]) -> str:
    """Lines as CSV; a cell that a spreadsheet would run as a formula is kept text by a quote before it."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(lines[0]) if lines else ["id"], lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({key: f"'{value}" if _formula(value) else value for key, value in line.items()})
    return out.getvalue()


def _formula(value: Any) -> bool:
    return isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
