"""Four blobs of points: which one does a point belong to?

    lokma train multiclass-blobs

The course's four blobs by scikit-learn's generator, 1,000 training points, one hidden layer, a logit a class. The
blobs nearly touch; whoever knows their middles takes the nearest one, and is right as often as anybody can be.

Takes 5 seconds on one core for three seeds. Expect a test accuracy of at least 0.99 on 2,000 points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from edge_runtime.measure import wilson
from edge_runtime.spec import Architecture, Normalise
from train.draft import Draft
from train.fit import Batches, fit, one_thread
from train.models import mlp
from train.recipes import MAX_SEED, option
from train.tables import BLOBS, Side, TableData, table_data
from train.tabular import judged, normalise_of, over_seeds, spec_of, tensors
from train.tasks import TASKS


@dataclass(frozen=True)
class Args:
    """The arguments of this recipe."""

    seed: int = option(0, "fixes the first weights and the order of batches", at_most=MAX_SEED - 99)
    seeds: int = option(3, "trainings, with seeds one after another; the run keeps the first", at_least=1, at_most=99)
    epochs: int = option(60, "passes over the points", at_least=1)
    batch_size: int = option(50, "points a step", at_least=1)
    learning_rate: float = option(0.01, "Adam's first step size; it falls to 0 along a cosine", at_least=0)
    hidden: int = option(8, "width of the hidden layer", at_least=1)


def prepare(_args: Args) -> TableData:
    """Makes the points."""
    return table_data("blobs")


def train(args: Args, data: TableData, draft: Draft) -> None:
    """Fits the boundaries once a seed, keeps the first, and reads the test points once."""
    seeds = range(args.seed, args.seed + args.seeds)
    with one_thread():
        fitted = [learn(data.train, args, seed, draft if seed == args.seed else None) for seed in seeds]
    tests = [judged(model, data.test, "multiclass", normalise) for model, normalise in fitted]
    draft.show_confusion(tests[0].confusion, data.targets)
    draft.read_test("end of training, every seed", correct=[test.correct for test in tests], n=len(data.test))

    model, normalise = fitted[0]
    results = {
        "test_accuracy": tests[0].scores["accuracy"],
        "test_correct": tests[0].correct,
        "test_n": tests[0].n,
        "test_interval": list(wilson(tests[0].correct, tests[0].n)),
        "nearest_middle_accuracy": float((nearest(data.test.rows) == data.test.targets[:, 0]).mean()),
        "seeds": {"seeds": list(seeds), "accuracy": over_seeds([test.scores["accuracy"] for test in tests])},
    }
    draft.finish(model, spec_of(data, normalise, Architecture("mlp", {"sizes": sizes(args)})), results)


def learn(side: Side, args: Args, seed: int, draft: Draft | None = None) -> tuple[nn.Module, Normalise]:
    """Fits a network to points."""
    torch.manual_seed(seed)
    model, normalise = mlp(sizes(args)), normalise_of(side.rows)
    batches = Batches(*tensors(side, "multiclass", normalise), args.batch_size, seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs * len(batches))
    fit(model, batches, TASKS["multiclass"], optimizer, args.epochs, schedule, draft=draft)
    return model, normalise


def sizes(args: Args) -> list[int]:
    """The widths: x and y in, one hidden layer, a logit a class out."""
    return [2, args.hidden, 4]


def nearest(points: np.ndarray) -> np.ndarray:
    """The blob whose middle is nearest to each of the points (n, 2): the best answer, as all blobs are equally wide."""
    from sklearn.datasets import make_blobs

    _, _, middles = make_blobs(4, **BLOBS, return_centers=True)
    return np.linalg.norm(points[:, None] - middles[None], axis=2).argmin(1)
