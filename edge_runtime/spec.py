"""What a model takes and gives, before and after: the `ModelSpec` that travels from run to phone.

The same object is `runs/NAME/spec.json`, the `spec` of a bundle's manifest, and the JSON inside every
`.onnx` and `.pte`. It is plain data: reading one needs nothing but the standard library.

>>> spec = ModelSpec(
...     name="digits", task="multiclass",
...     inputs=(TensorSpec("pixels", "uint8", ("batch", 16, 16, 3), "RGB, 0 to 255"),),
...     outputs=(TensorSpec("probabilities", "float32", ("batch", 2), "probability"),),
...     labels=(Label("no", "no", "hayır"), Label("yes", "yes", "evet")),
...     image=ImageSpec(resize=16, crop=16, filter="bicubic"))
>>> ModelSpec.from_dict(spec.to_dict()) == spec
True
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from edge_runtime.errors import BadBundle
from edge_runtime.frozen import frozen, names_of

TASKS = ("binary", "multiclass", "multilabel", "regression", "policy")
DTYPES = {"uint8": ("B", 1), "int32": ("i", 4), "int64": ("q", 8), "float32": ("f", 4)}  # struct code, bytes
FILTERS = ("bilinear", "bicubic", "lanczos")
MAX_SIDE = 4096  # no model of ours reads more; a spec that asks for it is damaged or hostile
MAX_RANK = 8  # of the compiled engine
MAX_TEXT = 200  # characters of a name or an id
MAX_DEPTH = 30  # of nested JSON: what is read here is walked by recursion later


@frozen
class TensorSpec:
    """One tensor: its name, element type, shape and unit.

    `shape` holds integers, and `"batch"` where the size is free (ONNX) or 1 (`.pte`).
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    unit: str = ""

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample, without the batch dimension."""
        return tuple(int(size) for size in self.shape[1:])


@frozen
class Label:
    """One class or action: a stable `id` and its display names, which may change without a new export."""

    id: str
    en: str
    tr: str


@frozen
class ImageSpec:
    """How a picture becomes the input tensor: resize the short side to `resize` px, cut the middle `crop` px.

    These are the steps *outside* the artifact; normalisation is inside (`Normalise`).
    """

    resize: int
    crop: int
    filter: str = "bicubic"


@frozen
class Normalise:
    """`(x - mean) / std` over the last axis, in the input's units, computed *inside* the artifact."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@frozen
class Architecture:
    """The name of a row of `train.models.MODELS` and the keyword arguments that build it."""

    name: str
    arguments: Mapping[str, Any] = {}


