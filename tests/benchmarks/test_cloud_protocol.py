import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cloud import protocol
from edge_runtime.errors import BadInput
from edge_runtime.spec import TensorSpec

PIXELS = TensorSpec("pixels", "uint8", ("batch", 2, 3))
ROW = TensorSpec("row", "float32", ("batch", 4))
OUT = TensorSpec("out", "float32", ("batch", 2))
GOOD = {"inputs": [{"name": "row", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4.5]}]}

tensors = st.sampled_from(["uint8", "int32", "int64", "float32"]).flatmap(
    lambda dtype: st.tuples(
        st.just(dtype),
        st.lists(st.integers(1, 4), min_size=1, max_size=3),
        st.integers(1, 5),
        st.randoms(use_true_random=False),
    )
)


def drawn(dtype, shape, source):
    count = int(np.prod(shape))
    if dtype == "float32":
        return np.array([source.uniform(-1e30, 1e30) for _ in range(count)], np.float32).reshape(shape)
    limits = np.iinfo(dtype)
    return np.array([source.randint(limits.min, limits.max) for _ in range(count)], dtype).reshape(shape)


def refused(body, head=None, takes=ROW):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(BadInput) as error:
        protocol.read_request(body, head, takes, OUT)
    return str(error.value)


def altered(**changes):
    return {"inputs": [{**GOOD["inputs"][0], **changes}]}


@given(tensors, st.booleans())
def test_a_tensor_comes_back_to_the_bit_whichever_way_it_travels(drawing, binary):
    dtype, sizes, rows, source = drawing
    spec = TensorSpec("x", dtype, ("batch", *sizes))
    sent = drawn(dtype, (rows, *sizes), source)
    body, headers = protocol.write_request(sent, rows, spec, binary=binary)
    asked = protocol.read_request(body, headers.get(protocol.HEAD_LENGTH), spec, OUT)
    assert (bytes(asked.tensor), asked.rows, asked.binary) == (sent.tobytes(), rows, binary)
    answer = np.arange(2 * rows, dtype=np.float32) / 3
    written, head = protocol.write_response("net", 1, asked, OUT, memoryview(answer).cast("B"))
    assert bytes(protocol.read_response(written, None if head is None else str(head), OUT)) == answer.tobytes()


@given(
    st.binary(max_size=200), st.one_of(st.none(), st.integers(0, 250).map(str), st.text("0123456789-+ e", max_size=5))
)
def test_any_bytes_are_read_or_refused_by_name(body, head):
    with pytest.raises(BadInput):
        protocol.read_request(body, head, ROW, OUT)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    ),
    st.sampled_from(["name", "datatype", "shape", "data", "parameters"]),
)
def test_any_json_in_place_of_a_field_is_read_or_refused_by_name(value, field):
    body = json.dumps(altered(**{field: value})).encode()
    try:
        asked = protocol.read_request(body, None, ROW, OUT)
    except BadInput:
        return
    assert asked.tensor.nbytes == 16 * asked.rows


def test_nested_data_is_the_flat_one():
    nested = altered(shape=[2, 4], data=[[1, 2, 3, 4], [5, 6, 7, 8]])
    asked = protocol.read_request(json.dumps(nested).encode(), None, ROW, OUT)
    assert np.frombuffer(asked.tensor, np.float32).tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[1]", "must be a JSON object"),
        (b"\xff\xfe\x00", "is not JSON"),
        ({}, "inputs must be one tensor, row"),
        ({"inputs": [*GOOD["inputs"], *GOOD["inputs"]]}, "inputs must be one tensor, row"),
        ({**GOOD, "id": 7}, "id must be text"),
        ({**GOOD, "outputs": [{"name": "other"}]}, "outputs must be one tensor, out"),
        ({**GOOD, "outputs": [{"name": "out", "parameters": {"classification": 2}}]}, "has no classification"),
        ({**GOOD, "parameters": {"binary_data_output": 1}}, "must be true or false"),
        (altered(datatype="FP64"), "row must be FP32; got FP64"),
        (altered(shape=[1, 5]), r"row must have the shape \[1 to 1024, 4\]; got \[1, 5\]"),
        (altered(shape=[0, 4], data=[]), "must have the shape"),
        (altered(shape=[True, 4]), "must have the shape"),
        (altered(shape=[9999, 4]), "must have the shape"),
        (altered(data=[1, 2, 3]), "has 4 numbers"),
        (altered(data=[[1, 2], [3, 4]]), "has 4 numbers"),
        (altered(data=[[1, 2], [3]]), "must be flat, or nested"),
        (altered(data=["1", "2", "3", "4"]), "must be numbers"),
        (altered(data=[1, 2, 3, 1e39]), "must be finite"),
        (b'{"inputs":[{"name":"row","datatype":"FP32","shape":[1,4],"data":[1,2,3,NaN]}]}', "NaN is not a number"),
        (altered(parameters={"binary_data_size": 16}), "give one of them"),
        (altered(data=None), "needs data"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_does(body, says):
    import re

    assert re.search(says, refused(body))


def test_numbers_outside_their_type_are_refused():
    for data, says in ([[0, 1, 2, 3, 4, 256], "0 to 255"], [[0, 1, 2, 3, 4, -1], "0 to 255"], [[0.5] * 6, "UINT8"]):
        body = {"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 3], "data": data}]}
        assert says in refused(body, takes=PIXELS)


def test_binary_tensors_of_another_length_are_refused():
    head = json.dumps(
        {"inputs": [{"name": "row", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": 16}}]}
    ).encode()
    assert "12 follow the JSON" in refused(head + bytes(12), str(len(head)))
    assert "20 follow the JSON" in refused(head + bytes(20), str(len(head)))
    assert "of a body of" in refused(head, str(len(head) + 1))
    assert "of a body of" in refused(head, "0")
    assert "whole number" in refused(head, "-1") and "whole number" in refused(head, "1e3")
    assert "binary_data_size is 15" in refused(head.replace(b"16", b"15") + bytes(16), str(len(head)))
    assert "finite" in refused(head + np.array([1, 2, np.inf, 3], np.float32).tobytes(), str(len(head)))
    assert "bytes follow the JSON" in refused(json.dumps(GOOD).encode() + b"xx", str(len(json.dumps(GOOD))))
