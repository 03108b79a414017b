"""The real inputs that judge an export: calibration and golden cases of the training side, evaluation of the test side.

One row a kind of data in `SOURCES`; the runtime's own preprocess makes the tensors, with the full decode.
"""

from __future__ import annotations

import io
import logging
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.errors import BadData, BadInput, BadRequest
from edge_runtime.preprocess import open_picture, to_pixels
from edge_runtime.spec import ModelSpec
from export.terms import Terms

if TYPE_CHECKING:
    from train.tables import TableData

log = logging.getLogger(__name__)

CALIBRATION = 128  # every label equally often
OBSERVATIONS = 512
GOLDEN = 3
HELD = 512
MAX_UNREADABLE = 0.05  # share of the pictures that may be damaged


@dataclass(frozen=True)
class Samples:
    """Raw inputs: picture paths, or rows of numbers. `labels` are the evaluation's, empty for a policy:
    a class number each, or of a table's other tasks the row's numbers.

    `held` are of the training side too, labels in turn, and calibration did not see them: quantization is tuned on
    them. `unlabelled` are the pictures that judge beside `evaluation`, and `dropped` counts those that may not.
    """

    name: str
    sha256: str
    calibration: tuple[Any, ...]
    golden: tuple[Any, ...]
    evaluation: tuple[Any, ...]
    labels: tuple[Any, ...]
    skipped: tuple[str, ...] = ()  # pictures that could not be read, with the reason
    held: tuple[Any, ...] = ()
    unlabelled: tuple[str, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)


def samples_of(spec: ModelSpec, data: Mapping[str, str], model: Any, terms: Terms) -> Samples:
    """The samples of a run.

    Args:
        spec: the run's.
        data: the `name` and `sha256` of its data set.
        model: takes one row and gives an action; called for policies only, whose inputs come from playing.
        terms: name the pictures that judge beside the test side.

    Raises:
        BadData: the data here is not what the run was trained on, or gives fewer than 32 calibration inputs.
        BadRequest: pictures are to judge what takes rows of numbers.
    """
    if spec.task == "policy":
        _refuse_pictures(spec, terms)
        return enough(_of_policy(data["name"], model))
    if spec.image is None:
        from train.tables import table_data

        _refuse_pictures(spec, terms)
        return enough(of_table(table_data(data["name"], data["sha256"])))
    from train.data import image_data

    found = image_data(data["name"], data["sha256"])
    train, test = ([(str(e.path), e.label) for e in side] for side in (found.train, found.test))
    samples = of_examples(spec, found.name, found.sha256, train, test, terms)
    return enough(samples)


def enough(samples: Samples) -> Samples:
    """The samples themselves.

    Raises:
        BadData: they are fewer than 32 for calibration, or none for evaluation where labels are known.
    """
    if len(samples.calibration) < 32:
        raise BadData(f"{samples.name} gives {len(samples.calibration)} calibration inputs; at least 32 are needed")
    return samples


def of_examples(
    spec: ModelSpec,
    name: str,
    sha256: str,
    train: Sequence[tuple[Any, int]],
    test: Sequence[tuple[Any, int]],
    terms: Terms,
) -> Samples:
    """Samples of labelled inputs: calibration and golden cases of the training side, all of the test side.

    Raises:
        BadData: of the pictures that are needed, more than 5 % cannot be read; the test side is empty, or the
            training side has fewer than two labels: ranges taken from one would cut the others off.
        BadRequest: pictures are to judge what takes rows of numbers.
    """
    _refuse_pictures(spec, terms)
    seen = sorted({label for _, label in train})
    if len(seen) < 2:
        only = f"only {spec.labels[seen[0]].id}" if seen else "nothing"
        raise BadData(
            f"{name} holds {only} on its training side, and calibration takes its ranges there: give at least two "
            "labels, or ranges would fit one and cut off the others"
        )
    skipped: list[str] = []
    turns = _balanced(train, len(train))
    chosen = _readable(spec, turns, CALIBRATION + GOLDEN, skipped)
    if len(chosen) < CALIBRATION + GOLDEN:
        log.warning(
            "%s gives %d calibration inputs, fewer than %d: int8's ranges may cut off what they do not show",
            name, len(chosen) - GOLDEN, CALIBRATION,
        )  # fmt: skip
    held = turns[len(chosen) + len(skipped) :][:HELD]
    judged = _readable(spec, test, len(test), skipped)
    if not judged:
        raise BadData(f"{name} has no test side that can be judged; give more inputs, or folders train/ and test/")
    inputs = tuple(given for given, _ in chosen)
    unseen, dropped = terms.unseen([given for given, _ in train], [given for given, _ in test])
    unreadable: list[str] = []
    more = _readable(spec, [(given, 0) for given in unseen], len(unseen), unreadable)
    if unreadable:
        dropped["unreadable"] = len(unreadable)
    return Samples(
        name=name,
        sha256=sha256,
        calibration=inputs[GOLDEN:],
        golden=inputs[:GOLDEN],
        evaluation=tuple(given for given, _ in judged),
        labels=tuple(label for _, label in judged),
        skipped=tuple(skipped),
        held=tuple(given for given, _ in held),
        unlabelled=tuple(given for given, _ in more),
        dropped=dropped,
    )


