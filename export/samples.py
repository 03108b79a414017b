"""The real inputs that judge an export: calibration and golden cases of the training side, evaluation of the test side.

One row a kind of data in `SOURCES`; the runtime's own preprocess makes the tensors, with the full decode.
"""

from __future__ import annotations

import io
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_runtime.errors import BadData
from edge_runtime.preprocess import open_picture, to_pixels
from edge_runtime.spec import ModelSpec

CALIBRATION = 128  # every label equally often
OBSERVATIONS = 512
GOLDEN = 3


@dataclass(frozen=True)
class Samples:
    """Raw inputs: picture paths, or rows of numbers. `labels` are the evaluation's, empty for a policy."""

    name: str
    sha256: str
    calibration: tuple[Any, ...]
    golden: tuple[Any, ...]
    evaluation: tuple[Any, ...]
    labels: tuple[int, ...]


def samples_of(spec: ModelSpec, data: Mapping[str, str], model: Any) -> Samples:
    """The samples of a run.

    Args:
        spec: the run's.
        data: the `name` and `sha256` of its data set.
        model: takes one row and gives an action; called for policies only, whose inputs come from playing.

    Raises:
        BadData: the data here is not what the run was trained on, or gives fewer than 32 calibration inputs.
    """
    samples = _of_policy(data["name"], model) if spec.task == "policy" else _of_pictures(**data)
    if len(samples.calibration) < 32:
        raise BadData(f"{samples.name} gives {len(samples.calibration)} calibration inputs; at least 32 are needed")
    return samples


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


def _tensor(spec: ModelSpec, given: Any) -> bytes:
    if spec.image is not None:
        return to_pixels(open_picture(given, spec.image, exact=True), spec.image)
    return array("f", given).tobytes()


def _of_pictures(name: str, sha256: str) -> Samples:
    from train.data import image_data

    pictures = image_data(name, sha256)
    chosen = _balanced([(str(e.path), e.label) for e in pictures.train], CALIBRATION + GOLDEN)
    return Samples(
        name=pictures.name,
        sha256=pictures.sha256,
        calibration=chosen[GOLDEN:],
        golden=chosen[:GOLDEN],
        evaluation=tuple(str(e.path) for e in pictures.test),
        labels=tuple(e.label for e in pictures.test),
    )


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


def _balanced(examples: Sequence[tuple[str, int]], count: int) -> tuple[str, ...]:
    """`count` inputs, one label after another in turn, in the data set's own order."""
    by_label: dict[int, list[str]] = {}
    for path, label in examples:
        by_label.setdefault(label, []).append(path)
    rounds = range(max(map(len, by_label.values())))
    turns = [by_label[label][i] for i in rounds for label in sorted(by_label) if i < len(by_label[label])]
    return tuple(turns[:count])
