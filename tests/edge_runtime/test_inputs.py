import pytest

from edge_runtime.errors import BadInput
from edge_runtime.inputs import raw_inputs

COLUMNS = ("age", "bmi", "smoker")


def rows(path, text, columns=COLUMNS, encoding="utf-8", width=None):
    path.write_bytes(text.encode(encoding))
    return [(name.replace(str(path), "t"), x) for name, x in raw_inputs([str(path)], False, columns, width)]


@pytest.fixture
def csv(tmp_path):
    return tmp_path / "Table.CSV"


def said(found):
    """The one error of a table."""
    ((_, error),) = found
    assert isinstance(error, BadInput)
    return str(error)


def test_a_tables_columns_are_found_by_name_whatever_their_order(csv):
    text = "bmi, smoker ,age\n22.5,1,30\n\n-1e3,0,4\n"
    assert rows(csv, text) == [("t:2", [30, 22.5, 1]), ("t:4", [4, -1000, 0])]
    assert rows(csv, "\ufeff" + text.replace("\n", "\r\n")) == rows(csv, text)  # as a spreadsheet saves it
    assert rows(csv, '"age","bmi","smoker"\n"1","2","3"') == [("t:2", [1, 2, 3])]


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("age,bmi", r"must name the columns age, bmi, smoker; it lacks 'smoker'"),
        ("age,bmi,smoker,name", r"smoker; has 'name' besides"),
        ("Age,bmi,smoker", r"it lacks 'age' and has 'Age' besides"),
        ("age,bmi,smoker,age", r"it names one twice"),
        ("30,22.5,1", r"it lacks 'age', 'bmi', 'smoker' and has '30', '22.5', '1' besides"),
        ("age;bmi;smoker", r"its cells are separated by semicolons; save it with commas between them"),
        ("age\tbmi\tsmoker", r"its cells are separated by tabs; save it with commas between them"),
    ],
)
def test_a_header_with_other_columns_is_refused_by_their_names(csv, header, says):
    import re

    assert re.search(says, said(rows(csv, f"{header}\n1,2,3\n")))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("1,2", ":3 has 2 cells; the first line names 3 columns"),
        ("1,2,3,4", ":3 has 4 cells; the first line names 3 columns"),
        ("1,x,3", ":3, column 'bmi': 'x' is not a finite number"),
        ("1,2,", ":3, column 'smoker': '' is not a finite number"),
        ("nan,2,3", ":3, column 'age': 'nan' is not a finite number"),
        ("1,inf,3", ":3, column 'bmi': 'inf' is not a finite number"),
    ],
)
def test_a_bad_cell_is_named_by_row_and_column_and_the_other_rows_go_on(csv, line, says):
    found = rows(csv, f"age,bmi,smoker\n1,2,3\n{line}\n4,5,6\n")
    assert [x for _, x in (found[0], found[2])] == [[1, 2, 3], [4, 5, 6]]
    assert found[1][0] == "t:3" and str(found[1][1]).endswith(says)


def test_where_the_model_names_no_columns_a_first_line_without_numbers_is_skipped(csv):
    assert rows(csv, "a,b\n1,2\n", ()) == [("t:2", [1, 2])]
    assert rows(csv, "1,2\n3,4\n", ()) == [("t:1", [1, 2]), ("t:2", [3, 4])]
    assert str(rows(csv, "1,2\n3,x\n", ())[1][1]).endswith(":2, column 2: 'x' is not a finite number")
    assert str(rows(csv, "a,b\n3,x\n", ())[0][1]).endswith(":2, column 'b': 'x' is not a finite number")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0.1;0;-0.02;0.3\n", "its cells are separated by semicolons; save it with commas between them and points in"),
        ("0,1;0;-0,02;0,3\n", "its cells are separated by semicolons"),
        ("x;v;a;w\n0.1;0;0;0\n", "its cells are separated by semicolons"),
        ("0.1\t0\t-0.02\t0.3\n", "its cells are separated by tabs"),
        ("0.1 0 -0.02 0.3\n", "the first line has 1 cell without a number; the model takes 4, separated by commas"),
        ("a,b\n1,2,3,4\n", "the first line has 2 cells without a number; the model takes 4, separated by commas"),
    ],
)
def test_a_first_line_that_is_no_header_of_the_models_width_is_an_error_and_does_not_vanish(csv, text, says):
    assert f"Table.CSV: {says}" in said(rows(csv, text, (), width=4))


def test_a_single_number_behind_another_separator_is_no_header(csv):
    assert "separated by semicolons" in said(rows(csv, "0.1;0.2\n", (), width=1))
    assert rows(csv, "x\n0.1\n", (), width=1) == [("t:2", [0.1])]


@pytest.mark.parametrize(("text", "columns"), [("age,bmi,smoker\n", COLUMNS), ("a,b\n\n", ())])
def test_a_table_without_a_row_is_an_error(csv, text, columns):
    assert said(rows(csv, text, columns, width=2)).endswith("Table.CSV has a first line and no row")


def test_a_file_that_is_no_table_is_refused(csv, tmp_path):
    assert said(rows(csv, "")).endswith("Table.CSV is empty")
    assert said(rows(csv, "\n\n")).endswith("Table.CSV is empty")
    for text, encoding in (("age,bmi,smöker\n", "latin-1"), ('age,"bmi\n', "utf-8"), ("age\n", "utf-16")):
        assert "is not a CSV in UTF-8" in said(rows(csv, text, encoding=encoding))
    ((name, error),) = raw_inputs([str(tmp_path / "gone.csv")], False)
    assert name.endswith("gone.csv") and "gone.csv cannot be read: No such file" in str(error)


def test_numbers_on_the_command_line_are_a_row_and_anything_else_is_left_to_the_predictor():
    assert list(raw_inputs(["1,2.5,-3", "hello"], False)) == [("1,2.5,-3", [1, 2.5, -3]), ("hello", "hello")]


def test_a_folder_gives_its_pictures_sorted(tmp_path):
    for name in ("b.PNG", "a.jpg", "notes.txt", "c.heic", ".hidden.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "deeper").mkdir()
    found = [(name, x.name) for name, x in raw_inputs([str(tmp_path)], True)]
    assert found == [(str(tmp_path / name), name) for name in ("a.jpg", "b.PNG", "c.heic")]


def test_a_folder_without_pictures_is_an_error(tmp_path):
    (tmp_path / "notes.txt").touch()
    ((name, error),) = raw_inputs([str(tmp_path)], True)
    assert name == str(tmp_path) and "is a folder without pictures (.avif, .bmp" in str(error)
