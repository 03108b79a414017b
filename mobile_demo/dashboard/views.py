"""What the page *Answer* says of a run: pure functions, no Streamlit; every figure is a record's own.

>>> from benchmarks import results
>>> from mobile_demo.dashboard import answer, runs
>>> run = runs.runs(results.read().records).of("foodvision-mini")[0]                         # doctest: +SKIP
>>> sentence(answer.answer(run, answer.Question()), Words("en"))                        # doctest: +SKIP
'Yes: **onnx-int8** keeps 95 % and 30 FPS on AMD EPYC, 2 cores: 147 of 150 right (98.0 %), …'
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mobile_demo.dashboard.answer import Answer, Gate, Question, Ratio, ratio
from mobile_demo.dashboard.runs import Accuracy, Measurement, Run
from mobile_demo.dashboard.said import NOISY, in_words
from mobile_demo.words import Words


def demand(question: Question, words: Words) -> dict[str, str]:
    """The two demands as the texts name them."""
    floor = question.floor * 100
    return {
        "floor": words.percent(question.floor, 0 if floor == round(floor) else 1),
        "fps": words.number(question.fps, 0 if question.fps == round(question.fps) else 1),
    }


def title(run: Run | None, question: Question, words: Words) -> str:
    """The question itself."""
    key = "ask_which_policy" if run is not None and run.task == "policy" else "ask_which"
    return words(key, **demand(question, words))


def there(run: Run, words: Words, here: str = "") -> str:
    """Where a run was measured: only a run of the machine that shows the page is said to be of this machine."""
    host = run.host
    if host["fingerprint"] == here:
        return words("on_this_machine")
    return words("on_cpu" if host["cores"] != "?" else "on_phone", cpu=host["cpu"], cores=host["cores"])


def sentence(found: Answer, words: Words, here: str = "") -> str:
    """The answer in plain words with its numbers; names and key figures in Markdown bold.

    Args:
        found: the answer.
        words: the page's language.
        here: the fingerprint of the machine that shows the page.
    """
    said: dict[str, Any] = {**demand(found.question, words), "there": there(found.run, words, here)}
    one = found.chosen
    if one is None or one.accuracy is None:
        return words(found.verdict, **said)
    said |= {"system": one.system, "p90": words.duration(one.p90_ns), **accuracy_words(one.accuracy, words)}
    parts = [words("keeps_policy" if one.accuracy.right is None else "keeps", **said)]
    others = [gate for gate in found.gates[1:] if gate.keeps]
    if found.verdict == "keeps" and others:
        parts.append(words("fastest", count=len(others) + 1))
    elif others:
        near = [gate for gate in others if gate.why != "why_slower"]
        key = "tie" if found.verdict == "tie" else "unordered"
        parts.append(words(key, names=words.listed(f"**{gate.one.system}**" for gate in near)))
    if one.accuracy.right is not None and one.accuracy.low < found.question.floor:
        parts.append(words("unproven", n=one.accuracy.n, low=words.percent(one.accuracy.low), floor=said["floor"]))
    return " ".join(parts)


def accuracy_words(found: Accuracy, words: Words) -> dict[str, Any]:
    """An accuracy's figures by the names that the texts use."""
    write = words.number if found.right is None else words.percent
    return {
        "accuracy": write(found.value, 1),
        "right": found.right,
        "n": found.n,
        "interval": limits(found, words),
    }


def limits(found: Accuracy, words: Words) -> str:
    """The 95 % interval of an accuracy."""
    write = words.number if found.right is None else words.percent
    return words.span(write(found.low, 1), write(found.high, 1))


def ratio_words(found: Ratio, words: Words) -> dict[str, str]:
    """A ratio and its interval."""
    return {
        "ratio": words.ratio(found.value),
        "interval": words.span(words.ratio(found.low), words.ratio(found.high)),
    }


@dataclass(frozen=True)
class Row:
    """A line of a table in the page's language; `under` is each cell's second, smaller line.

    `numeric` says which cells stand to the right, `marks` which carry a sign: True kept, False not.
    """

    cells: tuple[str, ...]
    under: tuple[str, ...]
    chosen: bool = False
    numeric: tuple[bool, ...] = ()
    marks: tuple[bool | None, ...] = ()


def gate_heads(found: Answer, words: Words) -> tuple[str, ...]:
    """The heads of the table of reasons."""
    said = demand(found.question, words)
    policy = found.run.task == "policy"
    return (
        words("system"),
        words("head_floor_policy" if policy else "head_floor", **said),
        words("head_fps", **said),
        words("head_why"),
    )


def gates(found: Answer, words: Words) -> list[Row]:
    """Every model file before the two demands, and the reason for every no."""
    rows = [_gate(gate, gate.one is found.chosen, found, words) for gate in found.gates]
    rows += [
        Row((one.system, words("not_measured"), words("not_measured"), one.detail), ("",) * 4, False, (False,) * 4)
        for one in found.run.failures
    ]
    return rows


def _gate(gate: Gate, chosen: bool, found: Answer, words: Words) -> Row:
    one = gate.one
    value, under = accuracy_cell(one.accuracy, words)
    return Row(
        cells=(
            named(one, words),
            value,
            words("fps_of", fps=words.number(1e9 / one.p90_ns)),
            _why(gate, chosen, found, words),
        ),
        under=(where(one, words), under, words("within", p90=words.duration(one.p90_ns)), ""),
        chosen=chosen,
        numeric=(False, False, False, False),
        marks=(None, gate.accurate, gate.fast, None),
    )


