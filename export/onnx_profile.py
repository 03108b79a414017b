"""Which kernels of onnxruntime ran an artifact, and for how long: the `Operator` rows that `.pte` profiles have too.

A graph that says int8 runs in float wherever onnxruntime could not fuse the Q/DQ pairs around an operator.

>>> rows = operators(data, {"pixels": pixels}, "int8")                                  # doctest: +SKIP
>>> delegation_of(rows, "int8").time_share                                                      # doctest: +SKIP
0.97
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from edge_runtime.engines import Operator
from edge_runtime.profile import PORTABLE, Delegation
from edge_runtime.profile import delegation_of as _summed

OWN = {"int8": "fused int8", "fp16": "float32", "fp32": "float32"}  # precision: the backend that should run it
FLOAT, CASTS = "float", "casts"  # what else may for int8: float kernels, and conversions that were not fused away
_CASTS = {"Cast", "DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"}
_INTEGER = {"ConvInteger", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat", "QAttention", "QGemm"}
_EIGHT_BITS = ("int8", "uint8")
_LAST = {"Cast", "Sigmoid", "Softmax"}


def operators(data: bytes, inputs: Mapping[str, np.ndarray], precision: str, runs: int = 5) -> tuple[Operator, ...]:
    """The kernels of one run on one thread, in order, each with its median time.

    Args:
        data: a `.onnx`.
        inputs: one sample in the user's units, with its batch axis.
        precision: what the artifact should run in: fp32, fp16 or int8.
        runs: how many are timed, after one that warms up.

    Returns:
        Rows whose backend is `OWN[precision]`, "float" or "casts". What the in-graph contract puts before the
        model and after it is float by design and left out.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "onnx")
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        for _ in range(runs + 1):
            session.run(None, dict(inputs))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times: dict[str, list[int]] = {}
    kernels: dict[str, Mapping[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            key = f"{event['args']['node_index']} {event['name']}"
            times.setdefault(key, []).append(int(event["dur"]) * 1000)
            kernels.setdefault(key, event["args"])
    rows = []
    for key, kernel in kernels.items():
        median = statistics.median(times[key][1:])
        rows.append(Operator(str(kernel["op_name"]), _backend(kernel, precision), round(median)))
    return _inner(rows)


def delegation_of(rows: Sequence[Operator], precision: str) -> Delegation:
    """As for `.pte`: the share of operators and of time in kernels of the artifact's own precision."""
    own = OWN[precision]
    return _summed([row if row.backend == own else dataclasses.replace(row, backend=PORTABLE) for row in rows])


def _backend(kernel: Mapping[str, Any], precision: str) -> str:
    if precision != "int8":
        return OWN[precision]  # nothing was asked that a kernel could miss
    name = str(kernel["op_name"])
    if name in _CASTS:
        return CASTS
    types = [kind for entry in kernel.get("input_type_shape", ()) for kind in entry]
    fused = name.startswith("QLinear") or name in _INTEGER or (types[:1] and types[0] in _EIGHT_BITS)
    return OWN["int8"] if fused else FLOAT


def _inner(rows: Sequence[Operator]) -> tuple[Operator, ...]:
    """From the first weights, with the quantization ahead of them, to the last activation, without it."""
    weighted = (at for at, row in enumerate(rows) if any(word in row.name for word in ("Conv", "Gemm", "MatMul")))
    start, end = next(weighted, 0), len(rows)
    while start and rows[start - 1].name in ("DynamicQuantizeLinear", "QuantizeLinear"):
        start -= 1
    while end > start + 1 and rows[end - 1].name in _LAST:
        end -= 1
    return tuple(rows[start:end])
