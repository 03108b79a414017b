"""Image data sets as folders, `train|test / label / file`, and the table of those known by name.

Every data set is a folder of pictures, also scikit-learn's digits, so that training, calibration and
evaluation read them in one way. A data set's `sha256` pins its content: it is the hash of the lines
"sha256  relative/path" of all its pictures, sorted by path.

>>> data = image_data("digits")
>>> len(data.train), len(data.test), data.labels[:3]
(1437, 360, ('0', '1', '2'))
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_runtime.errors import BadData, BadRequest, Missing
from edge_runtime.spec import ImageSpec
from edge_runtime.store import home, sha256_of
from edge_runtime.writing import whole_folder
from train.download import unpack_url
from train.views import PLAIN, View

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

SPLITS = ("train", "test")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MAX_UNREADABLE = 0.01  # share of a split's pictures that may be damaged before the data is refused

FOODVISION_FOLDER = "pizza_steak_sushi"
FOODVISION_URL = (
    "https://raw.githubusercontent.com/mrdbourke/pytorch-deep-learning/main/data/pizza_steak_sushi_20_percent.zip"
)
# What is pinned is the content, not the archive: the pictures are Food-101's own bytes, and the same
# pictures zipped again would be as good.
FOODVISION_SHA256 = "8942287ed5d87e392869de51710924ac50375059f9493c5b599dff8bed248284"


@dataclass(frozen=True)
class Example:
    """One picture and the index of its label."""

    path: Path
    label: int


@dataclass(frozen=True)
class ImageData:
    """Pictures in two splits. `sha256` pins their content, `origin` says where they were found."""

    name: str
    root: Path
    labels: tuple[str, ...]
    train: tuple[Example, ...]
    test: tuple[Example, ...]
    sha256: str
    origin: str = field(default="", compare=False)


def image_data(name: str, sha256: str | None = None) -> ImageData:
    """Finds, makes or downloads a data set of the table `DATASETS`.

    Args:
        name: a key of the table.
        sha256: the content that is wanted, as a run or bundle recorded it; None takes what is here. With other
            content the splits are others too, and a picture that was trained on could be judged as new.

    Raises:
        BadRequest: no data set has that name.
        BadData: it lies here but cannot be used, or is not the content wanted; the message says which.
        Missing: it is not here and cannot be fetched; the message says what else works.
    """
    if name not in DATASETS:
        raise BadRequest(f"there is no data set {name!r}; known: {', '.join(sorted(DATASETS))}")
    data = DATASETS[name]()
    if sha256 is not None and data.sha256 != sha256:
        raise BadData(
            f"the {name} at {data.root} have the sha256 {data.sha256[:12]}…, but {sha256[:12]}… is wanted: "
            "set LOKMA_DATA to the pictures that the run was trained on, or train it again"
        )
    return data


def image_folder(root: Path, name: str, origin: str = "") -> ImageData:
    """Reads a folder `train|test / label / file`; files that are no pictures by name are left out.

    Raises:
        BadData: a split is missing, there are fewer than 2 labels, the splits differ in their labels, a
            label has no picture, or the same picture stands in both splits.
    """
    labels = _labels(root)
    splits = {split: _examples(root / split, labels) for split in SPLITS}
    hashes = {e.path: sha256_of(e.path) for split in SPLITS for e in splits[split]}
    _refuse_shared(splits["train"], splits["test"], hashes)
    return ImageData(name, root, labels, splits["train"], splits["test"], _content_hash(root, hashes), origin)


def batches(
    examples: Sequence[Example], image: ImageSpec, view: View = PLAIN
) -> Iterator[tuple[list[Example], Tensor]]:
    """Decodes pictures batch by batch, exactly as the runtime does with `exact=True`.

    A damaged picture is reported in the log by its path and left out.

    Args:
        examples: the pictures.
        image: how one becomes pixels.
        view: how each is looked at; the runtime's way is the plain one.

    Yields:
        The examples of a batch, and their pixels as uint8 (batch, crop, crop, 3).

    Raises:
        BadData: more than 1 % of the pictures are damaged; the message names the first of them.
    """
    from train.loading import loaded  # it brings torch; who only asks what there is needs none

    damaged: list[str] = []
    for batch in loaded([example.path for example in examples], image, view):
        for problem in batch.problems:
            damaged.append(problem)
            log.warning("left out: %s", problem)
            if len(damaged) > MAX_UNREADABLE * len(examples):
                raise BadData(
                    f"more than {MAX_UNREADABLE:.0%} of {len(examples)} pictures cannot be read; first: {damaged[0]}"
                )
        yield [examples[number] for number in batch.numbers], batch.pixels


def pictures(examples: Sequence[Example], image: ImageSpec, view: View = PLAIN) -> Iterator[tuple[Example, np.ndarray]]:
    """The same one by one: the example, and its pixels as uint8 (crop, crop, 3)."""
    for chosen, pixels in batches(examples, image, view):
        yield from zip(chosen, pixels.numpy(), strict=True)


def load_pixels(examples: Sequence[Example], image: ImageSpec) -> tuple[np.ndarray, np.ndarray]:
    """All pictures at once: uint8 (n, crop, crop, 3) and int64 labels (n,); see `batches`."""
    pixels = np.empty((len(examples), image.crop, image.crop, 3), np.uint8)
    labels: list[int] = []
    for example, one in pictures(examples, image):
        pixels[len(labels)] = one  # a copy: what processes hand over is a file that stays open
        labels.append(example.label)
    return pixels[: len(labels)], np.array(labels, np.int64)


def _labels(root: Path) -> tuple[str, ...]:
    found = {}
    for split in SPLITS:
        folder = root / split
        if not folder.is_dir():
            raise BadData(f"{root} has no folder {split}/; pictures belong in train/LABEL/ and test/LABEL/")
        found[split] = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if found["train"] != found["test"]:
        odd = ", ".join(sorted(set(found["train"]) ^ set(found["test"])))
        raise BadData(f"{root} has labels in one split only: {odd}")
    if len(found["train"]) < 2:
        raise BadData(f"{root / 'train'} has {len(found['train'])} label folders; at least 2 are needed")
    return found["train"]


def _examples(folder: Path, labels: Sequence[str]) -> tuple[Example, ...]:
    examples: list[Example] = []
    for index, label in enumerate(labels):
        files = sorted(p for p in (folder / label).rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not files:
            raise BadData(f"{folder / label} holds no picture ({', '.join(SUFFIXES)})")
        examples += [Example(path, index) for path in files]
    return tuple(examples)


def _refuse_shared(train: Sequence[Example], test: Sequence[Example], hashes: dict[Path, str]) -> None:
    seen = {hashes[e.path]: e.path for e in train}
    for example in test:
        if hashes[example.path] in seen:
            raise BadData(f"{example.path} is also in train, as {seen[hashes[example.path]]}; a test must be unseen")


def _content_hash(root: Path, hashes: dict[Path, str]) -> str:
    lines = sorted((path.relative_to(root).as_posix(), digest) for path, digest in hashes.items())
    return hashlib.sha256("".join(f"{digest}  {path}\n" for path, digest in lines).encode()).hexdigest()


def _foodvision() -> ImageData:
    """FoodVision Mini: at hand in `LOKMA_DATA`, kept from an earlier download, or downloaded now."""
    name = "foodvision-mini"
    given = _at_hand(FOODVISION_FOLDER)
    if given is not None:
        data = image_folder(given, name, f"LOKMA_DATA: {given}")
        if data.sha256 != FOODVISION_SHA256:  # the user's own pictures are theirs to change; the run records which
            log.warning("%s is not the course's 20 %% set; the expected result may not hold", given)
        return data
    kept = home() / "data" / FOODVISION_FOLDER
    if not kept.is_dir():
        _download(kept, name)
        return replace(image_folder(kept, name), origin=f"downloaded from {FOODVISION_URL} to {kept}")
    data = image_folder(kept, name, f"downloaded earlier: {kept}")
    if data.sha256 != FOODVISION_SHA256:
        raise BadData(
            f"{kept} has changed since it was downloaded; remove it to download it again, "
            f"or name it as LOKMA_DATA={kept} to train on it as it is"
        )
    return data


def _download(target: Path, name: str) -> None:
    log.info("downloading %s", FOODVISION_URL)
    with whole_folder(target) as folder:
        try:
            unpack_url(FOODVISION_URL, folder)
        except Missing as error:
            raise Missing(
                f"{name} is not in {target}, and {error}. Without a network: "
                f"LOKMA_DATA=/path/with/{FOODVISION_FOLDER}; `lokma train multiclass-digits` needs none"
            ) from error
        found = image_folder(folder, name).sha256
        if found != FOODVISION_SHA256:
            raise BadData(f"{FOODVISION_URL} holds other pictures (content {found}, expected {FOODVISION_SHA256})")


def _at_hand(folder: str) -> Path | None:
    """The folder in `$LOKMA_DATA`, or that folder itself; None if it is not set.

    Raises:
        BadData: it is set and holds no such pictures.
    """
    if not os.environ.get("LOKMA_DATA"):
        return None
    given = Path(os.environ["LOKMA_DATA"]).expanduser()
    for root in (given / folder, given):
        if (root / "train").is_dir():
            return root
    raise BadData(
        f"LOKMA_DATA={given} holds neither {folder}/train nor train; "
        "name the folder with these pictures, or unset LOKMA_DATA and they are downloaded"
    )


def _named(name: str) -> Path | None:
    """The folder of that name in `$LOKMA_DATA`, or that folder itself; None where there is none."""
    if not os.environ.get("LOKMA_DATA"):
        return None
    given = Path(os.environ["LOKMA_DATA"]).expanduser()
    return next((root for root in (given / name, given) if root.name == name and root.is_dir()), None)


def _digits() -> ImageData:
    """scikit-learn's digits, written once as 8 x 8 PNG files."""
    from train.digits import write_digits

    kept = home() / "data" / "digits"
    if not kept.is_dir():
        with whole_folder(kept) as folder:
            write_digits(folder)
    return image_folder(kept, "digits", f"scikit-learn's digits: {kept}")


