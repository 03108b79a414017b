"""FoodVision Mini: is it pizza, steak or sushi? A frozen backbone with a linear head.

    LOKMA_DATA=/path/with/pizza_steak_sushi lokma train foodvision
    lokma train foodvision --model effnet_lite2
    lokma train foodvision --model vit_b_16 --weights vit_b_16-c867db91.pth
    lokma train foodvision --model effnet_lite2 --data food10

The course's feature extraction: the backbone keeps its pretrained weights, sees every picture once (and
`copies` random parts of each), and what it sees is kept on disk; only the head learns, in seconds. Without
`LOKMA_DATA` the course's 20 % set (450 training and 150 test pictures) is downloaded. The weights of
`effnet_lite*` and `vit_s_14` come inside packages; those of the course's `effnet_b2` and `vit_b_16` are
torchvision's, from the network or a file.

Takes 1 minute on two cores with the default, EfficientNet-Lite0, then 10 seconds from the cache; Lite2 and
ViT-S/14 take 2 to 3. Expect at least 144 of 150 test pictures with Lite0 and Lite2 (96 %; one standard error is 1.3
points); ViT-S/14, whose weights were tuned to find what stands out, gets 136. The weight decay in `HEADS` was
chosen by 5-fold cross-validation on the 450 training pictures (but for `effnet_lite1`, `effnet_b2` and `vit_b_16`,
which were not tuned); every training runs it again and records it; the test split is read once, at the end.

Cross-validation decides two things more. Its answers are not as sure as they are right: the head's weights are divided
by the temperature that makes up for it; and the probability below which the model should say
*I am not sure* is put where at most 5 % of pictures like these lie below it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sklearn.model_selection import StratifiedKFold
from torch import Tensor, nn

from edge_runtime.errors import BadRequest
from edge_runtime.spec import Label, ModelSpec, TensorSpec
from edge_runtime.store import sha256_of
from train.calibration import calibration_error, cool, share_below, temperature, unsure_threshold
from train.data import ImageData, image_data
from train.draft import Draft
from train.features import features
from train.fit import Batches, Log, fit, one_thread
from train.pretrained import BACKBONES, pretrained
from train.recipes import MAX_SEED, option
from train.tasks import TASKS

TASK = TASKS["multiclass"]
DEFAULT_MODEL, DEFAULT_DATA = "effnet_lite0", "foodvision-mini"
TURKISH = {
    "pizza": "pizza",
    "steak": "biftek",
    "sushi": "suşi",
    "hamburger": "hamburger",
    "ramen": "ramen",
    "chicken_curry": "körili tavuk",
    "chicken_wings": "tavuk kanadı",
    "fried_rice": "kızarmış pilav",
    "grilled_salmon": "ızgara somon",
    "ice_cream": "dondurma",
}
PICTURES = "Food-101 (Bossard et al., 2014), from Foodspotting: scientific fair use, not shipped"


@dataclass(frozen=True)
class Head:
    """What a backbone's head learns best with: the pull on its weights, and random parts of each picture."""

    weight_decay: float
    copies: int = 0


HEADS = {
    "effnet_b2": Head(0.01),
    "effnet_lite0": Head(0.05),
    "effnet_lite1": Head(0.01),
    "effnet_lite2": Head(0.001),
    "vit_b_16": Head(0.01),
    "vit_s_14": Head(0.1),
}


@dataclass(frozen=True)
class Args:
    """The arguments of this recipe."""

    model: str = option(DEFAULT_MODEL, "the pretrained backbone", choices=tuple(HEADS))
    weights: str = option("", "a file of its published weights, where they are not to be fetched")
    data: str = option(DEFAULT_DATA, "the pictures", choices=(DEFAULT_DATA, "food10"))
    seed: int = option(0, "fixes the head's first weights, the order of batches and the folds", at_most=MAX_SEED)
    epochs: int = option(30, "passes over the features", at_least=1)
    batch_size: int = option(64, "features a step", at_least=1)
    learning_rate: float = option(3e-3, "Adam's first step size; it falls to 0 along a cosine", at_least=0)
    weight_decay: float | None = option(
        None, "L2 penalty on the head's weights; it decides how sure the head may be", at_least=0, kind=float
    )
    copies: int | None = option(None, "random parts of each training picture that are seen too", at_most=100, kind=int)
    folds: int = option(5, "parts of the training pictures for cross-validation", at_least=2)


def run_of(args: Args) -> str:
    """The run's name: that of the default says nothing of the model, the others do."""
    model = "" if args.model == DEFAULT_MODEL else args.model
    if args.data == DEFAULT_DATA:
        return f"foodvision-{model or 'mini'}"
    return "-".join(filter(None, ("foodvision", args.data, model)))


def prepare(args: Args) -> ImageData:
    """Finds or downloads the pictures.

    Raises:
        BadRequest: a label has fewer training pictures than there are folds.
    """
    data = image_data(args.data)
    label, fewest = min(Counter(example.label for example in data.train).items(), key=lambda item: item[1])
    if args.folds > fewest:
        raise BadRequest(f"folds must be at most {fewest}, the training pictures of {data.labels[label]!r}")
    return data


