import contextlib
import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.errors import BadBundle
from edge_runtime.spec import (
    Architecture,
    ImageSpec,
    Label,
    ModelSpec,
    Normalise,
    TensorSpec,
    differing_field,
    is_text,
    read_json,
)

SPEC = ModelSpec(
    name="shapes",
    task="multiclass",
    inputs=(TensorSpec("pixels", "uint8", ("batch", 16, 16, 3), "RGB, 0 to 255"),),
    outputs=(TensorSpec("probabilities", "float32", ("batch", 2), "probability"),),
    labels=(Label("no", "no", "hayır"), Label("yes", "yes", "evet")),
    image=ImageSpec(resize=18, crop=16),
    normalise=Normalise((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)),
    architecture=Architecture("cnn", {"width": 8}),
)
TABLE = ModelSpec(
    name="prices",
    task="regression",
    inputs=(TensorSpec("row", "float32", ("batch", 2)),),
    outputs=(TensorSpec("price", "float32", ("batch", 1), "euro"),),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_a_spec_survives_json_unchanged():
    assert ModelSpec.from_dict(json.loads(json.dumps(SPEC.to_dict()))) == SPEC


def test_a_tables_columns_survive_json_and_a_spec_from_before_there_were_any_has_none():
    table = dataclasses.replace(TABLE, columns=("age", "bmi"))
    assert ModelSpec.from_dict(json.loads(json.dumps(table.to_dict()))) == table
    old = table.to_dict()
    del old["columns"]
    assert ModelSpec.from_dict(old).columns == ()


@pytest.mark.parametrize(
    "columns", [("age",), ("age", "bmi", "sex"), ("age", "age"), ("age", ""), ("age", "b\n"), (1, 2)]
)
def test_columns_that_do_not_fit_the_input_are_refused(columns):
    with pytest.raises(
        BadBundle, match=r"names \d columns for an input|column names that are printable text, each once"
    ):
        dataclasses.replace(TABLE, columns=columns)


def test_the_limit_of_being_unsure_survives_json_and_a_spec_from_before_there_was_one_has_none():
    unsure = dataclasses.replace(SPEC, unsure_below=0.55)
    assert ModelSpec.from_dict(json.loads(json.dumps(unsure.to_dict()))) == unsure
    old = SPEC.to_dict()
    del old["unsure_below"]
    assert ModelSpec.from_dict(old) == SPEC and SPEC.unsure_below is None
    assert differing_field(SPEC, unsure) == "spec.unsure_below"


@pytest.mark.parametrize("below", [0.0, 1.0, -0.1, 1, True, "0.5", float("nan"), float("inf"), [0.5]])
def test_a_limit_that_is_no_probability_is_refused(below):
    with pytest.raises(BadBundle, match=r"is unsure below .*; a probability between 0 and 1 is needed"):
        dataclasses.replace(SPEC, unsure_below=below)


def test_a_task_without_one_best_label_has_no_limit():
    with pytest.raises(BadBundle, match=r"is unsure below 0.5; only a binary or multiclass model has one best label"):
        dataclasses.replace(TABLE, unsure_below=0.5)


def test_a_sample_has_the_shape_without_the_batch():
    assert SPEC.inputs[0].sample_shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": ""}, "needs a name: printable text of at most 200 characters"),
        ({"name": "a\x1b[2J"}, "needs a name"),
        ({"name": "x" * 201}, "needs a name"),
        ({"task": "dreams"}, "has the task 'dreams'; known: binary, multiclass"),
        ({"inputs": ()}, "has 0 inputs and 1 outputs; this version runs one of each"),
        ({"inputs": (TensorSpec("x", "float64", ("batch", 4)),), "image": None}, "the type 'float64'; known"),
        ({"inputs": (TensorSpec("", "uint8", ("batch", 4)),)}, "a tensor without a name"),
        ({"inputs": (TensorSpec("x", "uint8", (1, 4)),)}, "it must hold 'batch' and 1 to 7 sizes"),
        ({"inputs": (TensorSpec("x", "uint8", ("batch",)),)}, "it must hold 'batch'"),
        ({"inputs": (TensorSpec("x", "uint8", ("batch", *[2] * 8)),)}, "it must hold 'batch' and 1 to 7"),
        (
            {"inputs": (TensorSpec("x", "uint8", ("batch", 0)),)},
            "sizes are whole numbers from 1 to a million",
        ),
        ({"inputs": (TensorSpec("x", "uint8", ("batch", True)),)}, "sizes are whole numbers"),
        (
            {"outputs": (TensorSpec("y", "int64", ("batch", 2)),)},
            r"must answer with float32 \(batch, values\)",
        ),
        ({"outputs": (TensorSpec("y", "float32", ("batch", 2, 2)),)}, "must answer with float32"),
        ({"image": ImageSpec(8, 16)}, "allowed: 0 < crop <= resize <= 4096"),
        ({"image": ImageSpec(18.0, 16)}, "whole numbers are needed"),  # type: ignore[arg-type]
        ({"image": ImageSpec(18, 16, "nearest")}, "resizes by 'nearest'; known: bilinear, bicubic, lanczos"),
        ({"image": ImageSpec(18, 12)}, r"its input must be uint8 \(batch, crop, crop, 3\)"),
        ({"normalise": Normalise((0.0,), (1.0,))}, "with 3 means and 3 standard deviations"),
        ({"normalise": Normalise((0.0,) * 3, (1.0, 0.0, 1.0))}, "standard deviations above 0"),
        ({"normalise": Normalise((float("nan"),) * 3, (1.0,) * 3)}, "finite means"),
        ({"labels": (Label("no", "no", "hayır"),)}, "has 1 labels for 2 outputs"),
        ({"labels": (Label("a\n", "no", "no"), Label("b", "b", "b"))}, "whose id or display name is not"),
        ({"task": "binary"}, "has 2 outputs and 2 labels; a binary model has 1 and 2"),
        ({"architecture": Architecture("", {})}, "an architecture with a name"),
        ({"columns": ("a", "b")}, "names 2 columns for an input of the shape"),
    ],
)
def test_a_spec_that_cannot_be_acted_on_is_refused_by_name(change, says):
    with pytest.raises(BadBundle, match=says):
        dataclasses.replace(SPEC, **change)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": [{"id": "a"}]}, "cannot be read: .*missing"),
        ({"inputs": 5}, "cannot be read"),
        ({"image": "large"}, "cannot be read"),
        ({"inputs": [{"name": "x", "dtype": [], "shape": ["batch", 4]}]}, "cannot be read: unhashable"),
        ({"normalise": {"mean": [10**400] * 3, "std": [1, 1, 1]}}, "cannot be read: int too large"),
        ({"architecture": {"name": "cnn", "arguments": 3}}, "named arguments"),
        ({"columns": "ab"}, "cannot be read: columns must be a list of names"),
    ],
)
def test_json_of_the_wrong_kind_is_refused(change, says):
    with pytest.raises(BadBundle, match=says):
        ModelSpec.from_dict({**SPEC.to_dict(), **change})


def test_a_missing_field_is_named():
    data = SPEC.to_dict()
    del data["outputs"]
    with pytest.raises(BadBundle, match="lacks the field 'outputs'"):
        ModelSpec.from_dict(data)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(SPEC.to_dict())), JSON)
def test_any_value_in_any_field_is_read_or_refused(field, value):
    with contextlib.suppress(BadBundle):
        ModelSpec.from_dict({**SPEC.to_dict(), field: value})


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[1]", "must hold one JSON object"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "is nested deeper than 30 levels"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not JSON"),
    ],
)
def test_json_that_could_harm_is_refused(data, says):
    with pytest.raises(BadBundle, match=f"the note {says}"):
        read_json(data, "the note")


def test_json_nested_as_deep_as_allowed_is_read():
    assert read_json(b'{"a":' * 30 + b"1" + b"}" * 30, "the note")


def test_turkish_letters_are_text_and_terminal_codes_are_not():
    assert is_text("ıİşğçöü") and not is_text("\x1b[31m") and not is_text("") and not is_text(3)
