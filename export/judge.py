"""Judges a bundle's artifacts on real inputs, and writes what came out into their manifest entries."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge_runtime import engines, load
from edge_runtime.measure import mean_interval
from edge_runtime.spec import ModelSpec
from export.contract import InGraph, output_of
from export.metrics import METRICS, agreement
from export.recipes import MENDED
from export.samples import Samples, golden_file, tensors
from export.speed import because, processor, speed_verdict
from export.verdict import outputs_of, return_verdict
from train.run import add_test_reading

JUDGED = (*METRICS, "policy")
CHUNK = 256  # pictures that are held at a time, beyond the test side
REWARD_THRESHOLD = 475.0  # gymnasium's registration of CartPole-v1


def judge(
    folder: Path,
    manifest: dict[str, Any],
    run: Any,
    eager: InGraph,
    samples: Samples,
    max_drop: float,
    ids: Collection[str] | None = None,
) -> None:
    """Fills `parity`, `accuracy`, `verdict` of every artifact and `outputs` of every golden case, in place.

    An int8 artifact is compared with the fp32 one of the same engine, on the same inputs, answer by answer.

    Args:
        folder: the bundle, with the manifest as it is so far.
        manifest: what is filled.
        run: the source.
        eager: the model that artifacts must agree with.
        samples: of which the test side and the unlabelled pictures judge.
        max_drop: the share of answers that may be lost.
        ids: judges these only; None takes all.
    """
    spec = run.spec
    judged = tensors(spec, samples.evaluation or samples.calibration)
    reference = output_of(eager, torch.from_numpy(judged)).numpy()
    goldens = [golden_file(spec, given) or list(given) for given in samples.golden]
    bases = {a["id"]: _base(a, manifest) for a in manifest["artifacts"] if ids is None or a["id"] in ids}
    compared = {name for name, base in bases.items() if base} | {base["id"] for base in bases.values() if base}
    best: dict[str, np.ndarray] = {}
    for artifact in manifest["artifacts"]:
        if artifact["id"] not in bases and artifact["id"] not in compared:
            continue
        predictor = load(folder, artifact["id"], exact=True)
        outputs = outputs_of(predictor, judged)
        best[artifact["id"]] = _answers(spec.task, outputs)
        for case, given in zip(manifest["golden"], goldens, strict=True):
            case["outputs"][artifact["id"]] = list(predictor.predict(given).values)
        artifact["parity"] = agreement(spec.task, reference, outputs)
        artifact["accuracy"] = _accuracy(spec.task, outputs, samples, predictor)
        predictor.close()
    if run.path is not None:  # a run counts how often its test side was read
        read = {name: entry["accuracy"]["value"] for name, entry in _by_id(manifest).items() if name in best}
        add_test_reading(run.path, "export", accuracy=read)
    del judged
    if samples.unlabelled:
        more = best_labels(folder, sorted(compared), spec, samples.unlabelled)
        best = {name: np.concatenate([best[name], more[name]]) for name in compared}
    for artifact in manifest["artifacts"]:
        if artifact["id"] in bases:
            base = bases[artifact["id"]]
            said = None if base is None else _verdict(folder, spec.task, artifact, base, best, samples, max_drop)
            artifact["verdict"] = said


def best_labels(folder: Path, names: Sequence[str], spec: ModelSpec, inputs: Sequence[Any]) -> dict[str, np.ndarray]:
    """The best labels (n,) that artifacts of a bundle give; inputs are read once, and few are held at a time."""
    predictors = {name: load(folder, name, exact=True) for name in names}
    found: dict[str, list[np.ndarray]] = {name: [np.zeros(0, np.int64)] for name in names}
    for start in range(0, len(inputs), CHUNK):
        given = tensors(spec, inputs[start : start + CHUNK])
        for name, predictor in predictors.items():
            found[name].append(_answers(spec.task, outputs_of(predictor, given)))
    for predictor in predictors.values():
        predictor.close()
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _accuracy(task: str, outputs: np.ndarray, samples: Samples, predictor: Any) -> dict[str, Any]:
    if task == "policy":
        from train.episodes import RETURNS, TEST_SEEDS, play

        returns = [float(r) for r in play(lambda row: predictor.predict(row).action, TEST_SEEDS, samples.name).returns]
        low, high = mean_interval(returns, RETURNS)
        mean = statistics.fmean(returns)
        text = f"mean return {mean:.1f} ({low:.1f} to {high:.1f}, {len(returns)} episodes)"
        return {
            "metric": "episodic return",
            "value": mean,
            "n": len(returns),
            "interval": [low, high],
            "text": text,
        }
    return METRICS[task].measure(_answers(task, outputs), np.asarray(samples.labels))


def _answers(task: str, outputs: np.ndarray) -> np.ndarray:
    """What is judged of outputs (n, k): the task's answers, and of a policy the best actions (n,)."""
    return METRICS[task].answers(outputs) if task in METRICS else outputs.argmax(axis=1)


def _by_id(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {artifact["id"]: artifact for artifact in manifest["artifacts"]}


def _base(artifact: Mapping[str, Any], manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The fp32 artifact of the same engine, or None for fp32 itself and where there is none."""
    if artifact["precision"] == "fp32":
        return None
    same = [a for a in manifest["artifacts"] if a["engine"] == artifact["engine"] and a["precision"] == "fp32"]
    return same[0] if same else None


def _verdict(
    folder: Path,
    task: str,
    artifact: Mapping[str, Any],
    base: Mapping[str, Any],
    best: Mapping[str, np.ndarray],
    samples: Samples,
    max_drop: float,
) -> dict[str, Any]:
    if samples.labels:
        truth = np.asarray(samples.labels)
        looks = 2 if artifact["recipe"] in MENDED else 1
        accuracy = METRICS[task].verdict(best[artifact["id"]], best[base["id"]], truth, max_drop, looks)
    else:
        accuracy = return_verdict(artifact["accuracy"]["interval"], REWARD_THRESHOLD)
    threads = engines.default_threads()
    speed = speed_verdict(folder, artifact["id"], base["id"], samples.golden[0], threads)
    speed["reason"] += f"; {because(artifact['delegation'], artifact['precision'], processor())}"
    return {"accuracy": accuracy, "speed": speed}
