"""MODEL_CARD.md: one report on a bundle, for a person. Generated from the manifest, never typed.

>>> warning({"id": "onnx-int8", "engine": "onnxruntime",
...          "delegation": {"time_share": 0.71, "outside": {"QuantizeLinear": 0.17, "DequantizeLinear": 0.12}}})
'onnx-int8 spends 29% of its time outside fused kernels: QuantizeLinear 17%, DequantizeLinear 12%'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edge_runtime.profile import MAX_OUTSIDE
from export.samples import CALIBRATION
from export.snippets import snippets

KERNELS = {"executorch": "XNNPACK", "onnxruntime": "fused kernels"}  # what should run an engine's operators
NAMED = 5  # operators in a warning, the slowest first


def card(manifest: Mapping[str, Any]) -> str:
    """The card's text, in Markdown."""
    return "\n\n".join(part for section in SECTIONS if (part := section(manifest)))


def warning(artifact: Mapping[str, Any]) -> str | None:
    """One line where operators outside the engine's fast kernels take more than 5 % of the time, or None."""
    found = artifact.get("delegation")
    if not found or found["time_share"] >= 1 - MAX_OUTSIDE:
        return None
    named = ", ".join(f"{name} {share:.0%}" for name, share in list(found["outside"].items())[:NAMED])
    where = KERNELS[artifact["engine"]]
    return f"{artifact['id']} spends {1 - found['time_share']:.0%} of its time outside {where}: {named}"


def _head(manifest: Mapping[str, Any]) -> str:
    spec = manifest["spec"]
    labels = ", ".join(f"{label['en']} ({label['tr']})" for label in spec["labels"][:20]) or "none"
    more = f" and {len(spec['labels']) - 20} more" if len(spec["labels"]) > 20 else ""
    return f"""# {manifest["name"]}, version {manifest["version"]}

Task: {spec["task"]}. Labels: {labels}{more}.
Input: {_tensor(spec["inputs"][0])}. Output: {_tensor(spec["outputs"][0])}."""


def _artifacts(manifest: Mapping[str, Any]) -> str:
    rows = []
    for artifact in manifest["artifacts"]:
        parity, verdict = artifact["parity"], artifact["verdict"] or {}
        same = (
            "" if manifest["spec"]["task"] == "regression" else f", same answer {parity['same_top1']} of {parity['n']}"
        )
        answers = [f"{kind}: {said['answer']}" for kind, said in verdict.items()]
        size = f"{artifact['size_bytes'] / 1e6:.2f} MB"
        accuracy = artifact["accuracy"]["text"]
        error = f"{parity['max_relative']:.1e}{same}"
        rows.append((f"`{artifact['id']}`", size, accuracy, error, ", ".join(answers) or "reference"))
    titles = ("artifact", "size", "accuracy on the test side (95 %)", "error against eager, relative", "verdict")
    return "## Artifacts\n\n" + _table(titles, rows)


def _verdicts(manifest: Mapping[str, Any]) -> str:
    lines = [
        f"- `{artifact['id']}`: {kind} **{said['answer']}**: {said['reason']}"
        for artifact in manifest["artifacts"]
        for kind, said in (artifact["verdict"] or {}).items()
    ]
    lines += [f"- `{entry['id']}` **left out**: {entry['reason']}" for entry in manifest.get("left_out", ())]
    return "## Verdicts\n\n" + "\n".join(lines) if lines else ""


def _ladder(manifest: Mapping[str, Any]) -> str:
    """Hop by hop from the eager model to the devices, where that was measured."""
    rows, bad = [], []
    for artifact in manifest["artifacts"]:
        for hop in artifact.get("ladder") or ():
            errors = (f"{hop['max_abs']:.1e}", f"{hop['max_relative']:.1e}")
            same = f"{hop['same_top1']} of {hop['n']}"
            allowed = hop["bound"] or "its accuracy is judged"
            rows.append((f"`{artifact['id']}`", hop["hop"], hop["against"], *errors, same, allowed))
        if found := artifact.get("first_bad_hop"):
            since = f", from the layer `{found['layer']}` on" if found["layer"] else ""
            bad.append(f"**First bad hop** of `{artifact['id']}`: {found['hop']} against {found['against']}{since}.")
    titles = ("artifact", "hop", "against", "largest error", "relative", "same answer", "allowed")
    return "\n\n".join(["## From the eager model to the device", _table(titles, rows), *bad]) if rows else ""


def _delegation(manifest: Mapping[str, Any]) -> str:
    measured = [artifact for artifact in manifest["artifacts"] if artifact.get("delegation")]
    rows = []
    for artifact in measured:
        found = artifact["delegation"]
        outside = ", ".join(f"{name} {share:.1%}" for name, share in found["outside"].items()) or "none"
        shares = (
            f"{found['delegated']} of {found['operators']} ({found['ops_share']:.0%})",
            f"{found['time_share']:.1%}",
        )
        rows.append((f"`{artifact['id']}`", KERNELS[artifact["engine"]], *shares, outside))
    warnings = [f"**Warning**: {said}." for artifact in measured if (said := warning(artifact))]
    titles = ("artifact", "kernels", "operators in them", "time in them", "operators outside, with their time")
    return "\n\n".join(["## Who really ran it", _table(titles, rows), *warnings]) if rows else ""


