"""Is a tumour malignant? A real table: 569 tumours, thirty measurements of their cells' nuclei each.

    lokma train binary-table

scikit-learn's breast cancer table, one hidden layer, one output with BCE-with-logits. Columns reach from 0.001 to
4,000 and are standardised in the graph, so that a row is given as it was measured. The answer is the probability
of *malignant*; `Prediction.labels_at` takes the threshold that fits the price of either mistake.

Takes 10 seconds on one core: 5 folds of the training side for each of three seeds, then the run. Expect a mean
accuracy over the folds that is not below that of scikit-learn's LogisticRegression by more than 0.01. The test
side is read once, at the end. This is an exercise, and no medical device.
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
from train.tables import Side, TableData, table_data
from train.tabular import cross_validate, judged, normalise_of, spec_of, tensors
from train.tasks import TASKS

TURKISH = ("iyi huylu", "kötü huylu")
LICENCES = {"table": "UCI Breast Cancer Wisconsin (Diagnostic) (Wolberg, Street and Mangasarian, 1993), CC BY 4.0"}


@dataclass(frozen=True)
class Args:
    """The arguments of this recipe."""

    seed: int = option(0, "fixes the first weights, the order of batches and the folds", at_most=MAX_SEED - 99)
    seeds: int = option(3, "cross-validations, with seeds one after another", at_least=1, at_most=99)
    folds: int = option(5, "parts of the training rows for cross-validation", at_least=2)
    epochs: int = option(60, "passes over the rows", at_least=1)
    batch_size: int = option(64, "rows a step", at_least=1)
    learning_rate: float = option(3e-3, "AdamW's first step size; it falls to 0 along a cosine", at_least=0)
    weight_decay: float = option(0.3, "pull of the weights towards 0", at_least=0)
    hidden: int = option(32, "width of the hidden layer", at_least=1)


def prepare(_args: Args) -> TableData:
    """Reads the table that ships with scikit-learn."""
    return table_data("breast-cancer")


def train(args: Args, data: TableData, draft: Draft) -> None:
    """Cross-validates beside logistic regression, trains on the whole training side, reads the test side once."""
    seeds = range(args.seed, args.seed + args.seeds)
    with one_thread():
        found = cross_validate(
            data, seeds, args.folds, "accuracy", lambda side, seed: learn(side, args, seed), logistic
        )
        draft.log({"cv_accuracy": found["mean"], "cv_logistic": found["baseline"]["mean"], "cv_n": found["n"]})
        model, normalise = learn(data.train, args, args.seed, draft)

    test = judged(model, data.test, "binary", normalise)
    draft.show_confusion(test.confusion, data.targets)
    draft.read_test("end of training", correct=test.correct, n=test.n)
    results = {
        "cv_accuracy": found["mean"],
        "cv_logistic": found["baseline"]["mean"],
        "cv_difference": found["difference"]["mean"],
        "cv": found,
        "test_accuracy": test.scores["accuracy"],
        "test_correct": test.correct,
        "test_n": test.n,
        "test_interval": list(wilson(test.correct, test.n)),
        "test_f1": test.scores["f1"],
    }
    spec = spec_of(data, normalise, Architecture("mlp", {"sizes": sizes(args)}), TURKISH)
    draft.finish(model, spec, results, licences=LICENCES)


def learn(side: Side, args: Args, seed: int, draft: Draft | None = None) -> tuple[nn.Module, Normalise]:
    """Fits a network to rows."""
    torch.manual_seed(seed)
    model, normalise = mlp(sizes(args)), normalise_of(side.rows)
    batches = Batches(*tensors(side, "binary", normalise), args.batch_size, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=args.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs * len(batches))
    fit(model, batches, TASKS["binary"], optimizer, args.epochs, schedule, draft=draft)
    return model, normalise


def logistic(side: Side, rows: np.ndarray) -> np.ndarray:
    """What scikit-learn's LogisticRegression says of rows, as a logit: (n,)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(side.rows, side.targets[:, 0])
    return fitted.decision_function(rows)


def sizes(args: Args) -> list[int]:
    """The widths: thirty columns in, one hidden layer, one logit out."""
    return [30, args.hidden, 1]