def _fashion() -> ImageData:
    """FashionMNIST, downloaded and written as PNG files once."""
    from train.fashion import write_fashion

    name = "fashion-mnist"
    given = _named(name)
    if given is not None:
        return image_folder(given, name, f"LOKMA_DATA: {given}")
    kept = home() / "data" / name
    if not kept.is_dir():
        log.info("downloading FashionMNIST")
        with whole_folder(kept) as folder:
            write_fashion(folder)
    return image_folder(kept, name, f"downloaded by torchvision: {kept}")


def _food10() -> ImageData:
    """Ten classes of Food-101, 75 training and 50 test pictures each: only where somebody has them at hand."""
    given = _named("food10")
    if given is None:
        raise Missing("food10 is not downloaded; LOKMA_DATA=/path/with/food10 names a copy of it")
    return image_folder(given, "food10", f"LOKMA_DATA: {given}")


def _food101() -> ImageData:
    """Food-101, all of it: at hand, or downloaded by torchvision once."""
    from train.food101 import write_food101

    name = "food101"
    given = _named(name)
    if given is not None:
        return image_folder(given, name, f"LOKMA_DATA: {given}")
    kept = home() / "data" / name
    if not kept.is_dir():
        log.info("downloading Food-101 (5 GB)")
        with whole_folder(kept) as folder:
            write_food101(folder)
    return image_folder(kept, name, f"downloaded by torchvision: {kept}")


DATASETS: dict[str, Callable[[], ImageData]] = {
    "digits": _digits,
    "fashion-mnist": _fashion,
    "food10": _food10,
    "food101": _food101,
    "foodvision-mini": _foodvision,
}
