"""What a user says beside the model itself, and the spec that follows from it. What is left open is asked for by name.

>>> asked = Asked.of(labels="pizza,steak,sushi", input=224, mean="0.5", std="0.25")
>>> spec, missing = spec_of("food", asked, None)
>>> spec.normalise.mean, missing
((127.5, 127.5, 127.5), ('--data: a folder of pictures (train|test/LABEL/… or LABEL/…), or a CSV table',))
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from edge_runtime.errors import BadRequest
from edge_runtime.spec import FILTERS, ImageSpec, Label, ModelSpec, Normalise, TensorSpec
from train.user_data import Data

OUTPUTS = ("logits", "probabilities")
ASK_DATA = "--data: a folder of pictures (train|test/LABEL/… or LABEL/…), or a CSV table"
ASK_LABELS = "--labels A,B,C: the names of the outputs, in the model's order"
ASK_INPUT = "--input N: the side in pixels of the square picture that the model takes"
ASK_NORMALISE = (
    "--mean and --std: how pixels of 0 to 1 are normalised for the model: 0.485,0.456,0.406 and 0.229,0.224,0.225 "
    "are ImageNet's; 0 and 1 where it takes them raw"
)
ASK_COLUMNS = "--mean and --std: how columns are normalised for the model; 0 and 1 where it takes them raw"
ASK_TARGET = "--target COLUMN: the column of the table that holds the label"


@dataclass(frozen=True)
class Asked:
    """The options; `mean` and `std` are in units of 0 to 1 for pictures, in the columns' own for tables."""

    data: Path | None = None
    labels: tuple[str, ...] = ()
    input: int | None = None
    weights: Path | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    resize: int | None = None
    filter: str | None = None
    outputs: str | None = None
    target: str | None = None

    @classmethod
    def of(cls, **said: Any) -> Asked:
        """Reads options as the command line or a notebook gives them; lists may be text with commas.

        Raises:
            BadRequest: an option is unknown, or its value cannot be meant.
        """
        known = [field.name for field in fields(cls)]
        unknown = [name for name in said if name not in known]
        if unknown:
            raise BadRequest(f"export has no option {', '.join(unknown)}; it has {', '.join(known)}")
        read = {name: _READ[name](name, value) for name, value in said.items() if value is not None}
        asked = cls(**read)
        if bool(asked.mean) != bool(asked.std):
            raise BadRequest("--mean and --std belong together; give both")
        if not all(map(math.isfinite, asked.mean)) or not all(0 < value < math.inf for value in asked.std):
            raise BadRequest("--mean must be finite, and --std above 0")
        if len(set(asked.labels)) != len(asked.labels):
            raise BadRequest(f"--labels names one twice: {', '.join(asked.labels)}")
        return asked

    def plain(self) -> dict[str, Any]:
        """What decides the model and its spec, as JSON data; where the files lie does not."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("data", "weights")}


def spec_of(
    name: str,
    asked: Asked,
    data: Data | None,
    *,
    side: int | None = None,
    image: ImageSpec | None = None,
    normalise: Normalise | None = None,
    labels: Sequence[str] = (),
) -> tuple[ModelSpec | None, tuple[str, ...]]:
    """The spec, or None and what must be said first.

    Args:
        name: the model's.
        asked: the user's options; they go before all that follows.
        data: her data, or None.
        side: the picture's side, where the model itself says it.
        image: how the model's makers prepare pictures, where that is known.
        normalise: how they normalise pixels of 0 to 255, likewise.
        labels: what they call the outputs, likewise.

    Returns:
        The spec, and the options that are missing, each with what it means; a spec may stand although `--data` is.
    """
    missing = [ASK_DATA] if data is None else []
    names = tuple(asked.labels or labels or (data.labels if data else ()))
    if not names:
        missing.append(ASK_LABELS)
    if data is not None and data.columns:
        return _of_table(name, asked, data, names)
    if side is not None and asked.input not in (None, side):
        raise BadRequest(f"--input {asked.input}: this model was exported for pictures of {side} px")
    crop = side or asked.input or (image.crop if image else None)
    if crop is None:
        missing.append(ASK_INPUT)
    if asked.mean:
        normalise = Normalise(_scaled(asked.mean, 3), _scaled(asked.std, 3))
    if normalise is None:
        missing.append(ASK_NORMALISE)
    if not names or crop is None or normalise is None:
        return None, tuple(missing)
    # a picture that is asked for larger or smaller keeps its makers' share between resize and crop
    resize = asked.resize or (round(image.resize * crop / image.crop) if image else crop)
    kernel = asked.filter or (image.filter if image else "bilinear")
    return ModelSpec(
        name=name,
        task="multiclass",
        inputs=(TensorSpec("pixels", "uint8", ("batch", crop, crop, 3), "RGB, 0 to 255"),),
        outputs=(TensorSpec("probabilities", "float32", ("batch", len(names)), "probability"),),
        labels=tuple(Label(label, label, label) for label in names),
        image=ImageSpec(resize, crop, kernel),
        normalise=normalise,
    ), tuple(missing)


def _of_table(name: str, asked: Asked, data: Data, names: tuple[str, ...]) -> tuple[ModelSpec | None, tuple[str, ...]]:
    if not asked.mean:
        return None, (ASK_COLUMNS,)
    width = len(data.columns)
    return ModelSpec(
        name=name,
        task="multiclass",
        inputs=(TensorSpec("row", "float32", ("batch", width), "as in the table"),),
        outputs=(TensorSpec("probabilities", "float32", ("batch", len(names)), "probability"),),
        labels=tuple(Label(label, label, label) for label in names),
        normalise=Normalise(_widened(asked.mean, width), _widened(asked.std, width)),
        columns=data.columns,
    ), ()


def _scaled(values: tuple[float, ...], width: int) -> tuple[float, ...]:
    return tuple(255 * value for value in _widened(values, width))


def _widened(values: tuple[float, ...], width: int) -> tuple[float, ...]:
    if len(values) not in (1, width):
        raise BadRequest(f"--mean and --std take one number or {width}; {len(values)} were given")
    return values * width if len(values) == 1 else values


def _names(option: str, value: Any) -> tuple[str, ...]:
    found = [str(part).strip() for part in (value.split(",") if isinstance(value, str) else value)]
    if not found or not all(found):
        raise BadRequest(f"--{option} has an empty name in {value!r}")
    return tuple(found)


def _numbers(option: str, value: Any) -> tuple[float, ...]:
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    try:
        return tuple(float(part) for part in parts)
    except (TypeError, ValueError) as error:
        raise BadRequest(f"--{option} takes numbers joined by commas, not {value!r}") from error


def _size(option: str, value: Any) -> int:
    if type(value) is not int or value <= 0:
        raise BadRequest(f"--{option} takes a whole number above 0, not {value!r}")
    return value


def _one_of(*known: str) -> Any:
    def read(option: str, value: Any) -> str:
        if value not in known:
            raise BadRequest(f"--{option} is one of {', '.join(known)}, not {value!r}")
        return str(value)

    return read


_READ: dict[str, Any] = {
    "data": lambda _, value: Path(value),
    "labels": _names,
    "input": _size,
    "weights": lambda _, value: Path(value),
    "mean": _numbers,
    "std": _numbers,
    "resize": _size,
    "filter": _one_of(*FILTERS),
    "outputs": _one_of(*OUTPUTS),
    "target": lambda _, value: str(value),
}
