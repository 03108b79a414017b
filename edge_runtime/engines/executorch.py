"""Runs a `.pte` by ExecuTorch and XNNPACK through the compiled engine (`native.cpp`): no torch, no numpy.

A bundle's hash keeps a damaged `.pte` away. One that is altered on purpose, number by number, can still end
the process inside ExecuTorch 1.5.1 (in 9 of 1,000 tries): trust a `.pte` as far as who sent it.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edge_runtime.engines import Operator, as_buffer, by_name
from edge_runtime.errors import BadInput, EngineError, Missing
from edge_runtime.spec import DTYPES, TensorSpec, read_json

EXECUTORCH = "1.5.1"
SPEC_METHOD = "lokma_spec"
NATIVE = Path(__file__).resolve().parent.parent / "_native"
_SCALAR_TYPES = {0: "uint8", 3: "int32", 4: "int64", 6: "float32"}  # the c10::ScalarType that a spec may use
_OPERATOR_MISSING = 0x14
_DELEGATE = "DELEGATE_CALL"  # ExecuTorch's event; XNNPACK is the one backend that is linked
PORTABLE = "portable"  # the backend of an operator that none took
# runtime/core/error.h of ExecuTorch 1.5.1
_MEANINGS = {
    0x01: ("Internal", "an error inside ExecuTorch"),
    0x02: ("InvalidState", "the session is not ready for this call"),
    0x10: ("NotSupported", "this build cannot do what the file asks for"),
    0x11: ("NotImplemented", "this build lacks what the file asks for"),
    0x12: ("InvalidArgument", "an input has the wrong type, shape or count"),
    0x13: ("InvalidType", "an input has the wrong type"),
    0x14: ("OperatorMissing", "the file needs an operator that this build lacks"),
    0x20: ("NotFound", "something the file refers to is missing"),
    0x21: ("MemoryAllocationFailed", "not enough memory"),
    0x22: ("AccessFailed", "the file cannot be read"),
    0x23: ("InvalidProgram", "this is not a .pte, or it is cut short, or written for a newer ExecuTorch"),
    0x24: ("InvalidExternalData", "the file's external data do not fit it"),
    0x25: ("OutOfResources", "a resource ran out"),
    0x30: ("DelegateInvalidCompatibility", "the file was lowered for another version of its backend"),
    0x31: ("DelegateMemoryAllocationFailed", "not enough memory for the backend"),
    0x32: ("DelegateInvalidHandle", "the backend lost its state"),
}
_lock = threading.Lock()
_library: ctypes.CDLL | None = None
_threads: int | None = None  # of this process: XNNPACK keeps the pool that it finds at the first load


def available() -> bool:
    """Whether this installation has the compiled engine."""
    return (NATIVE / "liblokma.so").is_file()


class ExecuTorchSession:
    """A loaded `.pte`; see `edge_runtime.engines.Session`. Runs one call at a time."""

    def __init__(
        self,
        content: Path | bytes,
        threads: int | None,
        usual: int,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
    ) -> None:
        self._handle: ctypes.c_void_p | None = None
        self._native, self.threads = _load_library(threads, usual)
        self._lock = threading.Lock()
        self._inputs, self._outputs = inputs, outputs
        self.versions: Mapping[str, str] = {"executorch": EXECUTORCH}
        handle = ctypes.c_void_p()
        with _path_of(content) as path:
            self._refuse(self._native.lokma_load(path, ctypes.byref(handle)), "cannot load this .pte")
        self._handle = handle
        if inputs:
            self._load_method(b"forward")
            self._check_io(inputs, 0)
            self._check_io(outputs, 1)

    def run(self, inputs: Mapping[str, Any]) -> dict[str, memoryview]:
        """Runs once with batch size 1, the only one a `.pte` is exported for."""
        arguments = self._arguments(inputs)
        with self._lock:
            raw = self._execute(b"forward", arguments)
        results = {}
        for spec, copy in zip(self._outputs, raw, strict=True):
            code, width = DTYPES[spec.dtype]
            if len(copy) != width * math.prod(spec.sample_shape):
                raise EngineError(f"{spec.name} came out with {len(copy)} bytes; its spec says {spec.shape}")
            shape = (1, *spec.sample_shape)
            results[spec.name] = memoryview(copy).cast(code, shape)  # type: ignore[call-overload]  # not a literal
        return results

    def profile(self, inputs: Mapping[str, Any] | None = None, runs: int = 5) -> tuple[Operator, ...]:
        """The operators of one run in their order, each time the median of `runs` after one that warms up.

        What XNNPACK took is one row a delegate call. Without `inputs` the runs are on zeros.
        """
        zeros = {spec.name: bytes(DTYPES[spec.dtype][1] * math.prod(spec.sample_shape)) for spec in self._inputs}
        arguments = self._arguments(zeros if inputs is None else inputs)
        with self._lock:
            tables = [self._timed(arguments) for _ in range(1 + runs)][1:]
        medians = [sorted(row[1] for row in rows)[runs // 2] for rows in zip(*tables, strict=True)]
        return tuple(
            Operator(name.split(".")[0], PORTABLE, ns) if name != _DELEGATE else Operator("delegate", "xnnpack", ns)
            for (name, _), ns in zip(tables[0], medians, strict=True)
        )

    def embedded_spec(self) -> dict[str, Any]:
        """The spec JSON inside the file.

        Raises:
            EngineError: there is none, so this `.pte` was not made by lokma.
            BadBundle: it cannot be read.
        """
        name = SPEC_METHOD.encode()
        with self._lock:
            self._refuse_closed()
            if self._native.lokma_count(self._handle, name, 1) < 1:
                raise EngineError(f"this .pte carries no {SPEC_METHOD}: it was not exported by lokma; export it first")
            self._load_method(name)
            return read_json(bytes(self._execute(name, [])[0]), "the spec inside this .pte")

    def close(self) -> None:
        """Frees the model; the session cannot be used after."""
        with self._lock:
            if self._handle is not None:
                self._native.lokma_free(self._handle)
                self._handle = None

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self._native.lokma_free(self._handle)

    def _arguments(self, inputs: Mapping[str, Any]) -> list[tuple[bytes, str, tuple[int, ...]]]:
        arguments = []
        for spec, value in by_name(inputs, self._inputs):
            data, shape = as_buffer(value, spec)
            if shape[0] != 1:
                raise BadInput(f"a .pte runs one sample at a time; got a batch of {shape[0]}")
            arguments.append((bytes(data), spec.dtype, shape))
        return arguments

    def _timed(self, arguments: list[tuple[bytes, str, tuple[int, ...]]]) -> list[tuple[str, int]]:
        """Runs once; the rows that the engine's stopwatch wrote."""
        rows: list[tuple[str, int]] = []
        name = ctypes.c_char_p()
        self._refuse_closed()
        self._native.lokma_profile(self._handle, 1)
        try:
            self._execute(b"forward", arguments)
            while (ns := self._native.lokma_profile_row(self._handle, len(rows), ctypes.byref(name))) >= 0:
                rows.append(((name.value or b"").decode(), ns))
        finally:
            self._native.lokma_profile(self._handle, 0)
        return rows

    def _execute(self, method: bytes, arguments: list[tuple[bytes, str, tuple[int, ...]]]) -> list[bytearray]:
        self._refuse_closed()
        count = len(arguments)
        types = {name: number for number, name in _SCALAR_TYPES.items()}
        data = (ctypes.c_void_p * count)(*[ctypes.cast(ctypes.c_char_p(a[0]), ctypes.c_void_p) for a in arguments])
        dtypes = (ctypes.c_int * count)(*[types[a[1]] for a in arguments])
        ndims = (ctypes.c_int * count)(*[len(a[2]) for a in arguments])
        flat = [size for a in arguments for size in a[2]]
        sizes = (ctypes.c_int * len(flat))(*flat)
        code = self._native.lokma_run(self._handle, method, count, data, dtypes, ndims, sizes)
        self._refuse(code, "failed while running")
        outputs = []
        for index in range(self._native.lokma_count(self._handle, method, 1)):
            copy = bytearray(max(0, self._native.lokma_output_size(self._handle, index)))
            if copy:
                target = (ctypes.c_char * len(copy)).from_buffer(copy)
                code = self._native.lokma_output(self._handle, index, target, len(copy))
                self._refuse(code, "cannot hand over its output")
            outputs.append(copy)
        return outputs

    def _refuse_closed(self) -> None:
        if self._handle is None:
            raise EngineError("this session was closed; load the bundle again")

    def _load_method(self, name: bytes) -> None:
        code = self._native.lokma_load_method(self._handle, name)
        if code == _OPERATOR_MISSING:  # quantized operators outside XNNPACK live in a library of their own
            _shared("libexecutorch_kernels_quantized.so", ctypes.RTLD_GLOBAL)
            code = self._native.lokma_load_method(self._handle, name)
        self._refuse(code, "cannot prepare this .pte")

    def _check_io(self, specs: tuple[TensorSpec, ...], outputs: int) -> None:
        """Refuses a file whose tensors are not the spec's: the run would read or write past the end."""
        side = "outputs" if outputs else "inputs"
        count = self._native.lokma_count(self._handle, b"forward", outputs)
        if count != len(specs):
            raise EngineError(f"this .pte has {count} {side}; its spec says {len(specs)}")
        for index, spec in enumerate(specs):
            dtype, ndim, sizes = ctypes.c_int(), ctypes.c_int(), (ctypes.c_int * 8)()
            code = self._native.lokma_describe(
                self._handle, b"forward", outputs, index, ctypes.byref(dtype), ctypes.byref(ndim), sizes
            )
            self._refuse(code, f"cannot describe the {side} of this .pte")
            found = (_SCALAR_TYPES.get(dtype.value, f"type {dtype.value}"), tuple(sizes[: ndim.value]))
            if found != (spec.dtype, (1, *spec.sample_shape)):
                raise EngineError(f"{spec.name} of this .pte is {found}; its spec says {spec.dtype} {spec.shape}")

    def _refuse(self, code: int, what: str) -> None:
        if code:
            name, meaning = _MEANINGS.get(code, (f"error {code:#x}", "an error that this version has no words for"))
            log = self._native.lokma_log().decode(errors="replace")
            detail = f" ({log})" if log else ""
            raise EngineError(f"ExecuTorch {EXECUTORCH} {what}: {name}, {meaning}{detail}", name)


