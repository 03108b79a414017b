import pytest

from benchmarks.layers import COLUMNS, layers, table
from edge_runtime.errors import BadRequest


def test_both_engines_come_in_one_table_with_the_same_columns(pictures):
    one, other = layers(pictures.folder, "onnx-fp32", "xnnpack-fp32")
    assert one["engine"] == "onnxruntime" and any("Conv" in row["operator"] for row in one["rows"])
    assert other["engine"] == "executorch" and other["rows"][0]["backend"] == "xnnpack"
    for found in (one, other):
        assert sum(row["share"] for row in found["rows"]) == pytest.approx(1.0)
        assert [row["ns"] for row in found["rows"]] == sorted((row["ns"] for row in found["rows"]), reverse=True)
    heads = [line for line in table([one, other]).splitlines() if line.startswith("| operator")]
    assert len(heads) == 2 and all(all(name in head for name in COLUMNS) for head in heads)


def test_an_artifact_against_itself_or_one_that_is_not_there_is_refused(pictures):
    with pytest.raises(BadRequest, match="is the artifact itself"):
        layers(pictures.folder, "onnx-fp32", "onnx-fp32")
    with pytest.raises(BadRequest, match="moon"):
        layers(pictures.folder, "moon")
