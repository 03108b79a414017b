"""Handwritten digits with the course's TinyVGG, from scratch: needs no network and no pictures of yours.

    lokma train multiclass-digits

scikit-learn's 1,797 digits, 8 x 8 pixels, white on black, centred and filling the picture. Your own
drawing is none of that: it is black on white, has a margin and leans a little. So each training picture
is shrunk, shifted, turned and, half of the time, inverted at random.

Takes about 20 seconds on one core. Expect a test accuracy of at least 0.985 (355 of 360), in 40 kB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from edge_runtime.spec import Architecture, ImageSpec, Label, ModelSpec, Normalise, TensorSpec
from train.data import ImageData, image_data, load_pixels
from train.draft import Draft
from train.fit import Batches, evaluate, fit, one_thread
from train.models import build, parameter_count
from train.recipes import MAX_SEED, option
from train.tasks import TASKS

TASK = TASKS["multiclass"]
SIZE = 16  # twice the stored 8: room for a drawing with a margin, whose digit fills only half
IMAGE = ImageSpec(resize=SIZE, crop=SIZE, filter="bicubic")
NORMALISE = Normalise((127.5,) * 3, (127.5,) * 3)
LICENCES = {"pictures": "UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998), CC BY 4.0"}


@dataclass(frozen=True)
class Args:
    """The arguments of this recipe."""

    seed: int = option(0, "fixes the first weights, the order of batches and the augmentation", at_most=MAX_SEED)
    epochs: int = option(60, "passes over the training pictures", at_least=1)
    batch_size: int = option(64, "pictures a step", at_least=1)
    learning_rate: float = option(1e-2, "AdamW's largest step size; it rises, then falls to 0", at_least=0)
    weight_decay: float = option(1e-2, "pull of the weights towards 0", at_least=0)
    hidden: int = option(16, "channels of each convolution", at_least=1)
    shift: float = option(0.12, "largest shift, as a share of the picture", at_least=0)
    shrink: float = option(0.4, "largest part by which a digit is made smaller", at_least=0)
    turn: float = option(10.0, "largest turn in degrees", at_least=0)


def prepare(_args: Args) -> ImageData:
    """Writes the digits as pictures, the first time."""
    return image_data("digits")


def train(args: Args, data: ImageData, draft: Draft) -> None:
    """Trains on augmented pictures, evaluates the test split once as it is and once inverted."""
    spec = spec_of(args.hidden)
    assert spec.architecture is not None
    torch.manual_seed(args.seed)
    model = build(spec.architecture)

    pictures, labels = tensors(data, "train")

    def augment(batch: Tensor, generator: torch.Generator) -> Tensor:
        return inverted(moved(batch, args, generator), generator)

    batches = Batches(pictures, labels, args.batch_size, args.seed, augment)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=args.weight_decay)
    steps = args.epochs * len(batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.learning_rate, total_steps=steps)
    with one_thread():
        fit(model, batches, TASK, optimizer, args.epochs, schedule, draft=draft)

    unseen, truth = tensors(data, "test")
    test = evaluate(model, Batches(unseen, truth, 256, args.seed), TASK)
    dark_on_light = evaluate(model, Batches(-unseen, truth, 256, args.seed), TASK)
    draft.show_confusion(test.confusion, data.labels)
    draft.read_test("end of training", correct=test.correct, n=test.n)
    draft.read_test("end of training, inverted", correct=dark_on_light.correct, n=test.n)
    results = {
        "test_accuracy": test.scores["accuracy"],
        "test_correct": test.correct,
        "test_n": test.n,
        "test_loss": test.loss,
        "inverted_correct": dark_on_light.correct,
        "parameters": parameter_count(model),
    }
    draft.finish(model, spec, results, licences=LICENCES)


def tensors(data: ImageData, split: str) -> tuple[Tensor, Tensor]:
    """A split as normalised float32 (n, 3, 16, 16) and int64 labels (n,)."""
    pixels, labels = load_pixels(getattr(data, split), IMAGE)
    scaled = (torch.from_numpy(pixels).float() - torch.tensor(NORMALISE.mean)) / torch.tensor(NORMALISE.std)
    return scaled.permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)


def moved(batch: Tensor, args: Args, generator: torch.Generator) -> Tensor:
    """Shrinks, turns and shifts each picture at random; what comes in from outside is black."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(len(batch), generator=generator)

    scale = 1 / uniform(1 - args.shrink, 1.0)  # the grid says where to look: further out makes smaller
    angle = uniform(-args.turn, args.turn) * (math.pi / 180)
    across, down = uniform(-args.shift, args.shift) * 2 * scale, uniform(-args.shift, args.shift) * 2 * scale
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = torch.stack([torch.stack([cos, -sin, across], 1), torch.stack([sin, cos, down], 1)], 1)
    grid = functional.affine_grid(rows, list(batch.shape), align_corners=False)
    return functional.grid_sample(batch + 1, grid, align_corners=False) - 1  # outside is 0 there, black is -1


def inverted(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Turns half of the pictures into dark on light."""
    sign = torch.randint(0, 2, (len(batch), 1, 1, 1), generator=generator) * 2 - 1
    return batch * sign


def spec_of(hidden: int) -> ModelSpec:
    """What the model takes and gives."""
    digits = [str(digit) for digit in range(10)]
    return ModelSpec(
        name="digits",
        task="multiclass",
        inputs=(TensorSpec("pixels", "uint8", ("batch", SIZE, SIZE, 3), "RGB, 0 to 255"),),
        outputs=(TensorSpec("probabilities", "float32", ("batch", 10), "probability"),),
        labels=tuple(Label(digit, digit, digit) for digit in digits),
        image=IMAGE,
        normalise=NORMALISE,
        architecture=Architecture("tinyvgg", {"classes": 10, "hidden": hidden, "image_size": SIZE}),
    )
