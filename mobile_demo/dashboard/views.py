"""What the page says of runs and their answers: pure functions, no Streamlit; every figure is a record's own.

>>> from benchmarks import results
>>> from mobile_demo.dashboard import answer, runs
>>> run = runs.runs(results.read().records).of("foodvision-mini")[0]                         # doctest: +SKIP
>>> sentence(answer.answer(run), Words("en"))                                           # doctest: +SKIP
'On AMD EPYC, 2 cores, **xnnpack-int8** answers a picture in **12.4 ms**, 0.31 times eager torch's time …'
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from edge_runtime.worker import STAGES
from mobile_demo.dashboard.answer import Answer, Ratio, allowed_loss, ratio
from mobile_demo.dashboard.runs import Accuracy, Measurement, Run
from mobile_demo.words import Words

_FLAGS = (
    (re.compile(r"other work: (?P<busy>\d+)% of the processors busy before the run"), "flag_busy"),
    (re.compile(r"cpu governor is (?P<name>\S+)"), "flag_governor"),
    (
        re.compile(r"noisy: the later passes took (?P<low>[\d.]+) to (?P<high>[\d.]+) of the earlier ones' time"),
        "flag_noisy",
    ),
)


def sentence(found: Answer, words: Words, here: str = "") -> str:
    """The answer in plain words with its numbers; names and key figures in Markdown bold.

    Args:
        found: the answer.
        words: the page's language.
        here: the fingerprint of the machine that shows the page; a run of any other is told as that machine's.
    """
    one, base, thing = found.chosen, found.run.baseline, words(found.run.thing)
    if one is None or base is None or found.ratio is None:
        values = _ratio_words(found.noise, words) if found.verdict == "noisy" and found.noise else {}
        return words(found.verdict, **values)
    values = {
        "system": one.system,
        "thing": thing,
        "p50": words.duration(one.p50_ns),
        **_ratio_words(found.ratio, words),
    }
    if found.rival is not None:
        return words(found.verdict, **values, rival=found.rival.system, rival_p50=words.duration(found.rival.p50_ns))
    host = found.run.host
    if host["fingerprint"] == here:
        parts = [words("best", **values)]
    else:
        parts = [words("best_there", cpu=host["cpu"], cores=host["cores"], **values)]
    if found.ratio.may_be_one:
        parts.append(words("no_faster"))
    if one.accuracy and base.accuracy:
        parts.append(_accuracy_words(one.accuracy, base.accuracy, words))
    return " ".join(parts)


def _accuracy_words(one: Accuracy, base: Accuracy, words: Words) -> str:
    if one.right is None:
        return words(
            "return",
            value=words.number(one.value, 1),
            n=one.n,
            interval=limits(one, words),
            base=words.number(base.value, 1),
        )
    accuracy, interval = words.percent(one.value), limits(one, words)
    return words("right", right=one.right, n=one.n, accuracy=accuracy, interval=interval, base=base.right)


def _ratio_words(found: Ratio, words: Words) -> dict[str, str]:
    return {
        "ratio": words.ratio(found.value),
        "interval": words.span(words.ratio(found.low), words.ratio(found.high)),
    }


def limits(found: Accuracy, words: Words) -> str:
    """The 95 % interval of an accuracy."""
    write = words.number if found.right is None else words.percent
    return words.span(write(found.low, 1), write(found.high, 1))


def reasons(found: Answer, words: Words) -> list[str]:
    """The rule, then for every model file that was not chosen why, then the machine's own variation."""
    base = found.run.baseline
    if base is None or base.accuracy is None:
        return []
    known = base.accuracy
    if known.right is not None:
        lines = [words("rule_right", allowed=allowed_loss(known.n), n=known.n)]
    else:
        lines = [words("rule_value")]
    for fate in found.fates:
        values: dict[str, Any] = {"system": fate.one.system}
        if fate.ratio:
            values |= _ratio_words(fate.ratio, words)
        elif fate.one.accuracy and fate.why == "why_lost":
            values |= {
                "right": fate.one.accuracy.right,
                "lost": (known.right or 0) - (fate.one.accuracy.right or 0),
            }
        elif fate.one.accuracy:
            values |= {"value": words.number(fate.one.accuracy.value, 1), "limit": words.number(known.low, 1)}
        lines.append(words(fate.why, **values))
    if found.noise and found.verdict != "noisy":
        lines.append(words("own_noise", **_ratio_words(found.noise, words)))
    return lines


@dataclass(frozen=True)
class Tile:
    """One key figure with its comparison to eager torch."""

    name: str
    figure: str
    against: str
    interval: str = ""


def tiles(found: Answer, words: Words) -> list[Tile]:
    """The key figures of the chosen model file; none where nothing was chosen."""
    one, base = found.chosen, found.run.baseline
    if one is None or base is None:
        return []
    made = [_tile("tile_time", words.duration(one.p50_ns), ratio(one, base), words)]
    if one.cold_ns is not None:
        made.append(_tile("tile_cold", words.duration(one.cold_ns), ratio(one, base, "cold start"), words))
    if one.peak_rss_bytes is not None:
        made.append(_tile("tile_memory", words.size(one.peak_rss_bytes), ratio(one, base, "peak memory"), words))
    size = one.size_bytes / base.size_bytes
    return [*made, _tile("tile_size", words.size(one.size_bytes), Ratio(size, size, size), words)]


def _tile(name: str, figure: str, against: Ratio | None, words: Words) -> Tile:
    if against is None:
        return Tile(words(name), figure, "")
    said = _ratio_words(against, words)
    interval = words("interval_95", interval=said["interval"]) if against.low != against.high else ""
    return Tile(words(name), figure, words("times_eager", ratio=said["ratio"]), interval)


