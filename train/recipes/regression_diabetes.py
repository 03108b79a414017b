"""How far will diabetes progress within a year? A real table of 442 patients, ten measurements each.

    lokma train regression-diabetes

A wide hidden layer that dropout and a pull of the weights towards 0 keep from learning 353 patients by heart.
Columns are standardised in the graph, and its last layer is rescaled to answer in the score's own unit. A linear
model is hard to beat here; scikit-learn's Ridge on standardised columns is the measure, on the same folds.

Takes 10 seconds on one core: 5 folds of the training side for each of three seeds, then the run. Expect a mean R2
over the folds that is not below Ridge's by more than 0.01. The test side is read once, at the end.
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
from train.tables import Side, TableData, table_data
from train.tabular import answer_in_units, cross_validate, judged, normalise_of, spec_of, tensors
from train.tasks import TASKS

LICENCES = {"table": "Efron, Hastie, Johnstone and Tibshirani, Least Angle Regression, 2004; ships with scikit-learn"}


@dataclass(frozen=True)
class Args:
    """The arguments of this recipe."""

    seed: int = option(0, "fixes the first weights, the order of batches and the folds", at_most=MAX_SEED - 99)
    seeds: int = option(3, "cross-validations, with seeds one after another", at_least=1, at_most=99)
    folds: int = option(5, "parts of the training rows for cross-validation", at_least=2)
    epochs: int = option(60, "passes over the rows", at_least=1)
    batch_size: int = option(64, "rows a step", at_least=1)
    learning_rate: float = option(3e-3, "AdamW's first step size; it falls to 0 along a cosine", at_least=0)
    weight_decay: float = option(1.0, "pull of the weights towards 0", at_least=0)
    hidden: int = option(32, "width of the hidden layer", at_least=1)


def prepare(_args: Args) -> TableData:
    """Reads the table that ships with scikit-learn."""
    return table_data("diabetes")


def train(args: Args, data: TableData, draft: Draft) -> None:
    """Cross-validates beside Ridge, trains on the whole training side, reads the test side once."""
    seeds = range(args.seed, args.seed + args.seeds)
    with one_thread():
        found = cross_validate(data, seeds, args.folds, "r2", lambda side, seed: learn(side, args, seed), ridge)
        draft.log({"cv_r2": found["mean"], "cv_ridge_r2": found["baseline"]["mean"], "cv_n": found["n"]})
        model, normalise = learn(data.train, args, args.seed, draft)

    test = judged(model, data.test, "regression", normalise)
    errors = np.abs(answers(model, data.test, normalise) - data.test.targets)[:, 0]
    draft.read_test("end of training", mae=test.scores["mae"], n=test.n)
    results = {
        "cv_r2": found["mean"],
        "cv_ridge_r2": found["baseline"]["mean"],
        "cv_difference": found["difference"]["mean"],
        "cv": found,
        "test_mae": test.scores["mae"],
        "test_interval": list(mean_interval(errors.tolist())),
        "test_r2": test.scores["r2"],
        "test_n": test.n,
    }
    spec = spec_of(data, normalise, Architecture("mlp", {"sizes": sizes(args)}))
    draft.finish(model, spec, results, licences=LICENCES)


def learn(side: Side, args: Args, seed: int, draft: Draft | None = None) -> tuple[nn.Module, Normalise]:
    """Fits a network to rows; columns and target are standardised while it learns."""
    torch.manual_seed(seed)
    model, normalise = mlp(sizes(args)), normalise_of(side.rows)
    mean, std = float(side.targets.mean()), float(side.targets.std())
    standard = Side(side.rows, (side.targets - mean) / std)
    batches = Batches(*tensors(standard, "regression", normalise), args.batch_size, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=args.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs * len(batches))
    fit(model, batches, TASKS["regression"], optimizer, args.epochs, schedule, draft=draft)
    answer_in_units(model, mean, std)
    return model, normalise


def ridge(side: Side, rows: np.ndarray) -> np.ndarray:
    """What scikit-learn's Ridge says of rows, fitted to a side: (n, 1)."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), Ridge()).fit(side.rows, side.targets).predict(rows)


def answers(model: nn.Module, side: Side, normalise: Normalise) -> np.ndarray:
    """What the model says of a side, in the target's unit: (n, 1)."""
    with torch.inference_mode():
        return model(tensors(side, "regression", normalise)[0]).numpy()


def sizes(args: Args) -> list[int]:
    """The widths: ten columns in, one hidden layer, the score out."""
    return [10, args.hidden, 1]
