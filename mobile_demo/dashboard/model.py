"""What a bundle says of its files: quantization and its verdicts, the parity ladder, layers, returns.

The manifest's own reasons are English sentences of `lokma export`; where it keeps their numbers, the page says them
in its language.

>>> [row.cells[0] for row in ladder(manifest, Words("en"))][:2]                         # doctest: +SKIP
['xnnpack-fp32', '']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mobile_demo.dashboard.views import Row
from mobile_demo.words import Words

Manifest = Mapping[str, Any]
VERDICTS = {  # of the manifest: catalogue key, and whether it is a good one
    "pass": ("verdict_pass", True),
    "fail": ("verdict_fail", False),
    "inconclusive": ("verdict_inconclusive", None),
    "faster": ("verdict_faster", True),
    "no gain": ("verdict_no_gain", None),
    "slower": ("verdict_slower", False),
}
MOST_LAYERS = 20


def artifact_heads(words: Words) -> tuple[str, ...]:
    """The heads of the table of files."""
    return tuple(words(key) for key in ("system", "size", "accuracy", "parity", "verdict_accuracy", "verdict_speed"))


def artifacts(manifest: Manifest, words: Words) -> list[Row]:
    """Each file of the bundle with its size, accuracy, error against eager torch and both verdicts."""
    rows = [_artifact(entry, words) for entry in manifest.get("artifacts", [])]
    for one in manifest.get("left_out") or []:
        marks = (None, None, None, None, False, None)
        said = (str(one.get("id")), *[""] * 3, words("left_out"), "")
        rows.append(Row(said, (*[""] * 4, str(one.get("reason", "")), ""), numeric=(False,) * 6, marks=marks))
    return rows


def _artifact(entry: Manifest, words: Words) -> Row:
    accuracy, parity, verdict = entry.get("accuracy") or {}, entry.get("parity") or {}, entry.get("verdict") or {}
    quantized = entry.get("quantization") or {}
    value, of = words("not_measured"), ""
    if "value" in accuracy:
        share = accuracy.get("correct") is not None
        value = words.percent(accuracy["value"]) if share else words.number(accuracy["value"], 2)
        if share:
            of = words("right_of", right=accuracy["correct"], n=accuracy["n"])
    same = ""
    if parity.get("same_top1") is not None:
        same = words("same_answer", same=parity["same_top1"], n=parity["n"])
    error = words.scientific(parity["max_relative"]) if "max_relative" in parity else words("not_measured")
    said, marks, why = [], [], []
    for name in ("accuracy", "speed"):
        found = verdict.get(name) or {}
        key, good = VERDICTS.get(found.get("answer", ""), ("verdict_reference", None))
        said.append(words(key) if found else words("verdict_reference"))
        marks.append(good)
        why.append(_reason(name, found, words))
    return Row(
        (str(entry["id"]), words.size(entry["size_bytes"]), value, error, *said),
        (str(quantized.get("scheme") or ""), "", of, same, *why),
        numeric=(False, True, True, True, False, False),
        marks=(None, None, None, None, *marks),
    )


def _reason(name: str, found: Manifest, words: Words) -> str:
    """A verdict's reason by its numbers; the manifest's own words where it keeps none."""
    if name == "accuracy" and "changed" in found and "n" in found:
        return words("changed_of", changed=found["changed"], n=found["n"])
    if name == "speed" and found.get("interval"):
        low, high = found["interval"]
        interval = words.span(words.ratio(low), words.ratio(high))
        return words("times_of", ratio=words.ratio(found["ratio"]), name=found.get("against", ""), interval=interval)
    return str(found.get("reason", ""))


def ladder_heads(words: Words) -> tuple[str, ...]:
    """The heads of the parity ladder."""
    return tuple(words(key) for key in ("system", "hop", "against_hop", "largest_error", "same_answers", "holds"))


def ladder(manifest: Manifest, words: Words) -> list[Row]:
    """The parity ladder: each step compared with the one before it."""
    rows = []
    for entry in manifest.get("artifacts", []):
        for index, hop in enumerate(entry.get("ladder") or []):
            ok = hop.get("ok")
            rows.append(
                Row(
                    (
                        str(entry["id"]) if index == 0 else "",
                        _step(hop["hop"], words),
                        _step(hop["against"], words),
                        words.scientific(hop["max_relative"]),
                        words("same_of", same=hop["same_top1"], n=hop["n"]),
                        words("by_verdict") if ok is None else words("yes" if ok else "no"),
                    ),
                    ("",) * 6,
                    numeric=(False, False, False, True, True, False),
                    marks=(None,) * 5 + (ok,),
                )
            )
    return rows


_STEPS = {
    "eager": "step_eager",
    "exported program": "step_exported",
    "quantized program": "step_quantized",
    "quantized graph": "step_quantized_graph",
    "graph": "step_graph",
    "session here": "step_session",
}


def _step(name: str, words: Words) -> str:
    return words(_STEPS[name]) if name in _STEPS else name


def sensitivity(manifest: Manifest) -> tuple[str, list[dict[str, Any]]]:
    """The layers that int8 hurts most, of the first file that says so: its name, and a bar a layer."""
    for entry in manifest.get("artifacts", []):
        layers = ((entry.get("quantization") or {}).get("sensitivity") or {}).get("layers") or {}
        if layers:
            most = sorted(layers.items(), key=lambda item: -item[1])[:MOST_LAYERS]
            return str(entry["id"]), [{"layer": name, "error": float(value)} for name, value in most]
    return "", []


def delegation_heads(words: Words) -> tuple[str, ...]:
    """The heads of the table of who ran it."""
    return tuple(words(key) for key in ("system", "operators", "in_backend", "time_in_backend", "outside"))


def delegation(manifest: Manifest, words: Words) -> list[Row]:
    """How much of each file its fast kernels took, and which operators stayed outside with their time."""
    rows = []
    for entry in manifest.get("artifacts", []):
        found = entry.get("delegation")
        if not found:
            continue
        outside = ", ".join(f"{name} {words.percent(share)}" for name, share in (found.get("outside") or {}).items())
        time = found.get("time_share")
        cells = (
            str(entry["id"]),
            words.number(found["operators"]),
            words.percent(found["ops_share"]),
            words("not_measured") if time is None else words.percent(time),
            outside or words("none_outside"),
        )
        rows.append(Row(cells, (str(entry["engine"]), *[""] * 4), numeric=(False, True, True, True, False)))
    return rows


def layer_heads(words: Words) -> tuple[str, ...]:
    """The heads of the profile."""
    return tuple(words(key) for key in ("operator", "ran_by", "times_called", "layer_time", "layer_share"))


def layers(rows: Sequence[Mapping[str, Any]], words: Words) -> list[Row]:
    """A profile's slowest operators; `rows` are those of `benchmarks.layers.layers`, the longest first."""
    return [
        Row(
            (
                row["operator"],
                row["backend"],
                words.number(row["count"]),
                words.duration(row["ns"]),
                words.percent(row["share"]),
            ),
            ("",) * 5,
            numeric=(False, False, True, True, True),
        )
        for row in rows[:MOST_LAYERS]
    ]