def train(args: Args, data: ImageData, draft: Draft) -> None:
    """Computes features, cross-validates, trains the head, reads the test split once."""
    row, head = BACKBONES[args.model], HEADS[args.model]
    decay = head.weight_decay if args.weight_decay is None else args.weight_decay
    copies = head.copies if args.copies is None else args.copies
    torch.manual_seed(args.seed)
    model: Any = pretrained(args.model, len(data.labels), Path(args.weights) if args.weights else None)

    seen, labels = features(model, row, "train", data.train, data.sha256)
    views = [seen]
    views += [features(model, row, f"train, part {n}", data.train, data.sha256, n)[0] for n in range(1, copies + 1)]
    with one_thread():
        validation = cross_validate(views, labels, args, decay)
        fit_head(model.classifier, torch.cat(views), labels.repeat(len(views)), args, decay, draft.log)
    divisor = temperature(validation, labels)
    cool(model.classifier, divisor)
    unsure_below = unsure_threshold(validation / divisor)
    results = {
        **judged("cv", validation / divisor, labels, unsure_below),
        "cv_ece_uncalibrated": calibration_error(validation, labels),
        "temperature": divisor,
        "unsure_below": unsure_below,
    }
    draft.log(results)

    unseen, truth = features(model, row, "test", data.test, data.sha256)
    with torch.inference_mode():
        test = judged("test", model.classifier(unseen), truth, unsure_below)
    draft.read_test("end of training", correct=test["test_correct"], n=test["test_n"])
    given = {"weights_sha256": sha256_of(Path(args.weights))} if args.weights else {}
    licences = {"backbone": row.licence, "pictures": PICTURES}
    draft.finish(model, spec_of(args, data.labels, unsure_below), {**results, **test}, licences=licences, **given)


def judged(name: str, logits: Tensor, labels: Tensor, unsure_below: float | None) -> dict[str, Any]:
    """What is reported of a split's logits, float32 (n, classes), and labels, int64 (n,)."""
    correct, n = int(TASK.metric(logits, labels)), len(labels)
    return {
        f"{name}_accuracy": correct / n,
        f"{name}_correct": correct,
        f"{name}_n": n,
        f"{name}_loss": float(TASK.loss(logits, labels)) / n,
        f"{name}_ece": calibration_error(logits, labels),
        f"{name}_withheld": share_below(logits, unsure_below),
    }


def fit_head(
    head: nn.Module, seen: Tensor, labels: Tensor, args: Args, weight_decay: float, log: Log | None = None
) -> None:
    """Trains a linear head in place on features, float32 (n, features), and labels, int64 (n,)."""
    batches = Batches(seen, labels, args.batch_size, args.seed)
    weights = [p for p in head.parameters() if p.ndim > 1]
    biases = [p for p in head.parameters() if p.ndim == 1]  # a bias needs no pull towards 0
    groups = [{"params": weights, "weight_decay": weight_decay}, {"params": biases, "weight_decay": 0.0}]
    optimizer = torch.optim.Adam(groups, lr=args.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs * len(batches))
    fit(head, batches, TASK, optimizer, args.epochs, schedule, log)


def cross_validate(views: Sequence[Tensor], labels: Tensor, args: Args, weight_decay: float) -> Tensor:
    """Trains a head on all folds but one and lets it answer that one, in turn: logits of every picture, unseen.

    Args:
        views: float32 (n, features) of the pictures as they are, then of random parts of them, which only train.
        labels: int64 (n,).
        args: how a head is trained.
        weight_decay: likewise.

    Returns:
        Float32 (n, classes).
    """
    seen = views[0]
    logits = torch.zeros(len(seen), int(labels.max()) + 1)
    for kept, held_out in StratifiedKFold(args.folds, shuffle=True, random_state=args.seed).split(seen, labels):
        head = nn.Linear(seen.shape[1], logits.shape[1])
        rows = torch.cat([view[kept] for view in views])
        fit_head(head, rows, labels[kept].repeat(len(views)), args, weight_decay)
        with torch.inference_mode():
            logits[held_out] = head(seen[held_out])
    return logits


def spec_of(args: Args, labels: tuple[str, ...], unsure_below: float | None) -> ModelSpec:
    """What the model takes and gives."""
    row = BACKBONES[args.model]
    size = row.image.crop
    return ModelSpec(
        name=run_of(args),
        task="multiclass",
        inputs=(TensorSpec("pixels", "uint8", ("batch", size, size, 3), "RGB, 0 to 255"),),
        outputs=(TensorSpec("probabilities", "float32", ("batch", len(labels)), "probability"),),
        labels=tuple(Label(label, label.replace("_", " "), TURKISH.get(label, label)) for label in labels),
        image=row.image,
        normalise=row.normalise,
        architecture=row.architecture(args.model, len(labels)),
        unsure_below=unsure_below,
    )
