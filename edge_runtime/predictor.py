"""Raw input in, answer out: a bundle, the preprocess it asks for, an engine, and the answer.

>>> from edge_runtime import examples, load
>>> predictor = load(examples.path("digits.zip"))
>>> predictor.predict(examples.path("seven.png")).label
'7'
"""

from __future__ import annotations

import math
import reprlib
import threading
import time
from array import array
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

from edge_runtime import bundle as bundles
from edge_runtime import engines
from edge_runtime.bundle import Artifact, Bundle
from edge_runtime.errors import BadBundle, BadInput, BadRequest, EngineError, Missing
from edge_runtime.postprocess import Prediction
from edge_runtime.spec import DTYPES, ImageSpec, ModelSpec, differing_field

_STAGES = ("decode", "preprocess", "inference", "postprocess")
_BATCHING = {"onnxruntime"}  # a .pte is exported for one sample


class Predictor:
    """A loaded artifact that answers raw inputs. Made by `load`; may be used from several threads."""

    def __init__(self, spec: ModelSpec, artifact: Artifact, session: engines.Session, exact: bool = False) -> None:
        self.spec = spec
        self.artifact = artifact
        self.session = session
        self.exact = exact

    def predict(self, x: Any) -> Prediction:
        """Answers one input.

        Args:
            x: a picture (path, encoded bytes, file object, PIL image, or a uint8 array of shape
                (height, width, 3)), or one row of numbers for tables and observations (a sequence or an
                array of shape (columns,), or a mapping of the spec's column names to numbers).

        Raises:
            BadInput: it cannot be read, or does not fit the model; the message says what fits.
            EngineError: the engine failed, or answered with something that is not a finite number.
        """
        return self._answer([self._prepared(x)])[0]

    def predict_batch(self, xs: Iterable[Any]) -> list[Prediction]:
        """Answers several inputs: a `.onnx` in one call, a `.pte`, which takes one at a time, one by one.

        All tensors of the batch are in memory at once. Where they run together, each answer's
        `ms["inference"]` is its share.

        Args:
            xs: what `predict` takes, any number of times; an array of shape (rows, columns) is rows.

        Raises:
            BadInput: one of them cannot be read or does not fit; the message counts from 1, none is answered.
            EngineError: as in `predict`.
        """
        if isinstance(xs, (str, bytes, bytearray, Path, Mapping)):
            raise BadInput(f"a batch is a list of inputs, not one {type(xs).__name__}; `predict` takes one")
        prepared = []
        for count, x in enumerate(xs, 1):
            try:
                prepared.append(self._prepared(x))
            except BadInput as error:
                raise BadInput(f"input {count} of the batch: {error}") from error
        if self.artifact.engine in _BATCHING:
            return self._answer(prepared) if prepared else []
        return [self._answer([one])[0] for one in prepared]

    def close(self) -> None:
        """Frees the model."""
        self.session.close()

    def _prepared(self, x: Any) -> tuple[Any, int, int]:
        """One input's tensor, and the nanoseconds of its decode and preprocess."""
        start = time.perf_counter_ns()
        image = self.spec.image
        if image is None:
            return self._row(x), 0, time.perf_counter_ns() - start
        if (tensor := _as_tensor(x, image)) is not None:
            return tensor, 0, time.perf_counter_ns() - start
        from edge_runtime.preprocess import open_picture, to_pixels

        picture = open_picture(_as_picture(x), image, exact=self.exact)
        decoded = time.perf_counter_ns()
        pixels = to_pixels(picture, image)
        return pixels, decoded - start, time.perf_counter_ns() - decoded

    def _answer(self, prepared: list[tuple[Any, int, int]]) -> list[Prediction]:
        count = len(prepared)
        start = time.perf_counter_ns()
        tensor = prepared[0][0] if count == 1 else b"".join(one[0] for one in prepared)
        output = self.session.run({self.spec.inputs[0].name: tensor})[self.spec.outputs[0].name]
        inference = (time.perf_counter_ns() - start) / count
        answers, spec = [], self.spec
        rows = output.cast("B").cast("f")
        width = len(rows) // count
        for index, (_, decode, preprocess) in enumerate(prepared):
            start = time.perf_counter_ns()
            values = tuple(rows[index * width : (index + 1) * width])
            if not all(map(math.isfinite, values)):
                raise EngineError(f"{self.artifact.id} of {spec.name} answered {values}: the artifact is broken")
            spent = (decode, preprocess, inference, time.perf_counter_ns() - start)
            ms = {stage: ns / 1e6 for stage, ns in zip(_STAGES, spent, strict=True)}
            answers.append(Prediction(spec.task, spec.labels, values, ms, spec.outputs[0].unit, spec.unsure_below))
        return answers

    def _row(self, x: Any) -> array[Any]:
        tensor, names = self.spec.inputs[0], self.spec.columns
        width = math.prod(tensor.sample_shape)
        takes = f"{self.spec.name} takes {width} numbers ({', '.join(names) or tensor.unit or tensor.name})"
        if hasattr(x, "keys"):  # a dict, a pandas row, a sqlite row
            x = _by_column(x, names, takes)
        if why := _no_row(x):
            raise BadInput(f"{takes}; {why}")
        if isinstance(x, (bytes, bytearray, str)) or getattr(x, "ndim", 1) != 1:
            shape = getattr(x, "shape", None)
            raise BadInput(f"{takes}; got {reprlib.repr(x) if shape is None else f'the shape {shape}'}")
        try:
            row = array(DTYPES[tensor.dtype][0], x)
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:  # RuntimeError: a complex tensor of torch
            raise BadInput(f"{takes}; got {reprlib.repr(x)}") from error
        if len(row) != width:
            raise BadInput(f"{takes}; got {len(row)}")
        if not all(map(math.isfinite, row)):
            place = next(index for index, value in enumerate(row) if not math.isfinite(value))
            column = repr(names[place]) if names else place + 1
            raise BadInput(f"{takes}, all finite; column {column} is {row[place]}")
        return row