def of_table(data: TableData) -> Samples:
    """Samples of a run's table: calibration, golden and held rows of the training side, all rows of the test side."""
    train, test = data.train, data.test
    rows = [(tuple(map(float, row)), int(target[0])) for row, target in zip(train.rows, train.targets, strict=True)]
    if data.task in ("binary", "multiclass"):
        rows = _balanced(rows, len(rows))
    inputs = tuple(row for row, _ in rows)
    last = GOLDEN + min(OBSERVATIONS, 3 * len(inputs) // 4)  # the rest is held
    truth = [tuple(map(float, row)) for row in test.targets]
    return Samples(
        name=data.name,
        sha256=data.sha256,
        calibration=inputs[GOLDEN:last],
        golden=inputs[:GOLDEN],
        evaluation=tuple(tuple(map(float, row)) for row in test.rows),
        labels=tuple(int(row[0]) for row in truth) if data.task in ("binary", "multiclass") else tuple(truth),
        held=inputs[last:][:HELD],
    )


def _refuse_pictures(spec: ModelSpec, terms: Terms) -> None:
    if spec.image is None and terms.unlabelled:
        raise BadRequest(f"--unlabelled names pictures, and {spec.name} takes rows of {spec.inputs[0].unit}")


def _readable(
    spec: ModelSpec, examples: Sequence[tuple[Any, int]], count: int, skipped: list[str]
) -> list[tuple[Any, int]]:
    """The first `count` that can be read; the others are reported and added to `skipped`."""
    if spec.image is None:
        return list(examples[:count])
    found: list[tuple[Any, int]] = []
    bad: list[str] = []
    for given, label in examples:
        if len(found) == count:
            break
        try:
            open_picture(given, spec.image)
        except BadInput as error:
            log.warning("left out: %s", error)
            bad.append(str(error))
            continue
        found.append((given, label))
    tried = len(found) + len(bad)
    if len(bad) > MAX_UNREADABLE * tried:
        raise BadData(
            f"{len(bad)} of {tried} pictures cannot be read, more than {MAX_UNREADABLE:.0%}; the first: {bad[0]}"
        )
    skipped += bad
    return found


def tensors(spec: ModelSpec, inputs: Sequence[Any]) -> np.ndarray:
    """Raw inputs as the artifact takes them: uint8 (n, height, width, 3) or float32 (n, columns)."""
    kind = spec.inputs[0]
    rows = [np.frombuffer(_tensor(spec, given), kind.dtype) for given in inputs]
    return np.stack(rows).reshape(len(rows), *kind.sample_shape)


def halfway(pictures: np.ndarray) -> np.ndarray:
    """Close calls (n - 1, …) of pictures (n, …), labels in turn as in `Samples`: halfway between two neighbours."""
    halves = pictures.astype(np.float32) / 2
    return np.rint(halves[:-1] + halves[1:]).astype(pictures.dtype)


def golden_file(spec: ModelSpec, given: Any) -> bytes | None:
    """A picture as PNG of its decoded pixels, so that checks do not compare JPEG decoders; None for rows."""
    if spec.image is None:
        return None
    buffer = io.BytesIO()
    open_picture(given, spec.image, exact=True).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def tensor_file(spec: ModelSpec, given: Any) -> bytes | None:
    """The pixels that go into the model as PNG, so that a check need not trust resizing either; None for rows."""
    if spec.image is None:
        return None
    from PIL import Image

    side, buffer = spec.image.crop, io.BytesIO()
    Image.frombytes("RGB", (side, side), _tensor(spec, given)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _tensor(spec: ModelSpec, given: Any) -> bytes:
    if spec.image is not None:
        return to_pixels(open_picture(given, spec.image, exact=True), spec.image)
    return array("f", given).tobytes()


def _of_policy(data: str, model: Any) -> Samples:
    """Observations of training-side episodes played by the policy, with one step in ten drawn by chance."""
    from train.episodes import TRAIN_SEEDS, play

    draw = np.random.default_rng(0)

    def act(observation: Sequence[float]) -> int:
        return int(draw.integers(2)) if draw.random() < 0.1 else int(model(observation))

    seen = play(act, TRAIN_SEEDS[:8], data).observations
    chosen = draw.choice(len(seen), min(OBSERVATIONS, len(seen)), replace=False)
    rows = [tuple(map(float, row)) for row in seen[chosen]]
    return Samples(data, "", tuple(rows[GOLDEN:]), tuple(rows[:GOLDEN]), (), ())


def _balanced(examples: Sequence[tuple[Any, int]], count: int) -> list[tuple[Any, int]]:
    """`count` inputs, one label after another in turn, in the data set's own order."""
    by_label: dict[int, list[Any]] = {}
    for given, label in examples:
        by_label.setdefault(label, []).append((given, label))
    rounds = range(max(map(len, by_label.values()), default=0))
    turns = [by_label[label][i] for i in rounds for label in sorted(by_label) if i < len(by_label[label])]
    return turns[:count]
