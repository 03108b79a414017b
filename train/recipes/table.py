"""Your own table: columns of numbers in, a class or a number out.

    lokma train table --data houses.csv --target price
    lokma export runs/houses

A `.csv` with a header, or a `.parquet`; a target of words or of few numbers is a class, of many numbers a quantity
(`--task` says otherwise). One hidden layer; columns are standardised inside the exported graph, so that a device
takes the raw row. A fifth of the rows, seeded and with the same share of each class, is the test side: it is read once.

Takes 10 seconds on one core for a thousand rows. Expect no number in advance: what your table allows is said by the
run, over five folds, as what scikit-learn's logistic regression (or Ridge) reaches on them beside this network.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edge_runtime.errors import BadRequest
from edge_runtime.spec import Architecture, Normalise
from train.draft import Draft
from train.fit import Batches, fit, one_thread
from train.models import mlp
from train.own_tables import TASKS as OWN
from train.own_tables import own_table
from train.recipes import MAX_SEED, option
from train.tables import Side, TableData
from train.tabular import answer_in_units, cross_validate, judged, normalise_of, spec_of, tensors
from train.tasks import TASKS

SCORES = {"binary": "accuracy", "multiclass": "accuracy", "regression": "r2"}


@dataclass(frozen=True)
class Args:
    """The arguments of this recipe."""

    data: str = option("", "the table: a .csv with a header, or a .parquet")
    target: str = option("", "the column that is to be said")
    task: str = option("auto", "what the target is; auto looks at it", choices=("auto", *OWN))
    seed: int = option(0, "fixes the first weights, the order of batches and the folds", at_most=MAX_SEED - 99)
    seeds: int = option(3, "cross-validations, with seeds one after another", at_least=1, at_most=99)
    folds: int = option(5, "parts of the training rows for cross-validation", at_least=2)
    epochs: int = option(60, "passes over the rows", at_least=1)
    batch_size: int = option(64, "rows a step", at_least=1)
    learning_rate: float = option(3e-3, "AdamW's first step size; it falls to 0 along a cosine", at_least=0)
    weight_decay: float = option(0.1, "pull of the weights towards 0", at_least=0)
    hidden: int = option(32, "width of the hidden layer", at_least=1)


def run_of(args: Args) -> str:
    """The run is called as the file is."""
    return Path(args.data).stem or "table"


def prepare(args: Args) -> TableData:
    """Reads the table.

    Raises:
        BadRequest: it, or the target, was not named.
    """
    if not args.data or not args.target:
        raise BadRequest("say which table and which column: lokma train table --data FILE.csv --target COLUMN")
    return own_table(Path(args.data), args.target, args.task)


def train(args: Args, data: TableData, draft: Draft) -> None:
    """Cross-validates beside a linear model, trains on the whole training side, reads the test side once."""
    seeds, score = range(args.seed, args.seed + args.seeds), SCORES[data.task]
    with one_thread():
        found = cross_validate(
            data,
            seeds,
            args.folds,
            score,
            lambda side, seed: learn(side, args, seed, data),
            lambda side, rows: linear(side, rows, data.task),
        )
        draft.log({f"cv_{score}": found["mean"], "cv_linear": found["baseline"]["mean"], "cv_n": found["n"]})
        model, normalise = learn(data.train, args, args.seed, data, draft)

    test = judged(model, data.test, data.task, normalise)
    if test.confusion:
        draft.show_confusion(test.confusion, data.targets)
    draft.read_test("end of training", n=test.n, **test.scores)
    results = {
        f"cv_{score}": found["mean"],
        "cv_linear": found["baseline"]["mean"],
        "cv_difference": found["difference"]["mean"],
        "cv": found,
        **{f"test_{name}": value for name, value in test.scores.items()},
        "test_n": test.n,
    }
    named = dataclasses.replace(data, name=run_of(args))
    draft.finish(model, spec_of(named, normalise, Architecture("mlp", {"sizes": sizes(args, data)})), results)


def learn(
    side: Side, args: Args, seed: int, data: TableData, draft: Draft | None = None
) -> tuple[nn.Module, Normalise]:
    """Fits a network to rows; a quantity is standardised while it learns."""
    torch.manual_seed(seed)
    model, normalise = mlp(sizes(args, data)), normalise_of(side.rows)
    mean, std = (float(side.targets.mean()), float(side.targets.std())) if data.task == "regression" else (0.0, 1.0)
    standard = Side(side.rows, (side.targets - mean) / std)
    batches = Batches(*tensors(standard, data.task, normalise), args.batch_size, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=args.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs * len(batches))
    fit(model, batches, TASKS[data.task], optimizer, args.epochs, schedule, draft=draft)
    if data.task == "regression":
        answer_in_units(model, mean, std)
    return model, normalise


def linear(side: Side, rows: np.ndarray, task: str) -> np.ndarray:
    """What scikit-learn's Ridge or LogisticRegression says of rows: numbers, or raw outputs, (n,) or (n, classes)."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = Ridge() if task == "regression" else LogisticRegression(max_iter=1000)
    fitted = make_pipeline(StandardScaler(), model).fit(side.rows, side.targets[:, 0])
    return fitted.predict(rows) if task == "regression" else fitted.decision_function(rows)


def sizes(args: Args, data: TableData) -> list[int]:
    """The widths: the columns in, one hidden layer, and a logit a class, one for yes or no, or the number out."""
    return [len(data.columns), args.hidden, len(data.targets) if data.task == "multiclass" else 1]