def load(
    path: str | Path,
    artifact: str | None = None,
    threads: int | None = None,
    *,
    exact: bool = False,
    strict: bool = False,
    verify: bool = False,
) -> Predictor:
    """Loads a bundle folder, its `.zip`, or a bare `.onnx` or `.pte` that lokma exported.

    A `.pte` in a folder is mapped into memory, not copied: replace it by a rename, as `lokma install` and
    `lokma export` do; writing into the file of a loaded model ends the process.

    Args:
        path: what to load.
        artifact: the artifact's id; None takes the one that `lokma tune` found fastest on this device, or
            without that the first in the manifest that an engine here can run.
        threads: cores for one inference; None takes what was tuned, or all this process may use, at most 4.
        exact: decode every pixel of large pictures; False may decode them at a reduced scale.
        strict: refuse a `.pte` that spends much of its time outside its backend; False only warns.
        verify: hash the files again even if they were hashed before and look unchanged.

    Raises:
        BadInput: nothing is at `path`.
        BadBundle: it is damaged, unsafe or too new.
        BadRequest: it has no artifact of that id, or `threads` is out of range.
        Missing: no engine here can run it.
        EngineError: the engine refuses the file, or `strict` does.
    """
    if not isinstance(path, (str, Path)):
        raise BadRequest(f"a bundle is given by its path or name, not as {type(path).__name__}")
    from edge_runtime import profile

    file = Path(path)
    if is_bare(file):
        predictor = _load_bare(file, artifact, threads, exact)
    else:
        predictor = _load_from(bundles.open_bundle(path), artifact, threads, exact, verify)
    try:
        profile.require_delegated(predictor.session, predictor.artifact, strict=strict)
    except EngineError:
        predictor.close()
        raise
    return predictor


def _load_from(bundle: Bundle, artifact: str | None, threads: int | None, exact: bool, verify: bool) -> Predictor:
    usual = None
    if artifact is None:
        from edge_runtime import tuned

        choice = tuned.remembered(bundle)
        artifact, usual = (choice.artifact, choice.threads) if choice else (_first_runnable(bundle).id, None)
    chosen = bundle.artifact(artifact)
    if bundle.spec.image is not None:  # it takes as long as the engine's load: the first picture finds both done
        threading.Thread(target=_import_pillow).start()
    session = open_artifact(bundle, chosen, threads, usual=usual, verify=verify)
    return Predictor(bundle.spec, chosen, session, exact)


def _import_pillow() -> None:
    from PIL import JpegImagePlugin  # noqa: F401

    import edge_runtime.preprocess  # noqa: F401


