"""Mixed precision: where int8 changes too many answers, the layers that it hurts most stay in float.

The verdict on the test side only says that fewer changes are needed, and how many times fewer. Which layers stay,
and whether enough do, is decided on training-side inputs that calibration did not see: near a boundary the share of
answers that change is proportional to how far int8 moves the outputs, and that can be measured without any change.

What is made so is judged on the same test side again, and how much was needed came from the first look at it. So
both looks at a recipe that may be mended are held to a bound at 97.5 %: together they err in at most 5 %.

>>> needed(changed=22, n=1079, max_drop=0.01)
0.18181818181818182
"""

from __future__ import annotations

import bisect
import hashlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge_runtime.engines import open_session
from edge_runtime.errors import BadInput, one_line
from edge_runtime.measure import drop_bound, quantile
from edge_runtime.spec import ModelSpec
from export.onnx_graph import RawGraph
from export.program import TRACE_ERRORS
from export.recipes import MENDED, RECIPES, Job, Lowered
from export.samples import Samples, halfway, tensors
from export.sensitivity import Sensitivity, sensitivity
from export.verdict import confidence

log = logging.getLogger(__name__)

TRIES = (1, 2, 4, 8, 16, 32, 64)  # layers in float; each try lowers once. All of them where that costs no room
HOPELESS = 2  # times as far as wanted, by what the layers left do alone: such a try is not made
COMPARED = 48  # training-side inputs that outputs are compared on
FEWEST = 16
MIXTURES = 2  # that are quiet enough: more in float may be faster, where less lies between integers
MAX_SIZE = 0.30  # of the fp32 file, where int8 alone is below it


def guilty(artifact: Mapping[str, Any]) -> bool:
    """Whether an int8 artifact's verdict lacks a pass for answers that changed, and not for want of pictures."""
    accuracy = (artifact["verdict"] or {}).get("accuracy", {})
    return (
        artifact["recipe"] in MENDED
        and accuracy.get("answer") in ("fail", "inconclusive")
        and accuracy.get("changed", 0) > 0
        and needed(accuracy["changed"], accuracy["n"], accuracy["max_drop"]) > 0
    )


def needed(changed: int, n: int, max_drop: float) -> float:
    """The most changes that would pass the second look, over those there were; 0 where not even none would."""
    too_many = bisect.bisect_left(
        range(changed), True, key=lambda count: drop_bound(count, n, confidence(2)) > max_drop
    )
    return max(0, too_many - 1) / changed


def mend(
    jobs: Mapping[str, Job],
    lowered: Mapping[str, Lowered],
    artifacts: list[dict[str, Any]],
    samples: Samples,
    lower: Callable[[Mapping[str, Job]], Mapping[str, Lowered]],
) -> dict[str, Lowered]:
    """Finds, for each artifact that is `guilty`, the layers to stay in float that make its outputs quiet enough.

    Those are the ones that int8 hurts most; of the two smallest numbers of them that do, the one that is faster here.

    Args:
        jobs: what the recipes were given.
        lowered: what they gave, for the same names.
        artifacts: the manifest's entries, judged; those that are guilty get `quantization.sensitivity`, and
            `quantization.mixed` with what was tried.
        samples: of which only `held` is read.
        lower: makes artifacts of jobs.

    Returns:
        The artifacts that take the place of those of the same name, which then must be written and judged; their
        `quantization.in_float` names the layers. None of those that no try made quiet enough.
    """
    found: dict[str, Lowered] = {}
    ranked: Sensitivity | None = None
    for artifact in artifacts:
        name = artifact["recipe"]
        if name not in jobs or not guilty(artifact) or isinstance(jobs[name].model, RawGraph):
            continue
        job, base = jobs[name], f"{name.partition('-')[0]}-fp32"
        held = _held(job.spec, samples)
        if base not in lowered or len(held) < FEWEST:
            continue
        if ranked is None:
            log.info("measuring which layers int8 hurts most")
            ranked = sensitivity(job.model, job.spec, job.calibration, torch.from_numpy(held))
        found |= _mended(job, name, artifact, (lowered[base], lowered[name]), held, ranked, lower)
    return found


