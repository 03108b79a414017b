"""What executes an artifact: one row an engine. To add one, add a row and a module with `open_session`.

A `Session` is loaded once and takes and gives named tensors in the artifact's own units. Tensors are
buffers: anything with the buffer protocol goes in (bytes, array.array, numpy), memoryviews come out.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from edge_runtime.errors import BadInput, BadRequest, Missing
from edge_runtime.frozen import frozen
from edge_runtime.host import usable_cores
from edge_runtime.spec import DTYPES, TensorSpec

MAX_THREADS = 256  # far above any device; beyond it a typing error would exhaust the machine
_FORMATS = {"uint8": "B", "int32": "il", "int64": "ql", "float32": "f"}  # numpy's int64 is "l" on Linux

# engine: (module, what must be importable or None for the compiled one, file suffix, what brings it)
ENGINES = {
    "executorch": (
        "edge_runtime.engines.executorch",
        None,
        ".pte",
        "this lokma was built without the compiled ExecuTorch engine and runs .onnx files only; "
        "the wheels manylinux_2_28_x86_64 and manylinux_2_28_aarch64 have it (64-bit Linux)",
    ),
    "onnxruntime": (
        "edge_runtime.engines.onnxruntime",
        "onnxruntime",
        ".onnx",
        "pip install 'lokma[onnx]'",
    ),
}


@frozen
class Operator:
    """One row of a profile: what ran once in a run, which backend ran it, and how long that took."""

    name: str
    backend: str
    ns: int


class Session(Protocol):
    """A loaded artifact. `threads` is the count in use; `run` may be called from several threads."""

    threads: int
    versions: Mapping[str, str]

    def run(self, inputs: Mapping[str, Any]) -> dict[str, memoryview]:
        """Runs once: named input buffers to named outputs, which stay valid after `close`."""

    def embedded_spec(self) -> dict[str, Any]:
        """The spec that the artifact carries inside."""

    def close(self) -> None:
        """Frees the model; `run` refuses from then on."""


def available(engine: str) -> bool:
    """Whether this installation can run the engine; imports nothing heavy."""
    if engine not in ENGINES:
        return False
    module, needs, _, _ = ENGINES[engine]
    if needs is not None:
        from importlib.util import find_spec  # here, because most starts ask for the compiled engine only

        found = find_spec(needs)
        return found is not None and found.origin is not None  # a bare folder of that name has no origin
    return bool(importlib.import_module(module).available())


def open_session(
    engine: str,
    content: Path | bytes,
    threads: int | None = None,
    inputs: tuple[TensorSpec, ...] = (),
    outputs: tuple[TensorSpec, ...] = (),
    usual: int | None = None,
) -> Session:
    """Loads an artifact.

    Args:
        engine: a key of `ENGINES`.
        content: the artifact's file, or its bytes.
        threads: how many cores one run may use; None takes `usual`, or what the engine's one pool has already.
        inputs: what it takes, from the spec; used to check and to name. Empty: only its spec can be read.
        outputs: what it gives.
        usual: what nobody asked for but would be best, such as a tuned count; None takes `default_threads()`.

    Raises:
        BadRequest: `threads` is not between 1 and `MAX_THREADS`.
        Missing: the engine is not installed here; the message says what brings it.
        EngineError: the engine refuses the artifact.
    """
    if threads is not None and not (type(threads) is int and 1 <= threads <= MAX_THREADS):
        raise BadRequest(f"threads must be a whole number between 1 and {MAX_THREADS}; got {threads!r}")
    if engine not in ENGINES:
        raise Missing(f"this lokma has no engine {engine!r}; it has {', '.join(ENGINES)}")
    if not available(engine):
        raise Missing(f"the engine {engine} is not installed here: {ENGINES[engine][3]}")
    try:
        module = importlib.import_module(ENGINES[engine][0])
    except ImportError as error:
        raise Missing(f"the engine {engine} is installed here but cannot be imported: {error}") from error
    session: Session = module.open_session(content, threads, usual or default_threads(), inputs, outputs)
    return session


def default_threads() -> int:
    """The cores this process may use, at most 4: beyond that small models lose more than they gain."""
    return min(4, usable_cores())


def as_buffer(value: Any, spec: TensorSpec) -> tuple[memoryview, tuple[int, ...]]:
    """Checks one input and returns its bytes, flat, and its shape with the batch size filled in.

    Raises:
        BadInput: not a buffer, not contiguous, or of another type or shape than the spec's.
    """
    width = DTYPES[spec.dtype][1]
    try:
        view = memoryview(value)
    except (BufferError, TypeError, ValueError) as error:
        kind = type(value).__name__
        raise BadInput(f"{spec.name} must be a buffer (bytes, array, numpy), not {kind}") from error
    if not view.c_contiguous:
        raise BadInput(f"{spec.name} is not contiguous in memory; pass a contiguous copy")
    same = view.format in _FORMATS[spec.dtype] and view.itemsize == width
    flat = view.ndim == 1 and (same or view.format == "B")
    if not flat and not same:
        raise BadInput(f"{spec.name} must be {spec.dtype}, not a buffer of format {view.format!r}")
    batch, rest = divmod(view.nbytes, width * math.prod(spec.sample_shape))
    shape = (batch, *spec.sample_shape)
    if rest or not batch or not (flat or view.shape == shape):
        got = f"{view.nbytes} bytes" if flat else f"the shape {view.shape}"
        raise BadInput(f"{spec.name} must have the shape {spec.shape} in {spec.dtype}; got {got}")
    return view.cast("B"), shape


def by_name(given: Mapping[str, Any], specs: tuple[TensorSpec, ...]) -> list[tuple[TensorSpec, Any]]:
    """Pairs named inputs with their specs.

    Raises:
        BadInput: a name is missing or unknown.
    """
    names = [spec.name for spec in specs]
    if not isinstance(given, Mapping):
        raise BadInput(f"the inputs go in by name ({', '.join(names)}), not as {type(given).__name__}")
    if set(given) != set(names):
        raise BadInput(f"the inputs are {', '.join(names)}; got {', '.join(map(str, given)) or 'none'}")
    return [(spec, given[spec.name]) for spec in specs]
