"""What training may cost: three ratios, each against the loop that the course writes, or another library.

`python -m benchmarks.train_budget [--json] [--pairs N] [--only GROUP,…]` runs both sides of a row in turn, each in a
process of its own, on the same data, network, batch size and threads:

- FoodVision Mini's head, 10 epochs on a frozen EfficientNet-Lite0: its features computed once, from an empty cache,
  against a full forward of every picture in every epoch. Both learn from 360 of the 450 training pictures and are
  judged on the other 90; the test split is not read. Needs the pictures (`LOKMA_DATA`).
- an epoch of TinyVGG on data of FashionMNIST's size: 60,000 seeded random pictures of 28 x 28, for the time does
  not depend on what is in them; `train.fit` against a plain DataLoader.
- `cartpole-dqn` against stable-baselines3, read from the records of `python -m benchmarks.dqn_study`.

Raw seconds are appended to the records; `--recorded` prints the newest of each row. Exits 1 where a row does not
hold. Eight minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks import budget, dqn_study, paired, results
from benchmarks.environment import busy
from benchmarks.paired import Row
from edge_runtime.errors import EngineError
from edge_runtime.measure import ratio_interval, wilson

PAIRS = 3
EPOCHS, FOOD_BATCH, STEP = 10, 32, 1e-3  # the course's
FASHION_BATCH, FASHION_SIZE, HIDDEN = 32, 60_000, 10  # the course's
BOUNDS = {"food": 0.15, "tinyvgg": 0.7}
NAMES = {
    "food": "FoodVision Mini head, 10 epochs, against a full forward each epoch",
    "tinyvgg": "TinyVGG epoch of FashionMNIST's size, against a plain DataLoader loop",
}


def food_split() -> tuple[Any, list[int], list[int]]:
    """FoodVision Mini, and which of its training pictures teach and which judge: 80 and 20 %, stratified."""
    from sklearn.model_selection import train_test_split

    from train.data import image_data

    data = image_data("foodvision-mini")
    labels = [example.label for example in data.train]
    kept, held = train_test_split(range(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    return data, kept, held


def food_lokma() -> dict[str, Any]:
    """Features once, then the head."""
    import torch

    from train.features import features
    from train.fit import Batches, evaluate, fit, one_thread
    from train.pretrained import BACKBONES, pretrained
    from train.tasks import TASKS

    data, kept, held = food_split()
    torch.manual_seed(0)
    model: Any = pretrained("effnet_lite0", 3)
    start = time.perf_counter()
    seen, labels = features(model, BACKBONES["effnet_lite0"], "train", [data.train[n] for n in kept], data.sha256)
    head = model.classifier
    with one_thread():
        batches = Batches(seen, labels, FOOD_BATCH, 0)
        fit(head, batches, TASKS["multiclass"], torch.optim.Adam(head.parameters(), lr=STEP), EPOCHS)
    seconds = time.perf_counter() - start
    judged = features(model, BACKBONES["effnet_lite0"], "held", [data.train[n] for n in held], data.sha256)
    found = evaluate(head, Batches(*judged, FOOD_BATCH, 0), TASKS["multiclass"])
    return {"seconds": seconds, "right": found.correct, "n": found.n}


def food_course() -> dict[str, Any]:
    """The course's loop: decode, backbone and head in every epoch; its loader has a worker a core."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    from train.data import load_pixels
    from train.pretrained import BACKBONES, pretrained

    data, kept, held = food_split()
    torch.manual_seed(0)
    row, model = BACKBONES["effnet_lite0"], pretrained("effnet_lite0", 3)
    mean, std = (torch.tensor(one)[:, None, None] for one in (row.normalise.mean, row.normalise.std))

    class Pictures(Dataset):
        """Decoded when they are asked for."""

        def __init__(self, chosen: list[int]) -> None:
            self.chosen = chosen

        def __len__(self) -> int:
            return len(self.chosen)

        def __getitem__(self, number: int) -> tuple[Any, int]:
            pixels, labels = load_pixels([data.train[self.chosen[number]]], row.image)
            return (torch.from_numpy(pixels[0]).permute(2, 0, 1).float() - mean) / std, int(labels[0])

    for parameter in model.parameters():
        parameter.requires_grad = False
    classifier: Any = model.classifier
    for parameter in classifier.parameters():
        parameter.requires_grad = True
    optimizer = torch.optim.Adam(classifier.parameters(), lr=STEP)
    model.eval()  # its batch norms keep their statistics, so that both sides see the same features
    workers = os.cpu_count() or 1
    start = time.perf_counter()
    loader = DataLoader(Pictures(kept), FOOD_BATCH, shuffle=True, num_workers=workers)
    for _ in range(EPOCHS):
        for inputs, targets in loader:
            loss = torch.nn.functional.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    seconds = time.perf_counter() - start
    right = 0
    with torch.inference_mode():
        for inputs, targets in DataLoader(Pictures(held), FOOD_BATCH):
            right += int((model(inputs).argmax(1) == targets).sum())
    return {"seconds": seconds, "right": right, "n": len(held)}


def _drawings() -> tuple[Any, Any]:
    import numpy as np

    draw = np.random.default_rng(0)
    return (
        draw.integers(0, 256, (FASHION_SIZE, 28, 28), dtype=np.uint8),
        draw.integers(0, 10, FASHION_SIZE, dtype=np.int64),
    )