@frozen
class ModelSpec:
    """What a model takes and gives. `image` is None for tables and observations; see DESIGN.md.

    `columns` names the numbers of a table row or an observation in the order the artifact takes them;
    empty where nobody named them. `unsure_below` is the probability of the best label below which the answer is
    *I am not sure*, chosen on validation; None where nobody chose one.
    """

    name: str
    task: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    labels: tuple[Label, ...] = ()
    image: ImageSpec | None = None
    normalise: Normalise | None = None
    architecture: Architecture | None = None
    columns: tuple[str, ...] = ()
    unsure_below: float | None = None

    def __post_init__(self) -> None:
        _check(self)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON data; `from_dict` reads it back to an equal object."""
        plain: dict[str, Any] = _plain(self)
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelSpec:
        """Reads JSON data.

        Raises:
            BadBundle: a field is missing, unknown, or of the wrong kind; the message names it.
        """
        try:
            return cls(
                name=data["name"],
                task=data["task"],
                inputs=tuple(_tensor(item) for item in data["inputs"]),
                outputs=tuple(_tensor(item) for item in data["outputs"]),
                labels=tuple(Label(**item) for item in data.get("labels") or ()),
                image=ImageSpec(**data["image"]) if data.get("image") else None,
                normalise=_normalise(data.get("normalise")),
                architecture=Architecture(**data["architecture"]) if data.get("architecture") else None,
                columns=_names(data.get("columns")),
                unsure_below=data.get("unsure_below"),
            )
        except KeyError as error:
            raise BadBundle(f"the model spec lacks the field {error}") from error
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BadBundle(f"the model spec cannot be read: {error}") from error


def differing_field(one: Any, other: Any, name: str = "spec") -> str | None:
    """Where two specs (or parts of them) differ, as `spec.image.resize`; None where they say the same.

    Labels' display names are left out: they may change without a new export.
    """
    if one == other:
        return None
    if names_of(one) and type(one) is type(other):
        kept = [key for key in names_of(one) if type(one) is not Label or key == "id"]
        pairs = [(getattr(one, key), getattr(other, key), f"{name}.{key}") for key in kept]
    elif isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        pairs = [(mine, theirs, f"{name}[{i}]") for i, (mine, theirs) in enumerate(zip(one, other, strict=True))]
    else:
        return name
    return next((found for pair in pairs if (found := differing_field(*pair)) is not None), None)


def read_json(data: bytes | str, what: str) -> dict[str, Any]:
    """Reads one JSON object that a stranger wrote.

    Raises:
        BadBundle: it is not JSON, not an object, or nested deeper than `MAX_DEPTH`; the message names `what`.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadBundle(f"{what} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadBundle(f"{what} must hold one JSON object")
    if _is_deeper(value, MAX_DEPTH):
        raise BadBundle(f"{what} is nested deeper than {MAX_DEPTH} levels")
    return value


def is_text(value: Any) -> bool:
    """Whether a stranger's name may be shown: neither empty nor long, and without control characters."""
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable()


def _is_deeper(value: Any, levels: int) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(levels == 0 or _is_deeper(item, levels - 1) for item in items)


def _tensor(data: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(**{**data, "shape": tuple(data["shape"])})


def _normalise(data: Mapping[str, Any] | None) -> Normalise | None:
    return Normalise(tuple(map(float, data["mean"])), tuple(map(float, data["std"]))) if data else None


def _names(data: Any) -> tuple[str, ...]:
    if data is not None and not isinstance(data, (list, tuple)):
        raise TypeError("columns must be a list of names")
    return tuple(data or ())


def _plain(value: Any) -> Any:
    if names := names_of(value):
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _check(spec: ModelSpec) -> None:
    """Refuses a spec that the runtime could not act on."""
    if not is_text(spec.name):
        raise BadBundle(f"the model spec needs a name: printable text of at most {MAX_TEXT} characters")
    if spec.task not in TASKS:
        raise _refusal(spec, f"has the task {spec.task!r}; known: {', '.join(TASKS)}")
    if len(spec.inputs) != 1 or len(spec.outputs) != 1:
        counts = f"{len(spec.inputs)} inputs and {len(spec.outputs)} outputs"
        raise _refusal(spec, f"has {counts}; this version runs one of each")
    for tensor in (*spec.inputs, *spec.outputs):
        _check_tensor(spec, tensor)
    if spec.outputs[0].dtype != "float32" or len(spec.outputs[0].shape) != 2:
        raise _refusal(spec, "must answer with float32 (batch, values)")
    if spec.image is not None:
        _check_image(spec, spec.image)
    if spec.normalise is not None:
        _check_normalise(spec, spec.normalise)
    _check_labels(spec)
    _check_columns(spec)
    _check_unsure(spec)
    made = spec.architecture
    if made is not None and not (is_text(made.name) and isinstance(made.arguments, Mapping)):
        raise _refusal(spec, "needs an architecture with a name and named arguments")


def _check_tensor(spec: ModelSpec, tensor: TensorSpec) -> None:
    if not is_text(tensor.name) or not isinstance(tensor.unit, str):
        raise _refusal(spec, "has a tensor without a name or with a unit that is not text")
    if tensor.dtype not in DTYPES:
        raise _refusal(spec, f"gives {tensor.name!r} the type {tensor.dtype!r}; known: {', '.join(DTYPES)}")
    sizes = tensor.shape[1:]
    if tensor.shape[:1] != ("batch",) or not 0 < len(sizes) < MAX_RANK:
        needs = f"'batch' and 1 to {MAX_RANK - 1} sizes"
        raise _refusal(spec, f"gives {tensor.name!r} the shape {tensor.shape}; it must hold {needs}")
    if not all(type(size) is int and 0 < size <= 1_000_000 for size in sizes):
        raise _refusal(
            spec,
            f"gives {tensor.name!r} the shape {tensor.shape}; sizes are whole numbers from 1 to a million",
        )


def _check_image(spec: ModelSpec, image: ImageSpec) -> None:
    sizes = f"resizes to {image.resize} and crops to {image.crop}"
    if type(image.resize) is not int or type(image.crop) is not int:
        raise _refusal(spec, f"{sizes}; whole numbers are needed")
    if not 0 < image.crop <= image.resize <= MAX_SIDE:
        raise _refusal(spec, f"{sizes}; allowed: 0 < crop <= resize <= {MAX_SIDE}")
    if image.filter not in FILTERS:
        raise _refusal(spec, f"resizes by {image.filter!r}; known: {', '.join(FILTERS)}")
    if spec.inputs[0].shape[1:] != (image.crop, image.crop, 3) or spec.inputs[0].dtype != "uint8":
        raise _refusal(spec, "takes pictures, so its input must be uint8 (batch, crop, crop, 3)")


def _check_normalise(spec: ModelSpec, normalise: Normalise) -> None:
    width = spec.inputs[0].shape[-1]
    if not len(normalise.mean) == len(normalise.std) == width:
        raise _refusal(spec, f"must normalise with {width} means and {width} standard deviations")
    if not all(map(math.isfinite, normalise.mean)) or not all(0 < std < math.inf for std in normalise.std):
        raise _refusal(spec, "must normalise with finite means and standard deviations above 0")


def _check_labels(spec: ModelSpec) -> None:
    for label in spec.labels:
        if not all(map(is_text, (label.id, label.en, label.tr))):
            raise _refusal(spec, "has a label whose id or display name is not printable text")
    width = spec.outputs[0].shape[-1]
    if spec.task == "binary" and (width, len(spec.labels)) != (1, 2):
        raise _refusal(spec, f"has {width} outputs and {len(spec.labels)} labels; a binary model has 1 and 2")
    if spec.task in ("multiclass", "multilabel", "policy") and len(spec.labels) != width:
        raise _refusal(spec, f"has {len(spec.labels)} labels for {width} outputs")


def _check_columns(spec: ModelSpec) -> None:
    if not spec.columns:
        return
    sizes = spec.inputs[0].shape[1:]
    if sizes != (len(spec.columns),):
        raise _refusal(spec, f"names {len(spec.columns)} columns for an input of the shape {spec.inputs[0].shape}")
    if not all(map(is_text, spec.columns)) or len(set(spec.columns)) != len(spec.columns):
        raise _refusal(spec, "needs column names that are printable text, each once")


def _check_unsure(spec: ModelSpec) -> None:
    below = spec.unsure_below
    if below is None:
        return
    if spec.task not in ("binary", "multiclass"):
        raise _refusal(spec, f"is unsure below {below!r}; only a binary or multiclass model has one best label")
    if type(below) is not float or not 0 < below < 1:
        raise _refusal(spec, f"is unsure below {below!r}; a probability between 0 and 1 is needed")


def _refusal(spec: ModelSpec, problem: str) -> BadBundle:
    return BadBundle(f"the model spec of {spec.name!r} {problem}")
