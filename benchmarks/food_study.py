"""Whether a food model knows what it does not know: pictures of other food, and of no food at all.

    LOKMA_DATA=/path/with/both python -m benchmarks.food_study [runs/foodvision-mini]

reads a run of `lokma train foodvision`, shows its model the test pictures that it was made for, food10's test
pictures of other classes, photographs that packages carry and handwritten digits, and says of each how many are
withheld by the run's `unsure_below`, and how well the probability of the best label tells them from the first (AUROC:
0.5 is a guess, 1 is always). What it finds goes into the run's metrics, as `unsure`, and into one record; the reading
of the test split is appended to the run. One minute, then seconds: what the backbone sees is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.environment import host
from edge_runtime.errors import LokmaError
from edge_runtime.store import sha256_of
from edge_runtime.writing import replace_file
from train.data import Example, image_data
from train.provenance import commit
from train.run import METRICS, Run, add_test_reading, load_run

PHOTOGRAPHS = {  # of no food, in packages that are here anyway
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
    "matplotlib": ("mpl-data/sample_data/grace_hopper.jpg",),
}
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


def study(path: Path) -> tuple[Run, dict[str, Any]]:
    """Shows a run's model all of it; nothing is written but what its backbone saw.

    Raises:
        BadInput: no run is there.
        BadData: the pictures are not those that it was trained on.
        Missing: pictures are not at hand.
    """
    import torch

    from train.calibration import calibration_error, share_below
    from train.features import features
    from train.pretrained import BACKBONES

    run = load_run(path)
    model: Any = run.model
    row = BACKBONES[run.metrics["arguments"]["model"]]
    own = image_data(run.metrics["data"]["name"], run.metrics["data"]["sha256"])
    shown = sets_of(run)

    def logits(name: str, examples: Sequence[Example], sha256: str) -> tuple[Any, Any]:
        seen, labels = features(model, row, name, examples, sha256)
        with torch.inference_mode():
            return model.classifier(seen), labels

    inside, labels = logits("test", own.test, own.sha256)
    outside = {name: logits(name, *given)[0] for name, given in shown.items()}
    below = run.spec.unsure_below
    return run, {
        "unsure_below": below,
        "test": {
            "n": len(labels),
            "correct": int((inside.argmax(1) == labels).sum()),
            "withheld": share_below(inside, below),
            "ece": calibration_error(inside, labels),
        },
        "outside": told_apart(inside, outside, below),
    }


def record(run: Run, found: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """The study's record; its time is that of the whole study."""
    return results.record(
        kind="study",
        study="food",
        commit=commit(),
        bundle={"name": run.spec.name},
        artifact={"id": "eager", "sha256": run.metrics["model_sha256"]},
        target="device",
        host=host(),
        scenario={"name": "unsure", "data": dict(run.metrics["data"]), "seed": run.metrics["seed"]},
        latency_ns=[round(seconds * 1e9)],
        validity={"valid": True, "flags": []},
        notes=["latency_ns is the whole study's; what the backbone saw may have come from the cache"],
        unsure=dict(found),
    )


def table(found: Mapping[str, Any]) -> list[str]:
    """What was found, for people."""
    test = found["test"]
    head = f"its own test pictures: {test['correct']} of {test['n']} right, {test['withheld']:.1%} withheld"
    lines = [f"{head}, expected calibration error {test['ece']:.3f}"]
    for name, one in found["outside"].items():
        lines.append(f"{name}: {one['withheld']:.1%} of {one['n']} withheld, AUROC {one['auroc']:.3f}")
    return lines


def main(argv: list[str]) -> int:
    """Studies one run, writes what was found, prints it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.food_study", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/foodvision-mini"), help="(%(default)s)")
    parser.add_argument("--json", action="store_true", help="one object")
    args = parser.parse_args(argv)
    start = time.perf_counter()
    try:
        run, found = study(args.run)
        add_test_reading(run.path, "food study", correct=found["test"]["correct"], n=found["test"]["n"])
        whole = {**run.metrics, "unsure": found}
        replace_file(run.path / METRICS, (json.dumps(whole, indent=2, ensure_ascii=False) + "\n").encode())
        path = results.folder() / f"{host()['fingerprint']}.jsonl"
        results.append([record(run, found, time.perf_counter() - start)], path)
    except LokmaError as error:
        print(f"food_study: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(found) if args.json else "\n".join(table(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