def tinyvgg_lokma() -> dict[str, Any]:
    """An epoch by `fit`, the pictures as bytes in memory, three channels as the recipe has them."""
    import torch

    from train.fit import Batches, fit, one_thread
    from train.models import tinyvgg
    from train.recipes.tinyvgg import normalised
    from train.tasks import TASKS

    pixels, labels = _drawings()
    torch.manual_seed(0)
    model = tinyvgg(10, HIDDEN, 28)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    start = time.perf_counter()
    inputs = torch.from_numpy(pixels)[:, None].expand(-1, 3, -1, -1)
    with one_thread():
        batches = Batches(inputs, torch.from_numpy(labels), FASHION_BATCH, 0, normalised)
        fit(model, batches, TASKS["multiclass"], optimizer, 1)
    return {"seconds": time.perf_counter() - start}


def tinyvgg_plain() -> dict[str, Any]:
    """An epoch as the course writes it, on one thread too: pictures, ToTensor, DataLoader."""
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms import Compose, Grayscale, ToTensor

    from train.models import tinyvgg

    pixels, labels = _drawings()
    transform = Compose([Grayscale(3), ToTensor()])

    class Drawings(Dataset):
        """As torchvision's FashionMNIST gives them."""

        def __len__(self) -> int:
            return FASHION_SIZE

        def __getitem__(self, number: int) -> tuple[Any, int]:
            return transform(Image.fromarray(pixels[number])), int(labels[number])

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = tinyvgg(10, HIDDEN, 28)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    start = time.perf_counter()
    for inputs, targets in DataLoader(Drawings(), FASHION_BATCH, shuffle=True):
        loss = torch.nn.functional.cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"seconds": time.perf_counter() - start}


SIDES: dict[str, tuple[Callable[[], dict[str, Any]], Callable[[], dict[str, Any]]]] = {
    "food": (food_lokma, food_course),
    "tinyvgg": (tinyvgg_lokma, tinyvgg_plain),
}


GROUPS = (*SIDES, "dqn")


def in_a_child(name: str, side: int) -> dict[str, Any]:
    """One side of a row in a process of its own, with an empty feature cache.

    Raises:
        EngineError: it failed.
    """
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "benchmarks.train_budget", "--side", name, str(side)]
        done = subprocess.run(command, env={**os.environ, "LOKMA_HOME": home}, capture_output=True, text=True)
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise EngineError(f"the side {side} of {name} failed: {words[-1] if words else 'it said nothing'}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(name: str, pairs: int) -> tuple[Row, dict[str, Any]]:
    """A row and its record: both sides in turn, the first one of a pair changing."""
    sides: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    flags = busy()
    for pair in range(pairs):
        for side in (0, 1) if pair % 2 == 0 else (1, 0):
            sides[side].append(in_a_child(name, side))
    ours, theirs = ([one["seconds"] for one in side] for side in sides)
    ratio, low, high = ratio_interval(ours, theirs)
    note = f"{low:.3f} to {high:.3f}; {_seconds(ours)} against {_seconds(theirs)}"
    holds = low <= BOUNDS[name] and high <= BOUNDS[name] + 0.05
    if name == "food":
        right, n = ([side[0][key] for side in sides] for key in ("right", "n"))
        intervals = [wilson(right[side], n[side]) for side in (0, 1)]
        same = intervals[0][0] <= intervals[1][1] and intervals[1][0] <= intervals[0][1]
        note += f"; {right[0]} and {right[1]} of {n[0]} right, intervals {'meet' if same else 'DIFFER'}"
        holds = holds and same
    row = paired.row(NAMES[name], ratio, BOUNDS[name], holds, pairs, note)
    times = {"latency_ns": _nanoseconds(ours), "against_ns": _nanoseconds(theirs)}
    return row, recorded(name, [row], flags, pairs=pairs, sides=[list(side) for side in sides], **times)


def recorded(group: str, rows: list[Row], flags: Sequence[str] = (), pairs: int = 0, **more: Any) -> dict[str, Any]:
    """The record of a group of rows; `more` holds the raw seconds, as nanoseconds."""
    scenario = {"budget": "train", "group": group, "pairs": pairs}
    return budget.record(scenario, rows, flags, artifact={"id": group}, **more)


def _nanoseconds(values: list[float]) -> list[int]:
    return [round(value * 1e9) for value in values]


def _seconds(values: list[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values) + " s"


def found(group: str, pairs: int) -> tuple[list[Row], dict[str, Any]]:
    """The rows of a group, measured now or, for the third, read; and their record."""
    if group in SIDES:
        row, record = measured(group, pairs)
        return [row], record
    rows = dqn_study.rows(dqn_study.done(results.read().records, dqn_study.made_by()))
    return rows, recorded(group, rows)


def newest(group: str, records: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The rows of a group's newest record, with its commit and time; one that is open where there is none."""
    mine = {"budget": "train", "group": group}
    kept = [one for one in records if one["kind"] == "budget" and mine.items() <= one["scenario"].items()]
    return budget.with_age(kept[-1]) if kept else [paired.row(group, None, None, None, 0, "not on record yet")]


def main(argv: list[str]) -> int:
    """Measures the first two rows, reads the third, and prints all."""
    parser = budget.parser("train_budget", __doc__, GROUPS)
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"of each row ({PAIRS})")
    parser.add_argument("--recorded", action="store_true", help="measure nothing: print what was measured last")
    parser.add_argument("--side", nargs=2, metavar=("ROW", "NUMBER"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)

    def rows() -> Iterator[Row]:
        for group in budget.chosen(args.only, GROUPS):
            if args.recorded:
                yield from newest(group, results.read().records)
                continue
            answers, record = found(group, args.pairs)
            budget.keep(record)
            yield from answers

    def work() -> bool:
        if args.side:
            print(json.dumps(SIDES[args.side[0]][int(args.side[1])]()))
            return True
        return budget.show(rows(), args.json)

    return budget.answered("train_budget", work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
