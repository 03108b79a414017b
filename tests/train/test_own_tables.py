"""A user's own table: read, split, trained on, and refused where it is no good."""

from __future__ import annotations

import json

import numpy as np
import pytest

import train
from edge_runtime.errors import BadData, BadInput, BadRequest
from train.own_tables import own_table
from train.tables import table_data

pytest.importorskip("sklearn")


@pytest.fixture
def write(tmp_path):
    """Writes a table of 100 rows: two columns of numbers, and what `say` makes of them."""

    def write(say, name="mine.csv"):
        draw = np.random.default_rng(0).normal(size=(100, 2)).round(4)
        lines = [f"{x},{y},{say(x, y)}" for x, y in draw]
        (tmp_path / name).write_text("\n".join(["x,y,said", *lines]) + "\n")
        return tmp_path / name

    return write


def test_the_target_decides_the_task(write):
    assert own_table(write(lambda x, y: "yes" if x > 0 else "no"), "said").task == "binary"
    three = own_table(write(lambda x, y: int(x > 0) + int(y > 0)), "said")
    assert (three.task, three.targets) == ("multiclass", ("0", "1", "2"))
    quantity = own_table(write(lambda x, y: x + y), "said")
    assert (quantity.task, quantity.targets, quantity.target_unit) == ("regression", ("said",), "said")
    assert own_table(write(lambda x, y: int(x > 0)), "said", "regression").task == "regression"


def test_each_side_has_the_same_share_of_each_class_and_is_found_again_by_name_and_hash(write):
    data = own_table(write(lambda x, y: "rare" if x > 0.9 else "usual"), "said")
    shares = [side.targets.mean() for side in (data.train, data.test)]
    assert shares[0] == pytest.approx(shares[1], abs=0.03) and (len(data.train), len(data.test)) == (80, 20)
    assert sorted([*data.train.numbers, *data.test.numbers]) == list(range(100))
    assert table_data(data.name, data.sha256).sha256 == data.sha256
    with pytest.raises(BadData, match="is wanted: its run was trained on other rows"):
        table_data(data.name, "0" * 64)


def test_parquet_gives_the_same_table(write, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import csv, parquet

    path = write(lambda x, y: "yes" if x > 0 else "no")
    parquet.write_table(csv.read_csv(path), tmp_path / "mine.parquet")
    assert own_table(tmp_path / "mine.parquet", "said").sha256 == own_table(path, "said").sha256
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadData, match=r"torn\.parquet cannot be read as a table"):
        own_table(tmp_path / "torn.parquet", "said")
    assert pyarrow


def test_a_row_that_stands_twice_is_left_out_and_said(write, caplog):
    path = write(lambda x, y: "yes" if x > 0 else "no")
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    assert len(own_table(path, "said").train) + len(own_table(path, "said").test) == 100
    assert f"left out: 1 rows of {path} that stand there before" in caplog.text


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda text: text.replace("x,y", "x,x", 1), BadData, "names a column twice"),
        (lambda text: text.replace("x,y,said", "x,y,told", 1), BadRequest, "no column 'said' .* x, y, told"),
        (lambda text: text + "nan,1,yes\n", BadData, "row 102, column 'x' holds 'nan', which is no number"),
        (lambda text: text + "1,,yes\n", BadData, "row 102, column 'y' holds nothing"),
        (lambda text: text + "1,2\n", BadData, "row 102 has 2 cells for 3 columns"),
        (lambda text: text + "1,2,\n", BadData, "row 102, column 'said' is empty"),
        (lambda text: text + "1,2,maybe\n", BadData, "said is 'maybe' in 1 rows; at least 5"),
        (lambda text: "".join(line.split(",", 2)[-1] + "\n" for line in text.split()), BadData, "no column but 'said'"),
        (lambda text: "", BadRequest, "no column 'said'"),
        (lambda text: "x,y,said\n", BadData, "has no rows"),
        (lambda text: "x,y,said\n1,2,3\n", BadData, "has 1 different rows; at least 20"),
    ],
)
def test_what_cannot_be_learned_from_is_named(write, change, error, says):
    path = write(lambda x, y: "yes" if x > 0 else "no")
    path.write_text(change(path.read_text()))
    with pytest.raises(error, match=says):
        own_table(path, "said")


def test_a_file_that_is_not_here_or_of_another_kind_is_named(tmp_path):
    (tmp_path / "a.xlsx").touch()
    for name, says in (("a.csv", "is not here"), ("a.xlsx", "is neither a .csv nor a .parquet")):
        with pytest.raises(BadInput, match=says):
            own_table(tmp_path / name, "said")
    with pytest.raises(BadRequest, match=r"lokma train table --data FILE\.csv --target COLUMN"):
        train.train("table", out=tmp_path)


@pytest.mark.parametrize(
    ("say", "score"),
    [
        (lambda x, y: "in" if x > y else "out", 0.85),
        (lambda x, y: int(x > 0) + int(y > 0), 0.7),
        (lambda x, y: x + 2 * y, 0.9),
    ],
    ids=["binary", "multiclass", "regression"],
)
def test_a_run_of_ones_own_table_learns_it_and_says_what_a_linear_model_reaches(write, tmp_path, say, score):
    path = write(say, "boxes.csv")
    run = train.train("table", data=str(path), target="said", seeds=1, epochs=100, learning_rate=0.01, out=tmp_path)
    results = run.metrics["results"]
    assert run.path.name == run.spec.name == "boxes" and run.spec.columns == ("x", "y")
    assert results["cv"]["mean"] > score and results["cv_linear"] > 0.5 and results["test_n"] == 20
    splits = json.loads((run.path / "splits.json").read_text())
    assert len(splits["train"]) == 80 and splits["by"].startswith("row of the source")