def _mended(
    job: Job,
    name: str,
    artifact: dict[str, Any],
    before: tuple[Lowered, Lowered],
    held: np.ndarray,
    ranked: Sensitivity,
    lower: Callable[[Mapping[str, Job]], Mapping[str, Lowered]],
) -> dict[str, Lowered]:
    accuracy = artifact["verdict"]["accuracy"]
    share = needed(accuracy["changed"], accuracy["n"], accuracy["max_drop"])
    fp32, plain = before
    reference = _outputs(name, job.spec, fp32.data, held)
    noise = distance(_outputs(name, job.spec, plain.data, held), reference)
    small = MAX_SIZE * len(fp32.data)
    limit = small if len(plain.data) <= small else math.inf
    layers = list(ranked.layers)
    tried: list[dict[str, Any]] = []
    note = {"wanted": share * noise, "int8": noise, "inputs": len(held), "tried": tried}
    artifact["quantization"] = {**artifact["quantization"], "sensitivity": ranked.to_dict(), "mixed": note}
    quiet: list[tuple[dict[str, Any], Lowered]] = []
    free = "inputs_in_float" in plain.details["quantization"]
    for count in _counts(list(ranked.layers.values()), share, free):
        chosen = frozenset(layers[:count])
        log.info("lowering %s with %d layers in float", name, count)
        try:
            result = lower({name: replace(job, in_float=chosen)})[name]
        except TRACE_ERRORS as error:  # a backend may refuse a mixture; the plain one stands
            log.warning("%s with %d layers in float cannot be lowered: %s", name, count, one_line(str(error))[:200])
            tried.append({"layers": count, "error": one_line(str(error))[:200]})
            continue
        moved = distance(_outputs(name, job.spec, result.data, held), reference)
        tried.append({"layers": count, "distance": moved, "size_bytes": len(result.data)})
        if len(result.data) > limit:
            break
        quiet += [(tried[-1], result)] if moved <= share * noise else []
        if len(quiet) == MIXTURES:
            break
    if not quiet:
        return {}
    for (row, _), ms in zip(quiet, _milliseconds(name, job.spec, [one.data for _, one in quiet], held), strict=True):
        row["ms"] = ms
    row, result = min(quiet, key=lambda one: one[0]["ms"])
    kept, moved = ", ".join(layers[: row["layers"]]), row["distance"]
    why = f"{kept}: outputs move {moved:.2g} instead of {noise:.2g} on training-side inputs"
    details = dict(result.details)
    details["quantization"] = {**artifact["quantization"], **details["quantization"], "why": why}
    return {name: replace(result, details=details)}


def _counts(errors: Sequence[float], share: float, free: bool = False) -> list[int]:
    """Of `TRIES` those that may do: what layers move outputs by, the largest first, adds up as squares."""
    whole = math.hypot(*errors)
    counts = [count for count in TRIES if count < len(errors)] + [len(errors)] * free
    return [count for count in counts if math.hypot(*errors[count:]) <= HOPELESS * share * whole]


def distance(outputs: np.ndarray, reference: np.ndarray) -> float:
    """The root mean square change of the outputs' logarithms against the best one's: what decides an answer.

    Args:
        outputs: probabilities (n, k).
        reference: those of fp32.
    """
    rows = np.arange(len(reference))
    best = reference.argmax(axis=1)
    logs = [np.log(np.maximum(values, 1e-12)) for values in (outputs, reference)]
    ours, theirs = (values - values[rows, best][:, None] for values in logs)
    others = np.arange(reference.shape[1])[None] != best[:, None]
    return float(np.sqrt(np.mean(np.square(ours - theirs)[others])))


def replaced(artifact: dict[str, Any], result: Lowered, folder: Path) -> None:
    """Writes a mended artifact's file over the one before, and what is known of it into its entry."""
    (folder / artifact["file"]).write_bytes(result.data)
    artifact["sha256"] = hashlib.sha256(result.data).hexdigest()
    artifact["size_bytes"] = len(result.data)
    artifact.update(result.details)


def _held(spec: ModelSpec, samples: Samples) -> np.ndarray:
    """Close calls (n, …) made of the held inputs; the inputs themselves where they are no pictures.

    A model is sure of what it was trained on, and there mostly large outputs move, which decide nothing. Halfway
    between two pictures of different labels it is not: on EfficientNet-Lite0 int8 changed 5 % of the answers there,
    and as many on pictures that it had never seen, half of them of other things than it knows.
    """
    rows: list[np.ndarray] = []
    for given in samples.held:
        if len(rows) == COMPARED + 1:
            break
        try:
            rows.append(tensors(spec, [given])[0])
        except BadInput as error:
            log.warning("left out: %s", error)
    if not rows:
        return np.zeros((0, *spec.inputs[0].sample_shape), spec.inputs[0].dtype)
    found = np.stack(rows)
    if spec.image is None:
        return found[:COMPARED]
    return halfway(found)


def _milliseconds(name: str, spec: ModelSpec, files: Sequence[bytes], inputs: np.ndarray) -> list[float]:
    """The median time of one input, of each file, in turn."""
    sessions = [open_session(RECIPES[name].engine, data, None, spec.inputs, spec.outputs) for data in files]
    taken: list[list[int]] = [[] for _ in files]
    for x in inputs:
        for session, times in zip(sessions, taken, strict=True):
            began = time.perf_counter_ns()
            session.run({spec.inputs[0].name: x[None]})
            times.append(time.perf_counter_ns() - began)
    for session in sessions:
        session.close()
    return [quantile(times, 0.5) / 1e6 for times in taken]


def _outputs(name: str, spec: ModelSpec, data: bytes, inputs: np.ndarray) -> np.ndarray:
    session = open_session(RECIPES[name].engine, data, None, spec.inputs, spec.outputs)
    given, out = spec.inputs[0].name, spec.outputs[0].name
    rows = [np.asarray(session.run({given: x[None]})[out], np.float32).ravel() for x in inputs]
    session.close()
    return np.stack(rows)