@dataclass(frozen=True)
class Row:
    """A line of a table in the page's language; `under` is each cell's second, smaller line."""

    cells: tuple[str, ...]
    under: tuple[str, ...]
    chosen: bool
    numeric: tuple[bool, ...] = (False, *[True] * 6, False)


def heads(run: Run, words: Words) -> tuple[str, ...]:
    """The main table's column heads."""
    accuracy = "mean_return" if run.task == "policy" else "accuracy"
    keys = ("system", accuracy, "p50", "p90", "cold_start", "peak_memory", "size", "valid")
    return tuple(words(key) for key in keys)


def rows(found: Answer, words: Words) -> list[Row]:
    """The main table: a line a system, the fastest model file first, baselines last."""
    return [_row(one, one is found.chosen and found.verdict == "best", words) for one in found.run.systems]


def _row(one: Measurement, chosen: bool, words: Words) -> Row:
    value, under = _accuracy_cell(one.accuracy, words)
    interval = one.p50_interval_ns
    missing = words("not_measured")
    return Row(
        cells=(
            one.name,
            value,
            words.duration(one.p50_ns),
            words.duration(one.p90_ns),
            missing if one.cold_ns is None else words.duration(one.cold_ns),
            missing if one.peak_rss_bytes is None else words.size(one.peak_rss_bytes),
            words.size(one.size_bytes),
            words("yes" if one.valid else "no"),
        ),
        under=(
            where(one, words),
            under,
            _span(*interval, words) if interval else "",
            *[""] * 5,
        ),
        chosen=chosen,
    )


def where(one: Measurement, words: Words) -> str:
    """Where a system ran, in words."""
    known = {"device": "on_device", "eager": "the_course"}
    return words(known[one.target]) if one.target in known else words("on_other", target=one.target)


def _accuracy_cell(found: Accuracy | None, words: Words) -> tuple[str, str]:
    if found is None:
        return words("not_measured"), ""
    if found.right is None:
        return words.number(found.value, 1), f"{words('episodes', n=found.n)}; {limits(found, words)}"
    return words.percent(found.value), f"{words('right_of', right=found.right, n=found.n)}; {limits(found, words)}"


def trade_points(run: Run, words: Words) -> list[dict[str, Any]]:
    """Accuracy against latency: a point a system, with both of its intervals and the words of its tooltip.

    Times are in milliseconds; an interval that was not measured has the point itself as both limits.
    """
    points = []
    for one in run.systems:
        if one.accuracy is None:
            continue
        fast, slow = one.p50_interval_ns or (one.p50_ns, one.p50_ns)
        value, under = _accuracy_cell(one.accuracy, words)
        points.append(
            {
                "system": one.name,
                "engine": one.engine,
                "precision": one.precision,
                "ms": one.p50_ns / 1e6,
                "ms_low": fast / 1e6,
                "ms_high": slow / 1e6,
                "accuracy": one.accuracy.value,
                "accuracy_low": one.accuracy.low,
                "accuracy_high": one.accuracy.high,
                "said_time": f"{words.duration(one.p50_ns)} ({_span(fast, slow, words)})",
                "said_accuracy": f"{value} ({under})",
            }
        )
    return points


def stage_bars(run: Run, words: Words) -> list[dict[str, Any]]:
    """The median of each stage in milliseconds, a line a system and stage, in their order of happening."""
    return [
        {
            "system": one.name,
            "stage": words(stage),
            "order": STAGES.index(stage),
            "ms": one.stages_ns[stage] / 1e6,
            "said_time": words.duration(one.stages_ns[stage]),
        }
        for one in run.systems
        for stage in STAGES
    ]


def _span(low_ns: float, high_ns: float, words: Words) -> str:
    return words.span(words.duration(low_ns), words.duration(high_ns))


def flags(run: Run, words: Words) -> str:
    """The warnings that the records carry, in one sentence; empty where they carry none."""
    if not run.flags and all(one.valid for one in run.systems):
        return ""
    return words("flagged", flags="; ".join(_flag(flag, words) for flag in run.flags or ("",)))


def _flag(flag: str, words: Words) -> str:
    for pattern, key in _FLAGS:
        found = pattern.fullmatch(flag)
        if found:
            return words(key, **{name: _localised(said, words) for name, said in found.groupdict().items()})
    return flag or words("flag_none")


def _localised(said: str, words: Words) -> str:
    digits = len(said.partition(".")[2])
    return words.number(float(said), digits) if said.replace(".", "", 1).isdigit() else said


def facts(run: Run, words: Words) -> list[tuple[str, str]]:
    """Where the numbers are from: machine, time, data, how they were measured."""
    host, scenario = run.host, run.scenario
    memory = words.size(host["memory_bytes"]) if host["memory_bytes"] else words("not_measured")
    found = [
        (words("machine"), words("machine_line", **{**host, "memory": memory})),
        (words("measured"), f"{words.moment(run.time)}, {run.bundle} {words('version', number=run.version)}"),
    ]
    data = next((one.accuracy.data for one in run.systems if one.accuracy), "")
    if data:
        found.append((words("data"), words("data_line", name=data, n=scenario["inputs_a_pass"])))
    how = words("offered_line", passes=scenario["passes"]) if scenario.get("name") == "SingleStream" else ""
    threads = words("threads", count=scenario["threads"]) if "threads" in scenario else ""
    return [*found, (words("offered"), ", ".join(part for part in (threads, how) if part))]
