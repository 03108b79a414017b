"""Raw input in, answer out: a bundle, the preprocess it asks for, an engine, and the answer.

>>> from edge_runtime import examples, load
>>> predictor = load(examples.path("digits.zip"))
>>> predictor.predict(examples.path("seven.png")).label
'7'
"""

from __future__ import annotations

import logging
import math
import reprlib
import time
from array import array
from pathlib import Path
from typing import Any

from PIL import Image

from edge_runtime import bundle as bundles
from edge_runtime import engines
from edge_runtime.bundle import Artifact, Bundle
from edge_runtime.errors import BadBundle, BadInput, BadRequest, EngineError, Missing
from edge_runtime.postprocess import Prediction
from edge_runtime.preprocess import open_picture, to_pixels
from edge_runtime.spec import DTYPES, ModelSpec, differing_field

log = logging.getLogger(__name__)


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
                (height, width, 3)), or one row of numbers for tables and observations.

        Raises:
            BadInput: it cannot be read, or does not fit the model; the message says what fits.
            EngineError: the engine failed, or answered with something that is not a finite number.
        """
        clock = [time.perf_counter_ns()]
        if self.spec.image is not None:
            picture = open_picture(_as_picture(x), self.spec.image, exact=self.exact)
            clock.append(time.perf_counter_ns())
            tensor: Any = to_pixels(picture, self.spec.image)
        else:
            clock.append(clock[0])
            tensor = self._row(x)
        clock.append(time.perf_counter_ns())
        output = self.session.run({self.spec.inputs[0].name: tensor})[self.spec.outputs[0].name]
        clock.append(time.perf_counter_ns())
        values = tuple(output.cast("B").cast("f"))
        if not all(map(math.isfinite, values)):
            raise EngineError(f"{self.artifact.id} of {self.spec.name} answered {values}: the artifact is broken")
        clock.append(time.perf_counter_ns())
        stages = ("decode", "preprocess", "inference", "postprocess")
        ms = {stage: (clock[i + 1] - clock[i]) / 1e6 for i, stage in enumerate(stages)}
        return Prediction(self.spec.task, self.spec.labels, values, ms)

    def close(self) -> None:
        """Frees the model."""
        self.session.close()

    def _row(self, x: Any) -> array:
        tensor = self.spec.inputs[0]
        width = math.prod(tensor.sample_shape)
        takes = f"{self.spec.name} takes {width} numbers ({tensor.unit or tensor.name})"
        if isinstance(x, (bytes, bytearray, str)) or getattr(x, "ndim", 1) != 1:
            shape = getattr(x, "shape", None)
            raise BadInput(f"{takes}; got {reprlib.repr(x) if shape is None else f'the shape {shape}'}")
        try:
            row = array(DTYPES[tensor.dtype][0], x)
        except (TypeError, ValueError, OverflowError) as error:
            raise BadInput(f"{takes}; got {reprlib.repr(x)}") from error
        if len(row) != width:
            raise BadInput(f"{takes}; got {len(row)}")
        if not all(map(math.isfinite, row)):
            raise BadInput(f"{takes}, all finite; got {reprlib.repr(list(row))}")
        return row


def load(
    path: str | Path,
    artifact: str | None = None,
    threads: int | None = None,
    *,
    exact: bool = False,
    verify: bool = False,
) -> Predictor:
    """Loads a bundle folder, its `.zip`, or a bare `.onnx` or `.pte` that lokma exported.

    Args:
        path: what to load.
        artifact: the artifact's id; None takes the first in the manifest that an engine here can run.
        threads: cores for one inference; None takes all this process may use, at most 4.
        exact: decode every pixel of large pictures; False may decode them at a reduced scale.
        verify: hash the files again even if they were hashed before and look unchanged.

    Raises:
        BadInput: nothing is at `path`.
        BadBundle: it is damaged, unsafe or too new.
        BadRequest: it has no artifact of that id, or `threads` is out of range.
        Missing: no engine here can run it.
        EngineError: the engine refuses the file.
    """
    path = Path(path)
    if is_bare(path):
        if artifact is not None:
            raise BadRequest(f"{path} is one artifact and holds no {artifact!r}; name a bundle, or no artifact")
        return _load_bare(path, threads, exact)
    bundle = bundles.open_bundle(path)
    chosen = bundle.artifact(artifact) if artifact else _first_runnable(bundle)
    session = open_artifact(bundle, chosen, threads, verify=verify)
    log.info("loaded %s of %s with %d threads", chosen.id, path, session.threads)
    return Predictor(bundle.spec, chosen, session, exact)


def open_artifact(
    bundle: Bundle, artifact: Artifact, threads: int | None = None, *, verify: bool = False
) -> engines.Session:
    """Opens one artifact of a bundle, and refuses it where the spec inside it is not the manifest's.

    The artifact's hash is in the manifest; the manifest's own spec has no other witness than this one.

    Raises:
        BadBundle: it is damaged, or the two specs differ in more than labels' display names.
        Missing: its engine is not installed here.
        EngineError: the engine refuses it.
    """
    content = bundle.content(artifact, verify=verify)
    session = engines.open_session(artifact.engine, content, threads, bundle.spec.inputs, bundle.spec.outputs)
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


def _load_bare(path: Path, threads: int | None, exact: bool) -> Predictor:
    engine = next(name for name, row in engines.ENGINES.items() if row[2] == path.suffix)
    bare = engines.open_session(engine, path, threads)
    spec = ModelSpec.from_dict(bare.embedded_spec())
    bare.close()
    session = engines.open_session(engine, path, threads, spec.inputs, spec.outputs)
    return Predictor(spec, Artifact(path.stem, path.name, engine, "", "", path.stat().st_size), session, exact)


def _as_picture(x: Any) -> Any:
    if isinstance(x, Image.Image) or not hasattr(x, "__array_interface__"):  # a PIL image has one too
        return x
    layout = x.__array_interface__
    shape = layout["shape"]
    if layout["typestr"] != "|u1" or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        got = f"{layout['typestr']} {shape}"
        raise BadInput(f"an array is a picture when it is uint8 of shape (height, width, 3); got {got}")
    return Image.fromarray(x)
