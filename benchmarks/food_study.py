"""Whether a food model knows what it does not know: pictures of other food, and of no food at all.

    LOKMA_DATA=/path/with/both python -m benchmarks.food_study [runs/foodvision-mini …] [--json]

reads a run of `lokma train foodvision`, shows its model the test pictures that it was made for, food10's test
pictures of other classes, photographs that packages carry and handwritten digits, and says of each how many are
withheld by the run's `unsure_below`, and how well the probability of the best label tells them from the first (AUROC:
0.5 is a guess, 1 is always). What it finds goes into the run's metrics, as `unsure`, and into one record; the reading
of the test split is appended to the run, and a run that was studied is read, not studied again. Exits 1 where more
than 5 % of its own test pictures are withheld; the other rows only report. One minute.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import budget, paired
from benchmarks.paired import Row
from edge_runtime.store import sha256_of
from edge_runtime.writing import replace_file
from train.data import Example, image_data
from train.run import METRICS, Run, add_test_reading, load_run

PHOTOGRAPHS = {  # of no food, in packages that are here anyway
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
    "matplotlib": ("mpl-data/sample_data/grace_hopper.jpg",),
}
STUDY = "food"
EVERY_DIGIT = 4  # of scikit-learn's 360 test digits, every fourth is shown


def photographs() -> list[Example]:
    """The photographs of `PHOTOGRAPHS` that are installed."""
    found = []
    for package, files in PHOTOGRAPHS.items():
        spec = importlib.util.find_spec(package)
        for root in spec.submodule_search_locations or () if spec else ():
            found += [Path(root) / file for file in files]
    return [Example(path, 0) for path in found if path.is_file()]


def sets_of(run: Run) -> dict[str, tuple[list[Example], str]]:
    """What is shown besides the run's own test pictures: name -> (pictures, content hash).

    Raises:
        Missing: food10 is not at hand.
    """
    known = {label.id for label in run.spec.labels}
    food, digits, photos = image_data("food10"), image_data("digits"), photographs()
    other = [example for example in food.test if food.labels[example.label] not in known]
    hashes = "".join(sha256_of(photo.path) for photo in photos)
    shown = {
        "other food (food10)": (other, food.sha256),
        "photographs of no food": (photos, hashlib.sha256(hashes.encode()).hexdigest()),
        "handwritten digits": (list(digits.test[::EVERY_DIGIT]), digits.sha256),
    }
    return {name: (examples, sha256) for name, (examples, sha256) in shown.items() if examples}


def told_apart(inside: Any, outside: Mapping[str, Any], unsure_below: float | None) -> dict[str, dict[str, Any]]:
    """Each set's size, share withheld and AUROC against the pictures that the model was made for.

    Args:
        inside: logits, float32 (n, classes), of those.
        outside: of each other set.
        unsure_below: the probability of the best label below which an answer is withheld.
    """
    from train.calibration import auroc, share_below

    def sure(logits: Any) -> Any:
        return logits.double().softmax(1).amax(1)

    return {
        name: {
            "n": len(logits),
            "withheld": share_below(logits, unsure_below),
            "auroc": auroc(sure(inside), sure(logits)),
        }
        for name, logits in outside.items()
    }


def study(run: Run) -> dict[str, Any]:
    """Shows a run's model all of it; nothing is written but what its backbone saw.

    Raises:
        BadData: the pictures are not those that it was trained on.
        Missing: pictures are not at hand.
    """
    import torch

    from train.calibration import calibration_error, share_below
    from train.features import features
    from train.recipes.foodvision import Args

    model: Any = run.model
    row = Args(**run.metrics["arguments"]).backbone
    own = image_data(run.metrics["data"]["name"], run.metrics["data"]["sha256"])
    shown = sets_of(run)

    def logits(name: str, examples: Sequence[Example], sha256: str) -> tuple[Any, Any]:
        seen, labels = features(model, row, name, examples, sha256)
        with torch.inference_mode():
            return model.classifier(seen), labels

    inside, labels = logits("test", own.test, own.sha256)
    outside = {name: logits(name, *given)[0] for name, given in shown.items()}
    below = run.spec.unsure_below
    return {
        "unsure_below": below,
        "test": {
            "n": len(labels),
            "correct": int((inside.argmax(1) == labels).sum()),
            "withheld": share_below(inside, below),
            "ece": calibration_error(inside, labels),
        },
        "outside": told_apart(inside, outside, below),
    }


def rows(name: str, found: Mapping[str, Any]) -> list[Row]:
    """What was found, a row each; only what is withheld of its own kind has a bound."""
    from train.calibration import WITHHELD

    test, below = found["test"], found["unsure_below"]
    own, n, withheld = f"{name}: its own test pictures", test["n"], test["withheld"]
    said = f"{test['correct']} of {n} right; {'no threshold' if below is None else f'not sure below {below}'}"
    answers = [
        paired.row(f"{own}, share withheld", withheld, WITHHELD, withheld <= WITHHELD, n, said),
        paired.row(f"{own}, expected calibration error", test["ece"], None, True, n),
    ]
    for kind, one in found["outside"].items():
        answers += [
            paired.row(f"{name}: {kind}, share withheld", one["withheld"], None, True, one["n"]),
            paired.row(f"{name}: {kind}, AUROC against its own", one["auroc"], None, True, one["n"]),
        ]
    return answers


def record(run: Run, found: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """The study's record; its time is that of the whole study."""
    return budget.record(
        {"study": STUDY, "group": run.spec.name, "data": dict(run.metrics["data"]), "seed": run.metrics["seed"]},
        rows(run.spec.name, found),
        kind="study",
        bundle={"name": run.spec.name},
        artifact={"id": "eager", "sha256": run.metrics["model_sha256"]},
        latency_ns=[round(seconds * 1e9)],
        notes=["latency_ns is the whole study's; what the backbone saw may have come from the cache"],
        unsure=dict(found),
    )


def studied(path: Path) -> list[Row]:
    """The rows of a run, which go into a record too; what was found of it before is not looked for again.

    Raises:
        LokmaError: what `load_run` and `study` raise.
    """
    start = time.perf_counter()
    run = load_run(path)
    found = run.metrics.get("unsure")
    if found is None:
        found = study(run)
        add_test_reading(run.path, "food study", correct=found["test"]["correct"], n=found["test"]["n"])
        whole = {**run.metrics, "unsure": found}
        replace_file(run.path / METRICS, (json.dumps(whole, indent=2, ensure_ascii=False) + "\n").encode())
    budget.keep(record(run, found, time.perf_counter() - start))
    return rows(run.spec.name, found)


def main(argv: list[str]) -> int:
    """Studies runs, writes what was found, prints it."""
    parser = budget.parser("food_study", __doc__)
    parser.add_argument("runs", type=Path, nargs="*", default=[Path("runs/foodvision-mini")], help="(%(default)s)")
    args = parser.parse_args(argv)
    return budget.answered(
        "food_study", lambda: budget.show((row for path in args.runs for row in studied(path)), args.json)
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
