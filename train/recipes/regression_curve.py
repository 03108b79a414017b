"""A curve from noisy points, which no straight line fits: two hidden layers with ReLU between them.

    lokma train regression-curve --curve sine

The curves are a sine, a parabola and a cubic with normal noise, 2,000 training points each. The network is
fitted to standardised y; its last layer is rescaled at the end, so that it answers in y's own unit.

Takes 10 seconds on one core for three seeds. Expect a mean absolute error of at most 1.05 times that of the true
curve on the same 2,000 test points, whichever the curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from edge_runtime.measure import mean_interval
from edge_runtime.spec import Architecture, Normalise
from train.draft import Draft
from train.fit import Batches, fit, one_thread
from train.models import mlp
from train.recipes import MAX_SEED, option
from train.tables import CURVES, Side, TableData, table_data
from train.tabular import answer_in_units, judged, normalise_of, over_seeds, spec_of, tensors
from train.tasks import TASKS


@dataclass(frozen=True)
class Args:
    """The arguments of this recipe."""

    curve: str = option("sine", f"the curve: {', '.join(sorted(CURVES))}", choices=tuple(sorted(CURVES)))
    seed: int = option(0, "fixes the first weights and the order of batches", at_most=MAX_SEED - 99)
    seeds: int = option(3, "trainings, with seeds one after another; the run keeps the first", at_least=1, at_most=99)
    epochs: int = option(100, "passes over the points", at_least=1)
    batch_size: int = option(100, "points a step", at_least=1)
    learning_rate: float = option(0.01, "Adam's first step size; it falls to 0 along a cosine", at_least=0)
    hidden: int = option(32, "width of both hidden layers", at_least=1)


def prepare(args: Args) -> TableData:
    """Makes the points."""
    return table_data(f"curve-{args.curve}")


def train(args: Args, data: TableData, draft: Draft) -> None:
    """Fits the curve once a seed, keeps the first, and compares all with the true curve on the test points."""
    seeds = range(args.seed, args.seed + args.seeds)
    with one_thread():
        fitted = [learn(data.train, args, seed, draft if seed == args.seed else None) for seed in seeds]
    maes = [judged(model, data.test, "regression", normalise).scores["mae"] for model, normalise in fitted]
    draft.read_test("end of training, every seed", mae=maes, n=len(data.test))

    model, normalise = fitted[0]
    true = np.abs(data.test.targets - CURVES[args.curve][0](data.test.rows))[:, 0]
    low, high = mean_interval(true.tolist())
    results = {
        "test_mae": maes[0],
        "test_n": len(data.test),
        "true_mae": float(true.mean()),
        "true_interval": [low, high],
        "ratio": maes[0] / float(true.mean()),
        "seeds": {"seeds": list(seeds), "ratio": over_seeds([mae / float(true.mean()) for mae in maes])},
    }
    draft.finish(model, spec_of(data, normalise, Architecture("mlp", {"sizes": sizes(args)})), results)


def learn(side: Side, args: Args, seed: int, draft: Draft | None = None) -> tuple[nn.Module, Normalise]:
    """Fits a network to points; both x and y are standardised while it learns."""
    torch.manual_seed(seed)
    model, normalise = mlp(sizes(args)), normalise_of(side.rows)
    mean, std = float(side.targets.mean()), float(side.targets.std())
    standard = Side(side.rows, (side.targets - mean) / std)
    batches = Batches(*tensors(standard, "regression", normalise), args.batch_size, seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs * len(batches))
    fit(model, batches, TASKS["regression"], optimizer, args.epochs, schedule, draft=draft)
    answer_in_units(model, mean, std)
    return model, normalise


def sizes(args: Args) -> list[int]:
    """The widths: x in, two hidden layers, y out."""
    return [1, args.hidden, args.hidden, 1]