def _quantization(manifest: Mapping[str, Any]) -> str:
    rows, notes = [], []
    for artifact in manifest["artifacts"]:
        if found := artifact.get("quantization"):
            inputs = found.get("calibration_inputs", "none, ranges are taken at each run")
            in_float = [
                *found["in_float"],
                *(f"`{name}` but for its weights" for name in found.get("inputs_in_float", ())),
            ]
            rows.append((f"`{artifact['id']}`", found["scheme"], inputs, ", ".join(in_float)))
            if isinstance(inputs, int) and inputs < CALIBRATION:
                notes.append(
                    f"**Warning**: `{artifact['id']}` was calibrated on {inputs} real inputs, fewer than "
                    f"{CALIBRATION}: its ranges may cut off what they do not show."
                )
            notes += (
                [f"`{artifact['id']}`, layers in float for the accuracy: {found['why']}."] if "why" in found else []
            )
            if layers := found.get("sensitivity", {}).get("layers"):
                worst = ", ".join(f"`{name}` {error:.2g}" for name, error in list(layers.items())[:NAMED])
                notes.append(
                    f"`{artifact['id']}`, the output's relative error where int8 takes one layer alone: {worst}."
                )
    contract = (
        "Normalisation and the last activation stay in float by contract; a kind of operator stays where the scheme "
        "has no integer kernel for it."
    )
    titles = ("artifact", "scheme", "calibration inputs", "in float")
    return "\n\n".join(["## Quantization", _table(titles, rows), contract, *notes]) if rows else ""


def _boards(manifest: Mapping[str, Any]) -> str:
    """Ratios to fp32 on emulated Raspberry Pis, where they were counted."""
    rows = []
    for artifact in manifest["artifacts"]:
        for board, row in (artifact.get("instructions") or {}).items():
            cells = [_counted(row["instructions"], row["ratio_to_fp32"], row["reason"])]
            cells.append(_counted(row["cycles"], row["cycles_ratio_to_fp32"], row["cycles_reason"]))
            rows.append((f"`{artifact['id']}`", f"{board} ({row['cpu']}, emulated)", *cells))
    if not rows:
        return ""
    titles = ("artifact", "Raspberry Pi", "instructions (emulated), against fp32", "cycles (modelled), against fp32")
    note = (
        "One inference on one thread, with the call from Python around it. Instructions are counted in an emulator; "
        "cycles are a model's, with caches that never miss. Read the ratios: neither number is a latency, and no "
        "Raspberry Pi was measured."
    )
    return "\n\n".join(["## On Raspberry Pis: emulated and modelled", _table(titles, rows), note])


def _counted(count: int | None, ratio: float | None, reason: str | None) -> str:
    if count is None:
        return f"not known: {reason}"
    return f"{count / 1e6:.3g} million" + (f", {ratio:.2f}x" if ratio else "")


def _origin(manifest: Mapping[str, Any]) -> str:
    provenance = manifest["provenance"]
    data = provenance["data"]
    if provenance["recipe"] is None:
        skipped = f", {data['skipped']} unreadable pictures left out" if data["skipped"] else ""
        made = f"Made of {provenance['source']['what']}; calibrated and judged on {data['name']}{skipped}."
    else:
        made = f"Trained by `lokma train {provenance['recipe']}` on {data['name']}, seed {provenance['seed']}."
    commits = ", ".join(f"{what} at {(found or 'unknown')[:18]}" for what, found in provenance["commit"].items())
    more = provenance.get("unlabelled") or {"n": 0, "left_out": {}}
    if more["n"]:
        gone = ", ".join(f"{count} {why}" for why, count in more["left_out"].items())
        made += f" {more['n']} unlabelled pictures judge beside the test side{f' (left out: {gone})' if gone else ''}."
    licences = ", ".join(f"{what}: {licence}" for what, licence in manifest["licences"].items())
    return f"""## Where it comes from

{made}
Data: sha256 {data["sha256"][:12] or "none, episodes are played"}.
Commits: {commits}.
Tools: {", ".join(f"{name} {version}" for name, version in provenance["tools"].items())}.
Licences: {licences or "none was given"}."""


def _table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)


def _tensor(tensor: Mapping[str, Any]) -> str:
    return f"`{tensor['name']}` {tensor['dtype']} ({', '.join(map(str, tensor['shape']))}), {tensor['unit']}"


SECTIONS: tuple[Callable[[Mapping[str, Any]], str], ...] = (
    _head,
    _artifacts,
    _verdicts,
    _ladder,
    _delegation,
    _quantization,
    _boards,
    _origin,
    snippets,
)
