"""The Open Inference Protocol v2: bytes to tensors and back, as JSON and as the binary-tensor extension.

Pure functions: no model runs here. With the extension a JSON head comes first, `Inference-Header-Content-Length`
says how long it is, and the tensors that name a `binary_data_size` follow it, in order, little-endian.
https://github.com/kserve/open-inference-protocol, and Triton's extension_binary_data.md.

>>> from edge_runtime.spec import TensorSpec
>>> row, out = TensorSpec("row", "float32", ("batch", 2)), TensorSpec("answer", "float32", ("batch", 1))
>>> body = b'{"inputs": [{"name": "row", "datatype": "FP32", "shape": [1, 2], "data": [1, 2.5]}]}'
>>> asked = read_request(body, None, row, out)
>>> asked.rows, asked.tensor.nbytes, asked.binary
(1, 8, False)
>>> write_response("net", 3, asked, out, memoryview(b"\\0\\0\\0\\x3f"))[0]
b'{"model_name":"net","model_version":"3","outputs":[{"name":"answer","datatype":"FP32","shape":[1,1],"data":[0.5]}]}'
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from edge_runtime.errors import BadInput
from edge_runtime.spec import DTYPES, TensorSpec

HEAD_LENGTH = "inference-header-content-length"
DATATYPES = {"uint8": "UINT8", "int32": "INT32", "int64": "INT64", "float32": "FP32"}
MAX_ROWS = 1024  # of one request
_KINDS = {"uint8": "iu", "int32": "iu", "int64": "iu", "float32": "iuf"}  # numpy's kinds that JSON numbers may be of
_COMPACT = json.JSONEncoder(separators=(",", ":"))
_MEANS_ELSE = ("classification", "shared_memory_region", "sequence_id")  # to ignore these would be another answer


@dataclass(frozen=True)
class Asked:
    """One request: `tensor` is its input, flat bytes of `rows` samples; `binary` how the output goes back."""

    tensor: memoryview
    rows: int
    binary: bool = False
    id: str | None = None


def read_request(body: bytes | memoryview, head_length: str | None, takes: TensorSpec, gives: TensorSpec) -> Asked:
    """Reads an inference request for a model of one input and one output.

    Args:
        body: the whole body.
        head_length: the value of `Inference-Header-Content-Length`; None where the body is JSON alone.
        takes: the model's input.
        gives: its output.

    Raises:
        BadInput: malformed, or not of this model; the message says what fits.
    """
    head, tail = _split(body, head_length)
    request_id = head.get("id")
    if request_id is not None and not (isinstance(request_id, str) and len(request_id) <= 200):
        raise BadInput("id must be text of at most 200 characters")
    parameters = _parameters(head, "the request")
    binary = _wants_binary(head, gives, parameters)
    inputs = head.get("inputs")
    given = inputs[0] if isinstance(inputs, list) and len(inputs) == 1 else None
    if not isinstance(given, dict) or given.get("name") != takes.name:
        raise BadInput(f"inputs must be one tensor, {takes.name}; got {_short(inputs)}")
    shape = _shape(given, takes)
    size = _parameters(given, takes.name).get("binary_data_size")
    if size is not None:
        if "data" in given:
            raise BadInput(f"{takes.name} has both data and a binary_data_size; give one of them")
        tensor = _binary(tail, size, shape, takes)
    elif len(tail):
        raise BadInput(f"{len(tail)} bytes follow the JSON, and no input has a binary_data_size")
    else:
        tensor = _json_data(given.get("data"), shape, takes)
    return Asked(tensor, shape[0], binary, request_id)


def write_response(
    name: str,
    version: int,
    asked: Asked,
    gives: TensorSpec,
    values: memoryview,
    parameters: Mapping[str, int] | None = None,
) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON head (None where it is JSON alone).

    Args:
        name: the model's.
        version: the model's.
        asked: what is answered.
        gives: the model's output.
        values: the output, flat bytes of `asked.rows` samples.
        parameters: what else is said of the answer: its times.
    """
    shape = [asked.rows, *gives.sample_shape]
    output: dict[str, Any] = {"name": gives.name, "datatype": DATATYPES[gives.dtype], "shape": shape}
    if asked.binary:
        output["parameters"] = {"binary_data_size": values.nbytes}
    else:
        output["data"] = np.frombuffer(values, gives.dtype).tolist()
    answer: dict[str, Any] = {"model_name": name, "model_version": str(version)}
    if asked.id is not None:
        answer["id"] = asked.id
    if parameters:
        answer["parameters"] = dict(parameters)
    head = _dump({**answer, "outputs": [output]})
    return (b"".join((head, values)), len(head)) if asked.binary else (head, None)


def write_request(tensor: Any, rows: int, takes: TensorSpec, *, binary: bool) -> tuple[bytes, dict[str, str]]:
    """A request's body and headers, as a client sends it."""
    values, shape = memoryview(tensor).cast("B"), [rows, *takes.sample_shape]
    given: dict[str, Any] = {"name": takes.name, "datatype": DATATYPES[takes.dtype], "shape": shape}
    if not binary:
        given["data"] = np.frombuffer(values, takes.dtype).tolist()
        return _dump({"inputs": [given]}), {"Content-Type": "application/json"}
    given["parameters"] = {"binary_data_size": values.nbytes}
    head = _dump({"parameters": {"binary_data_output": True}, "inputs": [given]})
    headers = {"Content-Type": "application/octet-stream", HEAD_LENGTH: str(len(head))}
    return b"".join((head, values)), headers


