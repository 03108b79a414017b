"""FoodVision Mini: is it pizza, steak or sushi? A frozen EfficientNet-Lite0 with a linear head.

    LOKMA_DATA=/path/with/pizza_steak_sushi lokma train foodvision

The course's feature extraction: the backbone keeps its ImageNet weights, sees every picture once, and
what it sees is kept on disk; only the head learns, in seconds. Without `LOKMA_DATA` the course's 20 %
set (450 training and 150 test pictures) is downloaded.

Takes 1 minute on two cores, then 10 seconds from the cache. Expect at least 144 of 150 test pictures
(96 %; one standard error is 1.3 points). The weight decay was chosen by 5-fold cross-validation on the
450 training pictures, which every training runs again and records; the test split is read once, at the end.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from sklearn.model_selection import StratifiedKFold
from torch import Tensor, nn

from edge_runtime.errors import BadRequest
from edge_runtime.spec import Architecture, ImageSpec, Label, ModelSpec, Normalise, TensorSpec
from train.data import ImageData, image_data
from train.effnet_lite import EfficientNetLite, load_backbone, weights_file
from train.features import features
from train.fit import Batches, Evaluation, Log, evaluate, fit, one_thread
from train.recipes import MAX_SEED, option
from train.run import Draft
from train.tasks import TASKS

TASK = TASKS["multiclass"]
TURKISH = {"pizza": "pizza", "steak": "biftek", "sushi": "suşi"}
SIZE = 224
IMAGE = ImageSpec(resize=256, crop=SIZE, filter="bicubic")
NORMALISE = Normalise((127.5,) * 3, (127.5,) * 3)  # what these weights were trained with; not ImageNet's usual
LICENCES = {
    "backbone": "EfficientNet-Lite0 weights by Google, Apache-2.0",
    "pictures": "Food-101 (Bossard et al., 2014), from Foodspotting: scientific fair use, not shipped",
}


@dataclass(frozen=True)
class Args:
    """The arguments of this recipe."""

    seed: int = option(0, "fixes the head's first weights, the order of batches and the folds", at_most=MAX_SEED)
    epochs: int = option(30, "passes over the features", at_least=1)
    batch_size: int = option(64, "features a step", at_least=1)
    learning_rate: float = option(3e-3, "Adam's first step size; it falls to 0 along a cosine", at_least=0)
    weight_decay: float = option(
        0.05, "L2 penalty on the head's weights; it decides how sure the head may be", at_least=0
    )
    folds: int = option(5, "parts of the training pictures for cross-validation", at_least=2)


def prepare(args: Args) -> ImageData:
    """Finds or downloads the pictures.

    Raises:
        BadRequest: a label has fewer training pictures than there are folds.
    """
    data = image_data("foodvision-mini")
    label, fewest = min(Counter(example.label for example in data.train).items(), key=lambda item: item[1])
    if args.folds > fewest:
        raise BadRequest(f"folds must be at most {fewest}, the training pictures of {data.labels[label]!r}")
    return data


def train(args: Args, data: ImageData, draft: Draft) -> None:
    """Computes features, cross-validates, trains the head, reads the test split once."""
    spec = spec_of(data.labels)
    torch.manual_seed(args.seed)
    model = EfficientNetLite(len(data.labels), SIZE)
    load_backbone(model, weights_file())

    seen, labels = features(model, "train", data.train, data.sha256, IMAGE, NORMALISE)
    with one_thread():
        validation = cross_validate(seen, labels, args)
        fit_head(model.classifier, seen, labels, args, draft.log)
    draft.log({"cv_accuracy": validation.metric, "cv_right": int(validation.metric_sum), "cv_n": validation.n})

    unseen, truth = features(model, "test", data.test, data.sha256, IMAGE, NORMALISE)
    test = evaluate(model.classifier, Batches(unseen, truth, args.batch_size, args.seed), TASK)
    draft.read_test("end of training", correct=int(test.metric_sum), n=test.n)
    results = {
        "cv_accuracy": validation.metric,
        "cv_correct": int(validation.metric_sum),
        "cv_n": validation.n,
        "test_accuracy": test.metric,
        "test_correct": int(test.metric_sum),
        "test_n": test.n,
        "test_loss": test.loss,
    }
    draft.finish(model, spec, results, licences=LICENCES)


def fit_head(head: nn.Module, seen: Tensor, labels: Tensor, args: Args, log: Log | None = None) -> None:
    """Trains a linear head in place on features, float32 (n, 1280), and labels, int64 (n,)."""
    batches = Batches(seen, labels, args.batch_size, args.seed)
    weights = [p for p in head.parameters() if p.ndim > 1]
    biases = [p for p in head.parameters() if p.ndim == 1]  # a bias needs no pull towards 0
    groups = [{"params": weights, "weight_decay": args.weight_decay}, {"params": biases, "weight_decay": 0.0}]
    optimizer = torch.optim.Adam(groups, lr=args.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs * len(batches))
    fit(head, batches, TASK, optimizer, args.epochs, schedule, log)


def cross_validate(seen: Tensor, labels: Tensor, args: Args) -> Evaluation:
    """Trains a head on all folds but one and evaluates it on that one, in turn; the sums over all folds."""
    parts = []
    for kept, held_out in StratifiedKFold(args.folds, shuffle=True, random_state=args.seed).split(seen, labels):
        head = nn.Linear(seen.shape[1], int(labels.max()) + 1)
        fit_head(head, seen[kept], labels[kept], args)
        parts.append(evaluate(head, Batches(seen[held_out], labels[held_out], args.batch_size, 0), TASK))
    return Evaluation(sum(p.loss_sum for p in parts), sum(p.metric_sum for p in parts), sum(p.n for p in parts))


def spec_of(labels: tuple[str, ...]) -> ModelSpec:
    """What the model takes and gives."""
    return ModelSpec(
        name="foodvision-mini",
        task="multiclass",
        inputs=(TensorSpec("pixels", "uint8", ("batch", SIZE, SIZE, 3), "RGB, 0 to 255"),),
        outputs=(TensorSpec("probabilities", "float32", ("batch", len(labels)), "probability"),),
        labels=tuple(Label(label, label, TURKISH.get(label, label)) for label in labels),
        image=IMAGE,
        normalise=NORMALISE,
        architecture=Architecture("effnet_lite0", {"classes": len(labels), "image_size": SIZE}),
    )
