"""Runs a `.onnx` by onnxruntime on the CPU, with an explicit thread count and threads that hardly spin."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from edge_runtime.engines import as_buffer, by_name
from edge_runtime.errors import EngineError
from edge_runtime.spec import TensorSpec, read_json

SPEC_KEY = "lokma.spec"
# A pool that spins for long steals the core that decodes the next picture (up to 29 times slower was seen); one that
# never does is woken for each operator, which took EfficientNet-Lite0 15 % of its time. This bridges the gaps between
# operators at the processor time of no spinning. Versions that do not know it would spin for long.
SPIN_US, SPINS_FROM = 50, (1, 32)
_EXTERNAL = b"\x0a\x08location\x12"
_STATE = ort.capi.onnxruntime_pybind11_state
# Its own errors are unrelated classes (Fail, InvalidGraph, …) whose list grows with every version.
_ERRORS: tuple[type[Exception], ...] = (
    *(kind for kind in vars(_STATE).values() if isinstance(kind, type) and issubclass(kind, Exception)),
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
_TYPES = {
    "uint8": "tensor(uint8)",
    "int32": "tensor(int32)",
    "int64": "tensor(int64)",
    "float32": "tensor(float)",
}


class OnnxSession:
    """A loaded `.onnx`; see `edge_runtime.engines.Session`."""

    def __init__(
        self,
        content: Path | bytes,
        threads: int,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
    ) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what it logs as an error also comes as an exception
        if tuple(map(int, ort.__version__.split(".")[:2])) >= SPINS_FROM:
            options.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN_US))
        else:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        _refuse_external_data(content)
        source = content if isinstance(content, bytes) else str(content)
        try:
            self._session = ort.InferenceSession(
                source,
                options,
                providers=["CPUExecutionProvider"],
                enable_fallback=0,  # else it prints the error and tries the same again
            )
            if inputs:
                _check_io(self._session.get_inputs(), inputs, "inputs")
                _check_io(self._session.get_outputs(), outputs, "outputs")
        except _ERRORS as error:
            problem = f"onnxruntime {ort.__version__} cannot load this .onnx"
            raise EngineError(f"{problem}: {_first_line(error)}") from error
        self._closed = False
        self._inputs, self._outputs = inputs, outputs
        self.threads = threads
        self.versions: Mapping[str, str] = {"onnxruntime": ort.__version__}

    def run(self, inputs: Mapping[str, Any]) -> dict[str, memoryview]:
        """Runs once; shapes are the spec's with any batch size."""
        if self._closed:
            raise EngineError("this session was closed; load the bundle again")
        feeds, batch = {}, 0
        for spec, value in by_name(inputs, self._inputs):
            data, shape = as_buffer(value, spec)
            feeds[spec.name] = np.frombuffer(data, spec.dtype).reshape(shape)
            batch = shape[0]
        try:
            results = self._session.run([spec.name for spec in self._outputs], feeds)
        except _ERRORS as error:
            raise EngineError(f"onnxruntime failed while running: {_first_line(error)}") from error
        for spec, value in zip(self._outputs, results, strict=True):
            if value.shape != (batch, *spec.sample_shape):
                raise EngineError(f"{spec.name} came out as {value.shape}; its spec says {spec.shape}")
        return {spec.name: value.data for spec, value in zip(self._outputs, results, strict=True)}

    def embedded_spec(self) -> dict[str, Any]:
        """The spec JSON inside the file.

        Raises:
            EngineError: there is none, so this `.onnx` was not made by lokma.
            BadBundle: it cannot be read.
        """
        try:
            text = self._session.get_modelmeta().custom_metadata_map.get(SPEC_KEY)
        except _ERRORS as error:
            raise EngineError(f"the notes inside this .onnx cannot be read: {_first_line(error)}") from error
        if text is None:
            raise EngineError(f"this .onnx carries no {SPEC_KEY}: it was not exported by lokma; export it first")
        return read_json(text, "the spec inside this .onnx")

    def close(self) -> None:
        """Refuses further runs; onnxruntime frees the model with its last reference."""
        self._closed = True


def open_session(
    content: Path | bytes,
    threads: int | None,
    usual: int,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
) -> OnnxSession:
    """See `edge_runtime.engines.open_session`."""
    return OnnxSession(content, threads or usual, inputs, outputs)


def _refuse_external_data(content: Path | bytes) -> None:
    """Weights in a second file are covered by no hash and no signature of the bundle.

    An entry of TensorProto.external_data begins with its key: field 1, 8 bytes, "location" (onnx.proto).
    """
    try:
        if isinstance(content, bytes):
            found = content.find(_EXTERNAL)
        else:
            with content.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as view:
                found = view.find(_EXTERNAL)
    except (OSError, ValueError) as error:  # ValueError: it is empty
        raise EngineError(f"this .onnx cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if found >= 0:
        raise EngineError("this .onnx keeps weights in another file, which nothing has checked; save it as one file")


def _check_io(found: Sequence[Any], specs: tuple[TensorSpec, ...], side: str) -> None:
    """Refuses a file whose tensors are not the spec's."""
    nodes = {node.name: node for node in found}
    if set(nodes) != {spec.name for spec in specs}:
        names = ", ".join(spec.name for spec in specs)
        raise EngineError(f"this .onnx has the {side} {', '.join(nodes)}; its spec says {names}")
    for spec in specs:
        node = nodes[spec.name]
        sizes = [size if isinstance(size, int) else None for size in node.shape or ()]  # None: free
        fits = len(sizes) == len(spec.shape) and all(
            size in (None, wanted) for size, wanted in zip(sizes[1:], spec.sample_shape, strict=True)
        )
        if node.type != _TYPES[spec.dtype] or not fits:
            says = f"{spec.dtype} {spec.shape}"
            raise EngineError(f"{spec.name} of this .onnx is {node.type} {node.shape}; its spec says {says}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
