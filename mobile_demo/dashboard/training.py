"""How a model was trained and where it errs: the run's history, and the predictions that records keep.

>>> [curve.key for curve in curves(history(Path("runs/foodvision-mini")))]              # doctest: +SKIP
['loss', 'accuracy']
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from mobile_demo.catalogue import CATALOGUE
from mobile_demo.dashboard.runs import NOT_WHOLE
from mobile_demo.dashboard.views import Row
from mobile_demo.words import Words

PROGRESS = ("epoch", "step")
NOT_CURVES = {*PROGRESS, "epochs", "steps", "seconds", "fold", "time"}
SPLITS = ("cv", "test")  # how a recipe's figures begin
MAX_HISTORY_BYTES = 20_000_000
MAX_POINTS = 1_000
WORST = 8
THUMB = 240  # pixels
PICTURES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Curve:
    """One quantity over the training; `over` is a key of the catalogue."""

    key: str
    over: str
    points: tuple[tuple[float, float], ...]


def history(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's `history.jsonl`; torn ones are left out, and a run that is not here has none."""
    path = run / "history.jsonl"
    try:
        if path.stat().st_size > MAX_HISTORY_BYTES:
            return []
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def curves(lines: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """Every number that the lines carry over their epoch or step, in the order of its first appearance."""
    over = next((name for name in PROGRESS if any(name in line for line in lines)), None)
    if over is None:
        return []
    keys = dict.fromkeys(key for line in lines for key, value in line.items() if _number(value))
    found = []
    for key in keys:
        points = [(line[over], line[key]) for line in lines if _number(line.get(over)) and _number(line.get(key))]
        if key not in NOT_CURVES and points:
            every = -(-len(points) // MAX_POINTS)
            found.append(Curve(key, f"over_{over}", tuple((float(x), float(y)) for x, y in points[::every])))
    return found


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def results(manifest: Mapping[str, Any]) -> list[tuple[str, float]]:
    """What training measured, by the names that it gave."""
    found = manifest.get("provenance", {}).get("training") or {}
    return [(key, float(value)) for key, value in found.items() if _number(value)]


@dataclass(frozen=True)
class Judged:
    """The answers of one record to its test inputs: label indices, and the probability of each answer."""

    artifact: str
    truths: tuple[int, ...]
    answers: tuple[int, ...]
    probabilities: tuple[float, ...]
    inputs: tuple[str, ...]


def judged(record: Mapping[str, Any], labels: int) -> Judged | None:
    """The kept predictions of a record; None where it keeps no true labels or they do not fit the bundle."""
    try:
        kept = record["accuracy"]
        found = Judged(
            str(record["artifact"]["id"]),
            tuple(int(label) for label in kept["labels"]),
            tuple(int(label) for label in kept["predictions"]),
            tuple(float(share) for share in kept.get("probabilities") or ()),
            tuple(str(name) for name in kept.get("inputs") or ()),
        )
    except NOT_WHOLE:
        return None
    fits = len(found.truths) == len(found.answers) and all(0 <= i < labels for i in (*found.truths, *found.answers))
    return found if fits and found.truths else None


def confusion(found: Judged, names: Sequence[str], words: Words) -> list[dict[str, Any]]:
    """The confusion matrix, a cell a line: how many of a true label were answered so."""
    cells: dict[tuple[int, int], int] = {}
    for pair in zip(found.truths, found.answers, strict=True):
        cells[pair] = cells.get(pair, 0) + 1
    totals = [sum(truth == i for truth in found.truths) for i in range(len(names))]
    return [
        {
            "truth": names[i],
            "answer": names[j],
            "count": cells.get((i, j), 0),
            "share": cells.get((i, j), 0) / totals[i] if totals[i] else 0.0,
            "said": words("confused", truth=names[i], answer=names[j], count=cells.get((i, j), 0), n=totals[i]),
        }
        for i in range(len(names))
        for j in range(len(names))
    ]


@dataclass(frozen=True)
class Wrong:
    """A picture that was answered wrongly, and how sure the answer was."""

    name: str
    truth: int
    answer: int
    probability: float


def most_confidently_wrong(found: Judged) -> list[Wrong]:
    """The wrong answers with the highest probabilities."""
    if not len(found.truths) == len(found.probabilities) == len(found.inputs):
        return []
    rows = zip(found.inputs, found.truths, found.answers, found.probabilities, strict=True)
    wrong = [Wrong(*row) for row in rows if row[1] != row[2]]
    return sorted(wrong, key=lambda one: -one.probability)[:WORST]


def picture_of(name: str) -> Path | None:
    """Where a test picture lies on this machine (`LOKMA_DATA`); None where it does not, or the name is no picture's."""
    home, parts = os.environ.get("LOKMA_DATA"), Path(name).parts
    if not home or len(parts) != 2 or ".." in parts or Path(name).suffix.lower() not in PICTURES:
        return None
    root = Path(home)
    for under in ("*/test", "test", "*"):
        for folder in sorted(root.glob(under)):
            path = folder / parts[0] / parts[1]
            if path.is_file():
                return path
    return None


def thumbnail(path: Path) -> str:
    """A picture as a small `data:` address; empty where it cannot be read."""
    out = io.BytesIO()
    try:
        with Image.open(path) as picture:
            picture.draft("RGB", (THUMB, THUMB))
            small = ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return ""
    ImageOps.fit(small, (THUMB, THUMB)).save(out, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def figure(key: str, words: Words) -> str:
    """A recipe's name for a figure in the page's language; its own where the catalogue has none.

    >>> figure("cv_accuracy", Words("en")), figure("test_loss", Words("tr")), figure("sparkle", Words("en"))
    ('Accuracy, cross-validation', 'Kayıp (test)', 'sparkle')
    """
    split = next((name for name in SPLITS if key.startswith(f"{name}_")), "")
    known = f"figure_{key.removeprefix(f'{split}_')}"
    if known not in CATALOGUE:
        return key
    return words("figure_of", figure=words(known), split=words(f"split_{split}")) if split else words(known)


def result_rows(found: Sequence[tuple[str, float]], words: Words) -> list[Row]:
    """What training measured, as a table of names and numbers; shares of 1 as percent, with what they count."""
    given = dict(found)
    counted = {
        f"{split}_correct": f"{split}_n" for split in SPLITS if {f"{split}_correct", f"{split}_n"} <= given.keys()
    }
    beside = {key.replace("correct", "accuracy"): (given[key], given[n]) for key, n in counted.items()}
    rows = []
    for key, value in found:
        if key in counted or key in counted.values():
            continue
        write = words.percent(value) if is_share(key, value) else words.number(value, 0 if value == int(value) else 4)
        right = beside.get(key)
        under = words("right_of", right=int(right[0]), n=int(right[1])) if right else ""
        rows.append(Row((figure(key, words), write), ("", under), numeric=(False, True)))
    return rows


def is_share(key: str, value: float) -> bool:
    """Whether a figure is a share of 1 that reads as percent."""
    return key.endswith(("accuracy", "withheld", "unsure_below")) and 0 <= value <= 1
