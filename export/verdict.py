"""What an artifact gained and lost, in words that follow from numbers: parity, accuracy and speed.

>>> accuracy_verdict(changed=0, lost=0, gained=0, n=150)["answer"]
'inconclusive'
>>> accuracy_verdict(changed=0, lost=0, gained=0, n=299)["answer"]
'pass'
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime import worker
from edge_runtime.measure import drop_bound, interleaved, quantile, ratio_interval
from edge_runtime.predictor import Predictor

MAX_DROP = 0.01  # one point of accuracy
MOST_SAMPLES = 100_000
PARITY = {"fp32": 1e-4}  # max|a-b| / max|b| a sample; int8 has no bound of its own, its accuracy is judged
BLOCKS = 30
BLOCK_NS = 40_000_000


def outputs_of(predictor: Predictor, inputs: np.ndarray) -> np.ndarray:
    """An artifact's outputs on tensors in the user's units, one at a time: float32 (n, outputs)."""
    name, out = predictor.spec.inputs[0].name, predictor.spec.outputs[0].name
    rows = [np.asarray(predictor.session.run({name: sample[None]})[out], np.float32).ravel() for sample in inputs]
    return np.stack(rows)


def parity(reference: np.ndarray, outputs: np.ndarray, probabilities: bool = True) -> dict[str, Any]:
    """How far outputs are from the eager model's: the worst sample's relative error, and the same best label.

    Args:
        reference: the eager model's outputs, (n, k).
        outputs: the artifact's.
        probabilities: False for Q-values and numbers, which may lie near 0, where an error relative to the
            sample itself says nothing: there the outputs' root mean square is the least scale.
    """
    scale = np.abs(reference).max(axis=1)
    if not probabilities:
        scale = np.maximum(scale, np.sqrt(np.mean(np.square(reference))))
    relative = np.abs(outputs - reference).max(axis=1) / scale
    same = int((outputs.argmax(axis=1) == reference.argmax(axis=1)).sum())
    return {"max_relative": float(relative.max()), "same_top1": same, "n": len(reference)}


def accuracy_verdict(changed: int, lost: int, gained: int, n: int) -> dict[str, Any]:
    """Whether the answers are as good as fp32's, to within one point.

    The drop cannot exceed the share of changed answers, so its one-sided 95 % bound proves a pass.

    Args:
        changed: samples whose best label differs from fp32's.
        lost: those that fp32 had right.
        gained: those that fp32 had wrong and this one has right.
        n: all samples.

    Returns:
        `answer` (pass, fail or inconclusive), `reason`, and the counts.
    """
    bound = drop_bound(changed, n)
    # two one-sided 97.5 % bounds hold together at 95 %
    least = (1 - drop_bound(n - lost, n, 0.975)) - drop_bound(gained, n, 0.975)
    if bound <= MAX_DROP:
        answer, reason = "pass", f"{changed} of {n} answers changed, so at most {bound:.1%} can be lost (95 %)"
    elif least > MAX_DROP:
        answer, reason = "fail", f"lost {lost} and gained {gained} of {n}: at least {least:.1%} are lost (95 %)"
    else:
        answer, reason = "inconclusive", f"{changed} of {n} answers changed: {_more(changed, n)}"
    return {"answer": answer, "reason": reason, "changed": changed, "lost": lost, "gained": gained, "n": n}


def return_verdict(interval: Sequence[float], threshold: float) -> dict[str, Any]:
    """Whether a policy keeps its reward threshold: the lower 95 % bound of its mean return is not below it."""
    low, high = interval
    answer = "pass" if low >= threshold else "fail" if high < threshold else "inconclusive"
    return {
        "answer": answer,
        "reason": f"mean return {low:.1f} to {high:.1f} (95 %), threshold {threshold:.0f}",
    }


def speed_verdict(bundle: Path, name: str, against: str, given: Any, threads: int) -> dict[str, Any]:
    """Faster, no gain, slower or inconclusive against another artifact on this machine; each in its own process.

    Args:
        bundle: the folder that holds both.
        name: the artifact that is judged.
        against: the one it is compared with.
        given: one raw input.
        threads: of each.

    Returns:
        `answer`, `reason`, and `ratio` with its 95 % interval: the judged one's inference time over the other's.
    """
    with worker.device(bundle, name, threads) as one, worker.device(bundle, against, threads) as other:
        systems = {name: one, against: other}
        size = {key: _block_size(system, given) for key, system in systems.items()}
        medians: dict[str, list[float]] = {key: [] for key in systems}
        for key in interleaved(list(systems), BLOCKS):
            answers = systems[key].ask([given] * size[key])
            medians[key].append(quantile([answer["ns"]["inference"] for answer in answers], 0.5))
    ratio, low, high = ratio_interval(medians[name], medians[against])
    answer = speed_answer(low, high)
    reason = f"{ratio:.2f}x the time of {against} ({low:.2f} to {high:.2f}, {threads} threads, here)"
    return {"answer": answer, "reason": reason, "ratio": ratio, "interval": [low, high], "against": against}


def speed_answer(low: float, high: float) -> str:
    """The word for a ratio's 95 % interval; *no gain* only where it lies within 5 % of 1."""
    if high < 1:
        return "faster"
    if low > 1:
        return "slower"
    return "no gain" if low >= 0.95 and high <= 1.05 else "inconclusive"


def _block_size(system: worker.Worker, given: Any) -> int:
    """Runs that fill a block, from a warm-up of five."""
    warm = [answer["ns"]["inference"] for answer in system.ask([given] * 5)]
    return max(3, min(200, math.ceil(BLOCK_NS / quantile(warm, 0.5))))


def _more(changed: int, n: int) -> str:
    """How many more samples would show a pass, if changes stay as rare as they were."""

    def passes(total: int) -> bool:
        return drop_bound(round(changed / n * total), total) <= MAX_DROP

    if changed / n >= MAX_DROP or not passes(MOST_SAMPLES):
        return "no number of samples with changes as frequent shows a pass; labelled ones may"
    total = n + 1 + bisect.bisect_left(range(n + 1, MOST_SAMPLES), True, key=passes)
    return f"{total - n} more samples with changes as rare would show a pass"