def open_session(
    content: Path | bytes,
    threads: int | None,
    usual: int,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
) -> ExecuTorchSession:
    """See `edge_runtime.engines.open_session`."""
    return ExecuTorchSession(content, threads, usual, inputs, outputs)


def _load_library(threads: int | None, usual: int) -> tuple[ctypes.CDLL, int]:
    """The compiled engine, and the size of its one thread pool, which is set before anything is loaded.

    A count that nobody asked for (`usual`) gives way to the one that the process has already.
    """
    global _library, _threads
    with _lock:
        if _library is None:
            library = _shared("liblokma.so", ctypes.DEFAULT_MODE)
            library.lokma_log.restype = ctypes.c_char_p
            library.lokma_load.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
            library.lokma_load_method.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
            library.lokma_count.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
            library.lokma_describe.argtypes = [
                ctypes.c_void_p,
                ctypes.c_char_p,
                *[ctypes.c_int] * 2,
                *[ctypes.c_void_p] * 3,
            ]
            library.lokma_run.argtypes = [
                ctypes.c_void_p,
                ctypes.c_char_p,
                ctypes.c_int,
                *[ctypes.c_void_p] * 4,
            ]
            library.lokma_output_size.argtypes = [ctypes.c_void_p, ctypes.c_int]
            library.lokma_output_size.restype = ctypes.c_longlong
            library.lokma_output.argtypes = [
                ctypes.c_void_p,
                ctypes.c_int,
                ctypes.c_void_p,
                ctypes.c_size_t,
            ]
            library.lokma_profile.argtypes = [ctypes.c_void_p, ctypes.c_int]
            library.lokma_profile.restype = None
            library.lokma_profile_row.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
            library.lokma_profile_row.restype = ctypes.c_longlong
            library.lokma_free.argtypes = [ctypes.c_void_p]
            library.lokma_free.restype = None
            _library = library
        if _threads is None:
            wanted = threads or usual
            if _library.lokma_set_threads(wanted) != wanted:
                raise EngineError(f"ExecuTorch cannot start {wanted} threads here")
            _threads = wanted
        elif threads not in (None, _threads):
            raise EngineError(
                f"this process runs .pte files with {_threads} threads and cannot change to {threads}; "
                f"pass threads={_threads}, or use another process"
            )
        return _library, _threads


@contextlib.contextmanager
def _path_of(content: Path | bytes) -> Iterator[bytes]:
    """What the engine can open: the file, or one in memory for bytes out of a zip. It keeps it open by itself."""
    try:
        if not (len(content) if isinstance(content, bytes) else content.stat().st_size):
            raise ValueError("it is empty")
        with content.open("rb") if isinstance(content, Path) else os.fdopen(os.memfd_create("lokma"), "wb") as handle:
            if isinstance(content, bytes):
                handle.write(content)
                handle.flush()
            yield os.fsencode(content) if isinstance(content, Path) else f"/proc/self/fd/{handle.fileno()}".encode()
    except (OSError, ValueError) as error:  # ValueError: also a null byte in the name
        raise EngineError(f"this .pte cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _shared(name: str, mode: int) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(NATIVE / name), mode=mode)
    except OSError as error:
        raise Missing(f"the compiled ExecuTorch engine cannot be loaded here: {error}") from error
