"""A straight line from noisy points: the smallest network there is, one weight and one bias.

    lokma train regression-linear

The course's line, y = 0.7 x + 0.3, with normal noise (standard deviation 0.1) on 2,000 training points. No
line can predict the noise, so the true line itself has an error on the 2,000 test points.

Takes 5 seconds on one core for three seeds. Expect a mean absolute error of at most 1.05 times that of the true
line, 0.08, on the same points.
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
from train.models import build
from train.recipes import MAX_SEED, option
from train.tables import Side, TableData, line, table_data
from train.tabular import judged, normalise_of, over_seeds, spec_of, tensors
from train.tasks import TASKS

ARCHITECTURE = Architecture("mlp", {"sizes": [1, 1]})


@dataclass(frozen=True)
class Args:
    """The arguments of this recipe."""

    seed: int = option(0, "fixes the first weights and the order of batches", at_most=MAX_SEED - 99)
    seeds: int = option(3, "trainings, with seeds one after another; the run keeps the first", at_least=1, at_most=99)
    epochs: int = option(20, "passes over the points", at_least=1)
    batch_size: int = option(100, "points a step", at_least=1)
    learning_rate: float = option(0.05, "Adam's first step size; it falls to 0 along a cosine", at_least=0)


def prepare(_args: Args) -> TableData:
    """Makes the points."""
    return table_data("line")


def train(args: Args, data: TableData, draft: Draft) -> None:
    """Fits the line once a seed, keeps the first, and compares all with the true line on the test points."""
    seeds = range(args.seed, args.seed + args.seeds)
    with one_thread():
        fitted = [learn(data.train, args, seed, draft if seed == args.seed else None) for seed in seeds]
    maes = [judged(model, data.test, "regression", normalise).scores["mae"] for model, normalise in fitted]
    draft.read_test("end of training, every seed", mae=maes, n=len(data.test))

    model, normalise = fitted[0]
    true = np.abs(data.test.targets - line(data.test.rows))[:, 0]
    low, high = mean_interval(true.tolist())
    results = {
        "test_mae": maes[0],
        "test_n": len(data.test),
        "true_mae": float(true.mean()),
        "true_interval": [low, high],
        "ratio": maes[0] / float(true.mean()),
        "seeds": {"seeds": list(seeds), "ratio": over_seeds([mae / float(true.mean()) for mae in maes])},
    }
    draft.finish(model, spec_of(data, normalise, ARCHITECTURE), results)


def learn(side: Side, args: Args, seed: int, draft: Draft | None = None) -> tuple[nn.Module, Normalise]:
    """Fits one weight and one bias to points; x is standardised before it comes to them."""
    torch.manual_seed(seed)
    model, normalise = build(ARCHITECTURE), normalise_of(side.rows)
    batches = Batches(*tensors(side, "regression", normalise), args.batch_size, seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs * len(batches))
    fit(model, batches, TASKS["regression"], optimizer, args.epochs, schedule, draft=draft)
    return model, normalise
