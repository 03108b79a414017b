"""Two circles, one inside the other: a small network bends its boundary into a ring.

    lokma train binary-circles

The course's 1,000 points on circles of radius 1 and 0.8 with normal noise (standard deviation 0.03), by
scikit-learn's generator; one output, BCE-with-logits. Where the noise carries a point across, nobody can tell;
`bayes_accuracy` is what remains for whoever knows the generator.

Takes 10 seconds on one core for three seeds. Expect at least that accuracy, 0.9996, less 0.01, on 10,000 test points.
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
from train.tables import CIRCLES, Side, TableData, table_data
from train.tabular import judged, normalise_of, over_seeds, spec_of, tensors
from train.tasks import TASKS

TURKISH = ("dış", "iç")


@dataclass(frozen=True)
class Args:
    """The arguments of this recipe."""

    seed: int = option(0, "fixes the first weights and the order of batches", at_most=MAX_SEED - 99)
    seeds: int = option(3, "trainings, with seeds one after another; the run keeps the first", at_least=1, at_most=99)
    epochs: int = option(100, "passes over the points", at_least=1)
    batch_size: int = option(50, "points a step", at_least=1)
    learning_rate: float = option(0.01, "Adam's first step size; it falls to 0 along a cosine", at_least=0)
    hidden: int = option(16, "width of both hidden layers", at_least=1)


def prepare(_args: Args) -> TableData:
    """Makes the points."""
    return table_data("circles")


def train(args: Args, data: TableData, draft: Draft) -> None:
    """Fits the boundary once a seed, keeps the first, and reads the test points once."""
    seeds = range(args.seed, args.seed + args.seeds)
    with one_thread():
        fitted = [learn(data.train, args, seed, draft if seed == args.seed else None) for seed in seeds]
    tests = [judged(model, data.test, "binary", normalise) for model, normalise in fitted]
    draft.show_confusion(tests[0].confusion, data.targets)
    draft.read_test("end of training, every seed", correct=[test.correct for test in tests], n=len(data.test))

    model, normalise = fitted[0]
    results = {
        "test_accuracy": tests[0].scores["accuracy"],
        "test_correct": tests[0].correct,
        "test_n": tests[0].n,
        "test_interval": list(wilson(tests[0].correct, tests[0].n)),
        "bayes_accuracy": bayes_accuracy(CIRCLES["noise"], CIRCLES["factor"]),
        "seeds": {"seeds": list(seeds), "accuracy": over_seeds([test.scores["accuracy"] for test in tests])},
    }
    draft.finish(model, spec_of(data, normalise, Architecture("mlp", {"sizes": sizes(args)}), TURKISH), results)


def learn(side: Side, args: Args, seed: int, draft: Draft | None = None) -> tuple[nn.Module, Normalise]:
    """Fits a network to points."""
    torch.manual_seed(seed)
    model, normalise = mlp(sizes(args)), normalise_of(side.rows)
    batches = Batches(*tensors(side, "binary", normalise), args.batch_size, seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs * len(batches))
    fit(model, batches, TASKS["binary"], optimizer, args.epochs, schedule, draft=draft)
    return model, normalise


def sizes(args: Args) -> list[int]:
    """The widths: x and y in, two hidden layers, one logit out."""
    return [2, args.hidden, args.hidden, 1]


def bayes_accuracy(noise: float, factor: float) -> float:
    """The best accuracy that anybody can have on two equally frequent noisy circles of radius 1 and `factor`.

    The angle says nothing, so only the distance from the middle counts. A point on a circle of radius r with normal
    noise s in x and y lies at a distance that follows Rice's density, d / s² exp(-(d² + r²) / 2s²) I0(d r / s²)
    (Rice, Mathematical Analysis of Random Noise, 1945). The best guess at a distance is the denser circle, so
    its accuracy is the integral of half the larger density; here by the trapezoidal rule on 200,001 distances.
    """
    from scipy.special import i0e  # I0(x) exp(-x): I0 itself is too large for a float

    distance = np.linspace(0, 1 + 12 * noise, 200_001)
    densities = [
        distance / noise**2 * np.exp(-((distance - radius) ** 2) / (2 * noise**2)) * i0e(distance * radius / noise**2)
        for radius in (1.0, factor)
    ]
    return float(np.trapezoid(np.maximum(*densities) / 2, distance))
