"""What the recipes for tables share: from rows to tensors, from a table to its spec, folds, and several seeds.

>>> over_seeds([1, 2, 3])
{'by_seed': [1, 2, 3], 'mean': 2.0, 'interval': [-0.4841..., 4.4841...]}
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_runtime.errors import BadRequest
from edge_runtime.spec import Architecture, Label, ModelSpec, Normalise, TensorSpec
from train.fit import Batches, Evaluation, evaluate
from train.tables import Side, TableData
from train.tasks import TASKS

Fitted = Callable[[Side, int], tuple[nn.Module, Normalise]]
Baseline = Callable[[Side, np.ndarray], np.ndarray]


def normalise_of(rows: np.ndarray) -> Normalise:
    """Mean and standard deviation of each column of training rows, (n, columns); 1 where a column never changes."""
    mean, std = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
    return Normalise(tuple(map(float, mean)), tuple(float(value) if value > 0 else 1.0 for value in std))


def tensors(side: Side, task: str, normalise: Normalise) -> tuple[Tensor, Tensor]:
    """Normalised float32 (n, columns), and what the task's loss takes: int64 (n,) classes or float32 (n, outputs)."""
    rows = (side.rows - np.array(normalise.mean)) / np.array(normalise.std)
    targets = torch.from_numpy(side.targets)
    return torch.from_numpy(rows.astype(np.float32)), targets[:, 0].long() if task == "multiclass" else targets


def judged(model: nn.Module, side: Side, task: str, normalise: Normalise) -> Evaluation:
    """Loss and scores of a model on one side, in the target's unit."""
    return evaluate(model, Batches(*tensors(side, task, normalise), 4096, 0), TASKS[task])


def answer_in_units(model: nn.Sequential, mean: float, std: float) -> None:
    """Makes a network that was fitted to `(target - mean) / std` answer in the target's own unit, in place.

    Its last layer is linear, so that undoing the standardisation is another weight and another bias of that
    layer: what is exported has no step more, and nothing outside the graph must remember two numbers.
    """
    last = model[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.mul_(std)
        last.bias.mul_(std).add_(mean)


def spec_of(
    data: TableData, normalise: Normalise, architecture: Architecture, turkish: Sequence[str] = ()
) -> ModelSpec:
    """What a model of a table takes and gives: raw columns in, probabilities or numbers in the target's unit out.

    Args:
        data: the table.
        normalise: of its training rows.
        architecture: the network.
        turkish: display names of its labels, in their order; without them the ids are shown.
    """
    labels = () if data.task == "regression" else data.targets
    outputs = {
        "binary": TensorSpec("probability", "float32", ("batch", 1), f"probability of {data.targets[-1]}"),
        "regression": TensorSpec("value", "float32", ("batch", 1), data.target_unit or data.targets[0]),
    }
    many = TensorSpec("probabilities", "float32", ("batch", len(data.targets)), "probability")
    named = [" ".join(filter(None, pair)) for pair in zip(data.columns, data.units, strict=True)]
    return ModelSpec(
        name=data.name,
        task=data.task,
        inputs=(TensorSpec("row", "float32", ("batch", len(data.columns)), ", ".join(named)),),
        outputs=(outputs.get(data.task, many),),
        labels=tuple(Label(one, one, name) for one, name in zip(labels, turkish or labels, strict=True)),
        normalise=normalise,
        architecture=architecture,
        columns=data.columns,
    )


def cross_validate(
    data: TableData, seeds: Sequence[int], folds: int, score: str, fitted: Fitted, baseline: Baseline
) -> dict[str, Any]:
    """Trains on all folds of the training side but one and scores that one, in turn, and a baseline beside it.

    Args:
        data: the table; its test side is not read.
        seeds: each draws folds of its own, and fixes the model's.
        folds: how many.
        score: a key of the task's `scores`.
        fitted: takes the rows to train on and a seed, gives a model and how its columns are normalised.
        baseline: takes the rows to train on, and others (n, columns); gives raw outputs for those.

    Returns:
        The score's mean over folds for each seed, the baseline's, and their difference with its interval.

    Raises:
        BadRequest: a class has fewer rows than there are folds, or a fold's targets do not give the score.
    """
    task, ours, theirs = TASKS[data.task], [], []
    for seed in seeds:
        parts: list[tuple[float, float]] = []
        for kept, held in _folds(data, folds, seed):
            train, unseen = data.train.part(kept), data.train.part(held)
            model, normalise = fitted(train, seed)
            _, targets = tensors(unseen, data.task, normalise)
            answers = torch.from_numpy(np.asarray(baseline(train, unseen.rows), np.float32))
            theirs_here = task.judge(answers.reshape(len(unseen), -1), targets)[0][score]
            parts.append((_number(judged(model, unseen, data.task, normalise).scores[score]), _number(theirs_here)))
        ours.append(statistics.fmean(part[0] for part in parts))
        theirs.append(statistics.fmean(part[1] for part in parts))
    difference = [mine - other for mine, other in zip(ours, theirs, strict=True)]
    return {
        "score": score,
        "folds": folds,
        "n": len(data.train),
        "seeds": list(seeds),
        **over_seeds(ours),
        "baseline": over_seeds(theirs),
        "difference": over_seeds(difference),
    }


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Values of several seeds, their mean, and its 95 % interval by Student's t; None for one seed, which has none."""
    mean, n = statistics.fmean(values), len(values)
    interval = None
    if n > 1:
        from scipy.special import stdtrit

        half = float(stdtrit(n - 1, 0.975)) * statistics.stdev(values) / math.sqrt(n)
        interval = [mean - half, mean + half]
    return {"by_seed": list(values), "mean": mean, "interval": interval}


def _folds(data: TableData, folds: int, seed: int) -> Any:
    from sklearn.model_selection import KFold, StratifiedKFold

    if data.task not in ("binary", "multiclass"):
        if folds > len(data.train):
            raise BadRequest(f"folds must be at most {len(data.train)}, the training rows of {data.name}")
        return KFold(folds, shuffle=True, random_state=seed).split(data.train.rows)
    classes = data.train.targets[:, 0]
    label, fewest = min(Counter(classes.tolist()).items(), key=lambda item: item[1])
    if folds > fewest:
        raise BadRequest(f"folds must be at most {fewest}, the training rows of {data.targets[int(label)]!r}")
    return StratifiedKFold(folds, shuffle=True, random_state=seed).split(data.train.rows, classes)


def _number(score: float | None) -> float:
    if score is None:
        raise BadRequest("in one of the folds all targets are equal, so that it has no R2; ask for fewer --folds")
    return score