def _why(gate: Gate, chosen: bool, found: Answer, words: Words) -> str:
    if chosen:
        return words("why_chosen" if found.verdict == "keeps" else "why_first")
    said: dict[str, Any] = demand(found.question, words)
    if gate.ratio:
        said |= ratio_words(gate.ratio, words)
    if gate.share is not None:
        said["reached"] = words.percent(gate.share)
    said["budget"] = words.duration(1e9 / found.question.fps)
    said["p90"] = words.duration(gate.one.p90_ns)
    return words(gate.why, **said)


def rule(found: Answer, words: Words) -> list[str]:
    """How the answer comes about, and the machine's own variation."""
    lines = [words("rule", **demand(found.question, words), budget=words.duration(1e9 / found.question.fps))]
    if found.noise:
        lines.append(words("own_noise", **ratio_words(found.noise, words)))
    borrowed = {one.accuracy.elsewhere for one in found.run.device if one.accuracy and one.accuracy.elsewhere}
    return [*lines, *(words("accuracy_elsewhere", cpu=cpu) for cpu in sorted(borrowed))]


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
    if one is None:
        return []
    against = {"time to answer": found.against, "cold start": None, "peak memory": None, "size": None}
    if base is not None:
        against |= {name: ratio(one, base, name) for name in ("cold start", "peak memory")}
        if one.size_bytes and base.size_bytes:
            size = one.size_bytes / base.size_bytes
            against["size"] = Ratio(size, size, size)
    made = [_tile("tile_time", words.duration(one.p50_ns), against["time to answer"], words)]
    if one.cold_ns is not None:
        made.append(_tile("tile_cold", words.duration(one.cold_ns), against["cold start"], words))
    if one.peak_rss_bytes is not None:
        made.append(_tile("tile_memory", words.size(one.peak_rss_bytes), against["peak memory"], words))
    if one.size_bytes:
        made.append(_tile("tile_size", words.size(one.size_bytes), against["size"], words))
    return made


def _tile(name: str, figure: str, against: Ratio | None, words: Words) -> Tile:
    if against is None:
        return Tile(words(name), figure, "")
    said = ratio_words(against, words)
    interval = words("interval_95", interval=said["interval"]) if against.low != against.high else ""
    return Tile(words(name), figure, words("times_eager", ratio=said["ratio"]), interval)


def named(one: Measurement, words: Words) -> str:
    """A system's name, with where it ran where that is not plain from it."""
    return one.system if one.target in ("device", "eager") else f"{one.system} · {target_words(one.target, words)}"


def target_words(target: str, words: Words) -> str:
    """A target as a word."""
    known = {"device", "eager", "gpu", "cloud", "ssh", "phone"}
    return words(f"target_{target}") if target in known else target


def told_apart(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels by option, those that are the same twice with the option's first characters behind them.

    ```
    told_apart({"0a1b2c": "Pi 5", "77ffee": "Pi 5", "1234": "Pixel 8"})["0a1b2c"]    # "Pi 5 · 0a1b"
    ```
    """
    often = Counter(labels.values())
    return {key: f"{label} · {key[:4]}" if often[label] > 1 else label for key, label in labels.items()}


def where(one: Measurement, words: Words) -> str:
    """Where a system ran, in words."""
    known = {"device": "on_device", "eager": "the_course", "phone": "on_a_phone", "cloud": "in_cloud", "gpu": "on_gpu"}
    return words(known[one.target]) if one.target in known else words("on_other", target=one.target)


def accuracy_cell(found: Accuracy | None, words: Words) -> tuple[str, str]:
    """An accuracy, and the line under it: of how many, and its interval."""
    if found is None:
        return words("not_measured"), ""
    said = accuracy_words(found, words)
    of = words("episodes", n=found.n) if found.right is None else words("right_of", right=found.right, n=found.n)
    return said["accuracy"], f"{of}; {said['interval']}"


def flags(run: Run, words: Words) -> str:
    """The warnings that the records carry, in one sentence; empty where they carry none.

    Many systems of one run that were all noisy say so once, with the widest interval.
    """
    if not run.flags and all(one.valid for one in run.systems):
        return ""
    noisy = [found for flag in run.flags if (found := NOISY.fullmatch(flag))]
    others = [flag for flag in run.flags if not NOISY.fullmatch(flag)]
    said = [in_words(flag, words) or words("flag_none") for flag in others or ([] if noisy else [""])]
    if noisy:
        low, high = min(float(one["low"]) for one in noisy), max(float(one["high"]) for one in noisy)
        said.append(words("flag_noisy", low=words.number(low, 2), high=words.number(high, 2)))
    return words("flagged", flags="; ".join(said))


def facts(run: Run, words: Words) -> list[tuple[str, str]]:
    """Where the numbers are from: machine, time, data, how they were measured."""
    host, scenario = run.host, run.scenario
    memory = words.size(host["memory_bytes"]) if host["memory_bytes"] else words("not_measured")
    found = [
        (words("machine"), words("machine_line", **{**host, "memory": memory})),
        (words("measured"), f"{words.moment(run.time)}, {run.bundle} {words('version', number=run.version)}"),
    ]
    data = next((one.accuracy for one in run.systems if one.accuracy and one.accuracy.data), None)
    if data:
        found.append((words("data"), words("data_line", name=data.data, n=scenario.get("inputs_a_pass") or data.n)))
    single = scenario.get("name") == "SingleStream" and scenario.get("passes")
    how = words("offered_line", passes=scenario["passes"]) if single else str(scenario.get("name") or "")
    threads = words("threads", count=scenario["threads"]) if scenario.get("threads") else ""
    return [*found, (words("offered"), ", ".join(part for part in (threads, how) if part))]
