"""What is a text about? Any number of five topics at once, from how often each of twenty words stands in it.

    lokma train multilabel

scikit-learn's multilabel generator, 1,000 training texts; one logit a topic, each a yes or no of its own with
BCE-with-logits. There is no real table here: none comes with a package that this project installs.

Takes 15 seconds on one core: 5 folds of the training side for each of three seeds, then the run. Expect a micro-F1
over the folds that is not below that of one-vs-rest logistic regression by more than 0.01. The 2,000 test texts are
read once, at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from edge_runtime.spec import Architecture, Normalise
from train.draft import Draft
from train.fit import Batches, fit, one_thread
from train.models import mlp
from train.recipes import MAX_SEED, option
from train.tables import TOPICS, WORDS, Side, TableData, table_data
from train.tabular import cross_validate, judged, normalise_of, spec_of, tensors
from train.tasks import TASKS

TURKISH = tuple(f"konu {number}" for number in range(TOPICS))


@dataclass(frozen=True)
class Args:
    """The arguments of this recipe."""

    seed: int = option(0, "fixes the first weights, the order of batches and the folds", at_most=MAX_SEED - 99)
    seeds: int = option(3, "cross-validations, with seeds one after another", at_least=1, at_most=99)
    folds: int = option(5, "parts of the training rows for cross-validation", at_least=2)
    epochs: int = option(40, "passes over the rows", at_least=1)
    batch_size: int = option(64, "rows a step", at_least=1)
    learning_rate: float = option(3e-3, "AdamW's first step size; it falls to 0 along a cosine", at_least=0)
    weight_decay: float = option(0.1, "pull of the weights towards 0", at_least=0)
    hidden: int = option(32, "width of the hidden layer", at_least=1)


def prepare(_args: Args) -> TableData:
    """Makes the texts."""
    return table_data("multilabel")


def train(args: Args, data: TableData, draft: Draft) -> None:
    """Cross-validates beside logistic regression, trains on the whole training side, reads the test side once."""
    seeds = range(args.seed, args.seed + args.seeds)
    with one_thread():
        found = cross_validate(
            data, seeds, args.folds, "micro_f1", lambda side, seed: learn(side, args, seed), one_vs_rest
        )
        draft.log({"cv_micro_f1": found["mean"], "cv_logistic": found["baseline"]["mean"], "cv_n": found["n"]})
        model, normalise = learn(data.train, args, args.seed, draft)

    test = judged(model, data.test, "multilabel", normalise)
    draft.read_test("end of training", micro_f1=test.scores["micro_f1"], n=test.n)
    results = {
        "cv_micro_f1": found["mean"],
        "cv_logistic": found["baseline"]["mean"],
        "cv_difference": found["difference"]["mean"],
        "cv": found,
        "test_micro_f1": test.scores["micro_f1"],
        "test_macro_f1": test.scores["macro_f1"],
        "test_n": test.n,
    }
    draft.finish(model, spec_of(data, normalise, Architecture("mlp", {"sizes": sizes(args)}), TURKISH), results)


def learn(side: Side, args: Args, seed: int, draft: Draft | None = None) -> tuple[nn.Module, Normalise]:
    """Fits a network to rows."""
    torch.manual_seed(seed)
    model, normalise = mlp(sizes(args)), normalise_of(side.rows)
    batches = Batches(*tensors(side, "multilabel", normalise), args.batch_size, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=args.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs * len(batches))
    fit(model, batches, TASKS["multilabel"], optimizer, args.epochs, schedule, draft=draft)
    return model, normalise


def one_vs_rest(side: Side, rows: np.ndarray) -> np.ndarray:
    """What scikit-learn's one-vs-rest logistic regression says of rows, as logits: (n, topics)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = OneVsRestClassifier(LogisticRegression(max_iter=1000))
    return make_pipeline(StandardScaler(), classifier).fit(side.rows, side.targets).decision_function(rows)


def sizes(args: Args) -> list[int]:
    """The widths: counts of words in, one hidden layer, a logit a topic out."""
    return [WORDS, args.hidden, TOPICS]
