"""The course's first CNN, TinyVGG, from scratch: on food pictures, or on FashionMNIST.

    LOKMA_DATA=/path/with/pizza_steak_sushi lokma train tinyvgg
    lokma train tinyvgg --data fashion-mnist

Two blocks of two convolutions, then one linear layer; pictures of 64 x 64 pixels, mirrored and shifted at random.
It shows what 450 photographs of food teach a network that has seen nothing else: compare `foodvision`.
FashionMNIST (70,000 drawings of clothes, 28 x 28) is downloaded by torchvision, so it needs a network once.

Takes 4 minutes on a busy core for food. Expect more than half of the 150 test pictures (100, 99 and 96 with seeds 0,
1 and 2; a guess gets 50). On FashionMNIST 0.90 after 10 epochs is the aim; it was not measured, for want of a network.
"""

from __future__ import annotations

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
NORMALISE = Normalise((127.5,) * 3, (127.5,) * 3)
MEAN = 127.5
SHIFT = 8  # a picture moves by at most an eighth of its size, each way


@dataclass(frozen=True)
class Set:
    """What is particular to a data set: how its pictures are prepared, the epochs they need, whose they are."""

    image: ImageSpec
    epochs: int
    licence: str


SETS = {
    "fashion-mnist": Set(ImageSpec(28, 28), 10, "FashionMNIST (Xiao et al., 2017), MIT"),
    "foodvision-mini": Set(
        ImageSpec(64, 64),
        30,
        "Food-101 (Bossard et al., 2014), from Foodspotting: scientific fair use, not shipped",
    ),
}
TURKISH = {
    "pizza": "pizza",
    "steak": "biftek",
    "sushi": "suşi",
    "Ankle boot": "bot",
    "Bag": "çanta",
    "Coat": "palto",
    "Dress": "elbise",
    "Pullover": "kazak",
    "Sandal": "sandalet",
    "Shirt": "gömlek",
    "Sneaker": "spor ayakkabı",
    "T-shirt": "tişört",
    "Trouser": "pantolon",
}


@dataclass(frozen=True)
class Args:
    """The arguments of this recipe."""

    data: str = option("foodvision-mini", "the pictures", choices=tuple(SETS))
    seed: int = option(0, "fixes the first weights, the order of batches and the augmentation", at_most=MAX_SEED)
    epochs: int | None = option(None, "passes over the training pictures", at_least=1, kind=int)
    batch_size: int = option(64, "pictures a step", at_least=1)
    learning_rate: float = option(3e-3, "AdamW's largest step size; it rises, then falls to 0", at_least=0)
    weight_decay: float = option(1e-2, "pull of the weights towards 0", at_least=0)
    hidden: int = option(16, "channels of each convolution", at_least=1)


def run_of(args: Args) -> str:
    """The run's name."""
    return "tinyvgg" if args.data == Args.data else f"tinyvgg-{args.data}"


def prepare(args: Args) -> ImageData:
    """Finds or downloads the pictures."""
    return image_data(args.data)


def train(args: Args, data: ImageData, draft: Draft) -> None:
    """Trains on mirrored and shifted pictures, evaluates the test split once."""
    own = SETS[args.data]
    epochs = own.epochs if args.epochs is None else args.epochs
    spec = spec_of(data, own.image, args.hidden)
    assert spec.architecture is not None
    torch.manual_seed(args.seed)
    model = build(spec.architecture)

    batches = Batches(*tensors(data, "train", own.image), args.batch_size, args.seed, moved)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=args.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.learning_rate, total_steps=epochs * len(batches))
    with one_thread():
        fit(model, batches, TASK, optimizer, epochs, schedule, draft=draft)

    test = evaluate(model, Batches(*tensors(data, "test", own.image), 256, args.seed, normalised), TASK)
    draft.show_confusion(test.confusion, data.labels)
    draft.read_test("end of training", correct=test.correct, n=test.n)
    results = {
        "test_accuracy": test.scores["accuracy"],
        "test_correct": test.correct,
        "test_n": test.n,
        "test_loss": test.loss,
        "parameters": parameter_count(model),
    }
    draft.finish(model, spec, results, licences={"pictures": own.licence})


def tensors(data: ImageData, split: str, image: ImageSpec) -> tuple[Tensor, Tensor]:
    """A split as uint8 (n, 3, crop, crop), a quarter of what floats would take, and int64 labels (n,)."""
    pixels, labels = load_pixels(getattr(data, split), image)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)


def normalised(batch: Tensor, _generator: torch.Generator | None = None) -> Tensor:
    """Pixels 0 to 255 as -1 to 1."""
    return (batch.float() - MEAN) / MEAN


def moved(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrors half of the pictures and shifts each; what comes in from outside repeats the edge."""
    x = normalised(batch)
    size = x.shape[-1]
    mirrored = torch.rand(len(x), generator=generator) < 0.5
    x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    reach = size // SHIFT
    wide = functional.pad(x, [reach] * 4, mode="replicate")
    corners = torch.randint(0, 2 * reach + 1, (len(x), 2), generator=generator).tolist()
    return torch.stack([one[:, y : y + size, x : x + size] for one, (y, x) in zip(wide, corners, strict=True)])


def spec_of(data: ImageData, image: ImageSpec, hidden: int) -> ModelSpec:
    """What the model takes and gives."""
    size = image.crop
    return ModelSpec(
        name=f"tinyvgg-{data.name}",
        task="multiclass",
        inputs=(TensorSpec("pixels", "uint8", ("batch", size, size, 3), "RGB, 0 to 255"),),
        outputs=(TensorSpec("probabilities", "float32", ("batch", len(data.labels)), "probability"),),
        labels=tuple(Label(label, label, TURKISH.get(label, label)) for label in data.labels),
        image=image,
        normalise=NORMALISE,
        architecture=Architecture("tinyvgg", {"classes": len(data.labels), "hidden": hidden, "image_size": size}),
    )
