"""The parity ladder: a model's answers on real inputs, step by step from eager torch to an emulated Raspberry Pi.

Each hop compares a step with the one before it: eager, the exported program (then the quantized one, or the graph
as it was written), the session on this machine, the session on each emulated board.

>>> Hop("session here", "exported program", FP32).of(np.array([[0.9, 0.1]]), np.array([[0.8, 0.2]]))["ok"]
False
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.check import TOLERANCE
from edge_runtime.spec import ModelSpec
from export import boards as pis
from export.metrics import agreement
from export.recipes import Job, Lowered
from export.verdict import PARITY

log = logging.getLogger(__name__)
HERE = "session here"
CONTRACT = frozenset({"normalisation", "last activation"})  # in float everywhere
INTEGER = "before the last dequantize"
# inputs that a board is given: emulated floats take seconds a picture, and int8 is what must be equal
ON_BOARDS = {"xnnpack-int8": 32, "onnx-int8": 32, "xnnpack-int8-dynamic": 32}
FEW_ON_BOARDS = 4


@dataclass(frozen=True)
class Bound:
    """The largest difference that a hop may show, relative to a sample's largest value or absolute."""

    relative: float | None = None
    absolute: float | None = None
    top1: bool = True  # the best label is the same on every sample

    def holds(self, found: Mapping[str, Any]) -> bool:
        """Whether what `Hop.of` measured stays within it; NaN does not."""
        near = self.relative is None or found["max_relative"] <= self.relative
        same = not self.top1 or found["same_top1"] == found["n"]
        return near and same and (self.absolute is None or found["max_abs"] <= self.absolute)

    def __str__(self) -> str:
        parts = [f"{self.relative:.0e} relative"] if self.relative is not None else []
        parts += [f"{self.absolute:.0e} absolute"] if self.absolute is not None else []
        return ", ".join([*parts, *(["the same best label"] if self.top1 else [])])


FP32 = Bound(relative=PARITY["fp32"])
INTEGERS = Bound(absolute=1e-6)  # int8 is the same everywhere; the last softmax is float
EQUAL = Bound(absolute=0.0)


@dataclass(frozen=True)
class Hop:
    """A step, the one it is compared with, and what the difference may be; None where another verdict judges it."""

    step: str
    against: str
    bound: Bound | None

    def of(self, before: np.ndarray, after: np.ndarray, task: str = "multiclass") -> dict[str, Any]:
        """Measures it on outputs (n, k) of the same inputs: a row of the ladder."""
        measured = {"max_abs": float(np.abs(after - before).max()), **agreement(task, before, after)}
        if self.bound is None:
            return {"hop": self.step, "against": self.against, **measured, "bound": None, "ok": None}
        held = {"bound": str(self.bound), "ok": self.bound.holds(measured)}
        return {"hop": self.step, "against": self.against, **measured, **held}


def climb(
    folder: Path,
    manifest: dict[str, Any],
    jobs: Mapping[str, Job],
    lowered: Mapping[str, Lowered],
    boards: bool = False,
) -> None:
    """Fills `ladder` of every artifact in place, and where a hop is bad `first_bad_hop`: hop, against, layer.

    Args:
        folder: the bundle that is being made, with its artifacts and a manifest.
        manifest: what is filled.
        jobs: by artifact id, what its recipe was given; the ladder runs on the job's `probe`.
        lowered: by artifact id, what the recipe gave at last; its `stages` are the steps in between.
        boards: climbs on to the emulated Raspberry Pis (`lokma export --boards`): minutes for pictures of 224 px,
            and `export.boards.missing()` must be None.

    Raises:
        Missing: `boards` was asked for and an emulated board needs something that is not here.
    """
    from export.contract import InGraph, output_of

    if boards:
        pis.require()
    eager: dict[int, np.ndarray] = {}
    tops: dict[str, np.ndarray] = {}
    for artifact in manifest["artifacts"]:
        job, name = jobs[artifact["id"]], artifact["id"]
        if id(job.model) not in eager:
            eager[id(job.model)] = output_of(InGraph(job.model, job.spec).eval(), job.probe).numpy()
        steps = {"eager": eager[id(job.model)], **lowered[name].stages}
        tops[name] = outputs_here(artifact, (folder / artifact["file"]).read_bytes(), job.spec, job.probe.numpy())
        steps[HERE] = tops[name]
        artifact["ladder"] = rungs(artifact, steps, job.spec.task)
    if boards:
        _on_boards(folder, manifest, jobs, tops)
    for artifact in manifest["artifacts"]:
        _name_the_bad(artifact, jobs[artifact["id"]], lowered[artifact["id"]])


def outputs_here(artifact: Mapping[str, Any], data: bytes, spec: ModelSpec, inputs: np.ndarray) -> np.ndarray:
    """What an artifact gives on this machine, one input at a time: float32 (n, k)."""
    from edge_runtime.engines import open_session

    session = open_session(artifact["engine"], data, None, spec.inputs[:1], spec.outputs[:1])
    rows = [session.run({spec.inputs[0].name: one[None]})[spec.outputs[0].name] for one in inputs]
    session.close()
    return np.stack([np.asarray(row, np.float32).ravel() for row in rows])