def open_artifact(
    bundle: Bundle, artifact: Artifact, threads: int | None = None, *, usual: int | None = None, verify: bool = False
) -> engines.Session:
    """Opens one artifact of a bundle, and refuses it where the spec inside it is not the manifest's.

    The artifact's hash is in the manifest; the manifest's own spec has no other witness than this one.

    Raises:
        BadBundle: it is damaged, or the two specs differ in more than labels' display names.
        Missing: its engine is not installed here.
        EngineError: the engine refuses it.
    """
    content = bundle.content(artifact, verify=verify)
    session = engines.open_session(artifact.engine, content, threads, bundle.spec.inputs, bundle.spec.outputs, usual)
    embedded = session.embedded_spec()
    if embedded == bundle.manifest["spec"]:  # nearly always, and 2 ms faster with a thousand labels
        return session
    differs = differing_field(bundle.spec, ModelSpec.from_dict(embedded))
    if differs is not None:
        session.close()
        raise BadBundle(
            f"the manifest of {bundle.source.path} was altered or damaged: its {differs} is not the one "
            f"inside {artifact.file}; fetch the bundle again"
        )
    return session


def is_bare(path: Path) -> bool:
    """Whether this is an artifact copied out of its bundle: it is told by its suffix."""
    return path.suffix in {row[2] for row in engines.ENGINES.values()} and path.is_file()


def _first_runnable(bundle: Bundle) -> Artifact:
    for artifact in bundle.artifacts:
        if engines.available(artifact.engine):
            return artifact
    wanted = sorted({artifact.engine for artifact in bundle.artifacts})
    ways = "; ".join(f"{name}: {engines.ENGINES[name][3]}" for name in wanted if name in engines.ENGINES)
    raise Missing(f"nothing here can run {bundle.source.path}, which needs {' or '.join(wanted)} ({ways})")


def _load_bare(path: Path, artifact: str | None, threads: int | None, exact: bool) -> Predictor:
    from edge_runtime import signature

    signature.refuse_bare(path)
    if artifact is not None:
        raise BadRequest(f"{path} is one artifact and holds no {artifact!r}; name a bundle, or no artifact")
    engine = next(name for name, row in engines.ENGINES.items() if row[2] == path.suffix)
    bare = engines.open_session(engine, path, threads)
    spec = ModelSpec.from_dict(bare.embedded_spec())
    bare.close()
    session = engines.open_session(engine, path, threads, spec.inputs, spec.outputs)
    return Predictor(spec, Artifact(path.stem, path.name, engine, "", "", path.stat().st_size), session, exact)


def _no_row(x: Any) -> str:
    """Why this is no row though Python would make numbers of it; empty where nothing speaks against."""
    if isinstance(x, Set):
        return f"a {type(x).__name__} has no order, give a list"
    if isinstance(x, memoryview) and x.itemsize == 1:
        return "a memoryview of single bytes is raw data, give a list"
    if getattr(getattr(x, "dtype", None), "kind", "") == "c":
        return "these numbers are complex, give real ones"
    return ""


def _by_column(x: Any, names: tuple[str, ...], takes: str) -> list[Any]:
    """The values of a named row in the order of the spec's columns."""
    if not names:
        raise BadInput(f"{takes} and names no columns; give the numbers in their order, not by name")
    given = list(x.keys())
    lacks = [name for name in names if name not in given]
    extra = [name for name in given if name not in names]
    if lacks or extra:
        problems = [f"lacks {reprlib.repr(lacks)}"] * bool(lacks) + [f"has {reprlib.repr(extra)} besides"] * bool(extra)
        raise BadInput(f"{takes}; the row {' and '.join(problems)}")
    return [x[name] for name in names]


def _as_tensor(x: Any, image: ImageSpec) -> Any:
    """The pixels of an array that has the model's size already: resizing and cropping would not change them."""
    from PIL import Image

    layout = getattr(x, "__array_interface__", None) if image.resize == image.crop else None
    if layout is None or isinstance(x, Image.Image):
        return None
    if layout["typestr"] != "|u1" or layout["shape"] != (image.crop, image.crop, 3):
        return None
    pixels = memoryview(x)
    return pixels.cast("B") if pixels.c_contiguous else pixels.tobytes()


def _as_picture(x: Any) -> Any:
    from PIL import Image

    if isinstance(x, Image.Image) or not hasattr(x, "__array_interface__"):  # a PIL image has one too
        return x
    layout = x.__array_interface__
    shape = layout["shape"]
    if layout["typestr"] != "|u1" or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        got = f"{layout['typestr']} {shape}"
        raise BadInput(f"an array is a picture when it is uint8 of shape (height, width, 3); got {got}")
    return Image.fromarray(x)