def read_response(body: bytes, head_length: str | None, gives: TensorSpec) -> memoryview:
    """The output's flat bytes, as a client reads them.

    Raises:
        BadInput: it is an error, or no answer of this model.
    """
    head, tail = _split(body, head_length)
    outputs = head.get("outputs")
    if not (isinstance(outputs, list) and len(outputs) == 1 and isinstance(outputs[0], dict)):
        raise BadInput(f"the server answered {_short(head.get('error', head))}")
    shape = _shape(outputs[0], gives)
    size = _parameters(outputs[0], gives.name).get("binary_data_size")
    return _json_data(outputs[0].get("data"), shape, gives) if size is None else _binary(tail, size, shape, gives)


def metadata(tensor: TensorSpec) -> dict[str, Any]:
    """A tensor as the protocol's metadata shows it; -1 is the free batch size."""
    return {"name": tensor.name, "datatype": DATATYPES[tensor.dtype], "shape": [-1, *tensor.sample_shape]}


def _split(body: bytes | memoryview, head_length: str | None) -> tuple[dict[str, Any], memoryview]:
    view = memoryview(body)
    length = len(view)
    if head_length is not None:
        if not (head_length.isascii() and head_length.isdigit() and len(head_length) <= 12):
            raise BadInput("Inference-Header-Content-Length must be a whole number of bytes")
        length = int(head_length)
        if not 0 < length <= len(view):
            raise BadInput(f"Inference-Header-Content-Length is {length}, of a body of {len(view)} bytes")
    try:
        head = json.loads(bytes(view[:length]), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"the body is not JSON: {_short(error)}") from error
    if not isinstance(head, dict):
        raise BadInput("the body must be a JSON object")
    return head, view[length:]


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _parameters(item: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    found = item.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise BadInput(f"the parameters of {what} must be a JSON object")
    for name in _MEANS_ELSE:
        if found.get(name):
            raise BadInput(f"this server has no {name}; leave that parameter out")
    return found


def _wants_binary(head: Mapping[str, Any], gives: TensorSpec, parameters: Mapping[str, Any]) -> bool:
    binary = parameters.get("binary_data_output", False)
    outputs = head.get("outputs")
    if outputs:
        one = outputs[0] if isinstance(outputs, list) and len(outputs) == 1 else None
        if not isinstance(one, dict) or one.get("name") != gives.name:
            raise BadInput(f"outputs must be one tensor, {gives.name}, or left out; got {_short(outputs)}")
        binary = _parameters(one, gives.name).get("binary_data", binary)
    if not isinstance(binary, bool):
        raise BadInput("binary_data and binary_data_output must be true or false")
    return binary


def _shape(item: Mapping[str, Any], spec: TensorSpec) -> tuple[int, ...]:
    datatype, shape = item.get("datatype"), item.get("shape")
    if datatype != DATATYPES[spec.dtype]:
        raise BadInput(f"{spec.name} must be {DATATYPES[spec.dtype]}; got {_short(datatype)}")
    sizes = tuple(shape) if isinstance(shape, list) and all(type(size) is int for size in shape) else ()
    if not sizes or sizes[1:] != spec.sample_shape or not 0 < sizes[0] <= MAX_ROWS:
        wanted = f"[1 to {MAX_ROWS}, {', '.join(map(str, spec.sample_shape))}]"
        raise BadInput(f"{spec.name} must have the shape {wanted}; got {_short(shape)}")
    return sizes


def _binary(tail: memoryview, size: Any, shape: tuple[int, ...], spec: TensorSpec) -> memoryview:
    wanted = math.prod(shape) * DTYPES[spec.dtype][1]
    if type(size) is not int or size != wanted:
        raise BadInput(f"{spec.name} of the shape {list(shape)} has {wanted} bytes; binary_data_size is {_short(size)}")
    if len(tail) != wanted:
        raise BadInput(f"{spec.name} has {wanted} bytes; {len(tail)} follow the JSON")
    _refuse_infinite(np.frombuffer(tail, spec.dtype), spec)
    return tail


def _json_data(data: Any, shape: tuple[int, ...], spec: TensorSpec) -> memoryview:
    if not isinstance(data, list):
        raise BadInput(f"{spec.name} needs data, a list of numbers, or a binary_data_size")
    try:
        given = np.array(data)
    except (ValueError, OverflowError) as error:  # ragged, or nested too deep
        raise BadInput(f"the data of {spec.name} must be flat, or nested as its shape") from error
    if given.size != math.prod(shape) or given.shape not in ((given.size,), shape):
        raise BadInput(f"{spec.name} of the shape {list(shape)} has {math.prod(shape)} numbers; got {given.shape}")
    if given.dtype.kind not in _KINDS[spec.dtype]:
        raise BadInput(f"the data of {spec.name} must be numbers that are {DATATYPES[spec.dtype]}")
    if spec.dtype != "float32" and not _in_range(given, spec.dtype):
        raise BadInput(f"the data of {spec.name} must be from {_range(spec.dtype)}")
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        values = np.ascontiguousarray(given, spec.dtype).reshape(-1)
    _refuse_infinite(values, spec)
    return values.data.cast("B")


def _in_range(given: Any, dtype: str) -> bool:
    limits = np.iinfo(dtype)
    return bool(given.min() >= limits.min and given.max() <= limits.max)


def _range(dtype: str) -> str:
    return f"{np.iinfo(dtype).min} to {np.iinfo(dtype).max}"


def _refuse_infinite(values: Any, spec: TensorSpec) -> None:
    if spec.dtype == "float32" and not np.isfinite(values).all():
        raise BadInput(f"the numbers of {spec.name} must be finite")


def _dump(value: Any) -> bytes:
    return _COMPACT.encode(value).encode()


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else text[:100] + "…"
