"""The real inputs that judge an export: calibration and golden cases of the training side, evaluation of the test side.

One row a kind of data in `SOURCES`; the runtime's own preprocess makes the tensors, with the full decode.
"""

from __future__ import annotations

import io
import logging
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_runtime.errors import BadData, BadInput
from edge_runtime.preprocess import open_picture, to_pixels
from edge_runtime.spec import ModelSpec

log = logging.getLogger(__name__)

CALIBRATION = 128  # every label equally often
OBSERVATIONS = 512
GOLDEN = 3
MAX_UNREADABLE = 0.05  # share of the pictures that may be damaged


@dataclass(frozen=True)
class Samples:
    """Raw inputs: picture paths, or rows of numbers. `labels` are the evaluation's, empty for a policy."""

    name: str
    sha256: str
    calibration: tuple[Any, ...]
    golden: tuple[Any, ...]
    evaluation: tuple[Any, ...]
    labels: tuple[int, ...]
    skipped: tuple[str, ...] = ()  # pictures that could not be read, with the reason


def samples_of(spec: ModelSpec, data: Mapping[str, str], model: Any) -> Samples:
    """The samples of a run.

    Args:
        spec: the run's.
        data: the `name` and `sha256` of its data set.
        model: takes one row and gives an action; called for policies only, whose inputs come from playing.

    Raises:
        BadData: the data here is not what the run was trained on, or gives fewer than 32 calibration inputs.
    """
    samples = _of_policy(data["name"], model) if spec.task == "policy" else _of_pictures(spec, **data)
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
    spec: ModelSpec, name: str, sha256: str, train: Sequence[tuple[Any, int]], test: Sequence[tuple[Any, int]]
) -> Samples:
    """Samples of labelled inputs: calibration and golden cases of the training side, all of the test side.

    Raises:
        BadData: of the pictures that are needed, more than 5 % cannot be read.
    """
    skipped: list[str] = []
    chosen = _readable(spec, _balanced(train, len(train)), CALIBRATION + GOLDEN, skipped)
    judged = _readable(spec, test, len(test), skipped)
    if not judged:
        raise BadData(f"{name} has no test side that can be judged; give more inputs, or folders train/ and test/")
    inputs = tuple(given for given, _ in chosen)
    return Samples(
        name=name,
        sha256=sha256,
        calibration=inputs[GOLDEN:],
        golden=inputs[:GOLDEN],
        evaluation=tuple(given for given, _ in judged),
        labels=tuple(label for _, label in judged),
        skipped=tuple(skipped),
    )


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


def _of_pictures(spec: ModelSpec, name: str, sha256: str) -> Samples:
    from train.data import image_data

    found = image_data(name, sha256)
    train, test = ([(str(e.path), e.label) for e in side] for side in (found.train, found.test))
    return of_examples(spec, found.name, found.sha256, train, test)


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