def rungs(artifact: Mapping[str, Any], steps: Mapping[str, np.ndarray], task: str) -> list[dict[str, Any]]:
    """The rows of one artifact.

    Args:
        artifact: its entry of the manifest.
        steps: the outputs (n, k) of each step, by name, in their order.
        task: of the spec; outputs near 0 have no relative precision.
    """
    rows: list[dict[str, Any]] = []
    for before, after in pairwise(steps):
        bound = bound_of(artifact, after)
        if before.startswith("quantized "):
            # torch and the graph as written emulate integers in floats: they round a few halves otherwise, layer
            # after layer. Where that moves answers further than quantizing itself did, something else is wrong.
            bound = Bound(relative=rows[-1]["max_relative"], top1=False)
        rows.append(Hop(after, before, bound).of(steps[before], steps[after], task))
    return rows


def kept_in_float(artifact: Mapping[str, Any]) -> frozenset[str]:
    """What a quantized artifact leaves in float beside the contract's own, as its entry says."""
    return frozenset((artifact.get("quantization") or {}).get("in_float", ())) - CONTRACT


def is_mixed(artifact: Mapping[str, Any]) -> bool:
    """Whether layers between others stay in float; after the contract's own and the last one come no integers."""
    return "why" in (artifact.get("quantization") or {})


def bound_of(artifact: Mapping[str, Any], step: str) -> Bound | None:
    """What the hop to a step may show. The one that quantizes has no bound: the accuracy verdict judges it."""
    if artifact["precision"] == "fp32" or step in ("exported program", "graph"):
        return FP32
    if step.startswith("quantized "):
        return None
    if artifact["recipe"] == "xnnpack-int8" and not is_mixed(artifact):
        return INTEGERS
    return Bound(relative=TOLERANCE[artifact["precision"]], top1=False)  # as `lokma check` allows between machines


def board_questions(
    artifact: Mapping[str, Any], data: bytes, spec: ModelSpec, inputs: np.ndarray
) -> list[pis.Question]:
    """What the boards are asked about an artifact."""
    n = ON_BOARDS.get(artifact["recipe"], FEW_ON_BOARDS)
    return [pis.Question(artifact["id"], artifact["engine"], data, spec.inputs[0], spec.outputs[0], inputs[:n])]


def sentence(artifact: Mapping[str, Any]) -> str:
    """The first bad hop in words; empty where all are good."""
    if "first_bad_hop" not in artifact:
        return ""
    bad = artifact["first_bad_hop"]
    row = next(row for row in artifact["ladder"] if row["hop"] == bad["hop"])
    return (
        f"the first bad hop is {row['hop']} against {row['against']}: {row['max_abs']:.1e} absolute, "
        f"{row['max_relative']:.1e} relative, the same best label on {row['same_top1']} of {row['n']} "
        f"(allowed: {row['bound']})" + (f", from the layer {bad['layer']} on" if bad["layer"] else "")
    )


def _on_boards(
    folder: Path,
    manifest: Mapping[str, Any],
    jobs: Mapping[str, Job],
    tops: Mapping[str, np.ndarray],
) -> None:
    from export import culprit

    questions, integers = [], {}
    for artifact in manifest["artifacts"]:
        job, data = jobs[artifact["id"]], (folder / artifact["file"]).read_bytes()
        questions += board_questions(artifact, data, job.spec, job.probe.numpy())
        cut = None
        if artifact["recipe"] == "xnnpack-int8" and not is_mixed(artifact):
            cut = culprit.integer_part(artifact, job)
        if cut is not None:
            integers[artifact["id"]] = cut.here(job.probe.numpy())
            questions.append(cut.question(f"{artifact['id']} {INTEGER}", questions[-1].inputs))
    log.info("asking the emulated boards: %s", ", ".join(question.key for question in questions))
    said = pis.answers(questions)
    for artifact in manifest["artifacts"]:
        job, name = jobs[artifact["id"]], artifact["id"]
        for board, found in said.items():
            label, n = pis.label_of(board), len(found[name])
            hop = Hop(label, HERE, bound_of(artifact, label))
            artifact["ladder"].append(hop.of(tops[name][:n], found[name], job.spec.task))
            if name in integers:
                hop = Hop(f"{label}, {INTEGER}", f"{HERE}, {INTEGER}", EQUAL)
                artifact["ladder"].append(hop.of(integers[name][:n], found[f"{name} {INTEGER}"], "policy"))


def _name_the_bad(artifact: dict[str, Any], job: Job, lowered: Lowered) -> None:
    artifact.pop("first_bad_hop", None)
    bad = next((row for row in artifact["ladder"] if row["ok"] is False), None)
    if bad is None:
        return
    from export import culprit

    if artifact["recipe"] == "xnnpack-int8":  # mixed precision may have kept layers that the first job did not
        job = replace(job, in_float=kept_in_float(artifact))
    layer = culprit.layer(artifact, bad, job, lowered)
    artifact["first_bad_hop"] = {"hop": bad["hop"], "against": bad["against"], "layer": layer}
    log.warning("%s: %s", artifact["id"], sentence(artifact))
