"""Judges a bundle's artifacts on real inputs, and writes what came out into their manifest entries."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge_runtime import engines, load
from edge_runtime.measure import mean_interval, wilson
from export.contract import InGraph, output_of
from export.samples import Samples, golden_file, tensors
from export.verdict import accuracy_verdict, outputs_of, parity, return_verdict, speed_verdict
from train.run import add_test_reading

JUDGED = ("multiclass", "policy")  # the tasks that `_accuracy` has a metric for
REWARD_THRESHOLD = 475.0  # gymnasium's registration of CartPole-v1


def judge(folder: Path, manifest: dict[str, Any], run: Any, eager: InGraph, samples: Samples) -> None:
    """Fills `parity`, `accuracy`, `verdict` of every artifact and `outputs` of every golden case, in place.

    An int8 artifact is compared with the fp32 one of the same engine, on the same inputs, answer by answer.
    """
    spec = run.spec
    judged = tensors(spec, samples.evaluation or samples.calibration)
    reference = output_of(eager, torch.from_numpy(judged)).numpy()
    goldens = [golden_file(spec, given) or list(given) for given in samples.golden]
    answers: dict[str, np.ndarray] = {}
    for artifact in manifest["artifacts"]:
        predictor = load(folder, artifact["id"], exact=True)
        answers[artifact["id"]] = outputs_of(predictor, judged)
        for case, given in zip(manifest["golden"], goldens, strict=True):
            case["outputs"][artifact["id"]] = list(predictor.predict(given).values)
        artifact["parity"] = parity(reference, answers[artifact["id"]], spec.task not in ("policy", "regression"))
        artifact["accuracy"] = _accuracy(spec.task, answers[artifact["id"]], samples, predictor)
        predictor.close()
    if run.path is not None:  # a run counts how often its test side was read
        read = {name: entry["accuracy"]["value"] for name, entry in _by_id(manifest).items()}
        add_test_reading(run.path, "export", accuracy=read)
    for artifact in manifest["artifacts"]:
        base = _base(artifact, manifest)
        artifact["verdict"] = None if base is None else _verdict(folder, artifact, base, answers, samples)


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
    right = int((outputs.argmax(axis=1) == np.asarray(samples.labels)).sum())
    n = len(samples.labels)
    low, high = wilson(right, n)
    text = f"{right / n:.1%} ({right} of {n}; {low:.1%} to {high:.1%})"
    return {
        "metric": "top-1",
        "value": right / n,
        "correct": right,
        "n": n,
        "interval": [low, high],
        "text": text,
    }


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
    artifact: Mapping[str, Any],
    base: Mapping[str, Any],
    answers: Mapping[str, np.ndarray],
    samples: Samples,
) -> dict[str, Any]:
    if samples.labels:
        mine, theirs = answers[artifact["id"]].argmax(axis=1), answers[base["id"]].argmax(axis=1)
        labels = np.asarray(samples.labels)
        lost = int(((theirs == labels) & (mine != labels)).sum())
        gained = int(((theirs != labels) & (mine == labels)).sum())
        accuracy = accuracy_verdict(int((mine != theirs).sum()), lost, gained, len(labels))
    else:
        accuracy = return_verdict(artifact["accuracy"]["interval"], REWARD_THRESHOLD)
    given = samples.golden[0]
    threads = engines.default_threads()
    return {"accuracy": accuracy, "speed": speed_verdict(folder, artifact["id"], base["id"], given, threads)}
