import json

import pytest

from benchmarks import budget, results
from benchmarks.paired import row
from edge_runtime.errors import BadRequest, Missing

HOLDS, FAILS = row("a ratio", 0.5, 0.75, True, 30, "0.4 to 0.6"), row("a share", 0.7, 0.8, False, 5)
OPEN, REPORTED = row("a study", None, None, None, 0, "not run"), row("a time", 12.0, None, True, 3)


def test_a_line_says_what_a_row_came_to():
    assert " ".join(budget.line(HOLDS).split()) == "holds a ratio 0.5 (bound 0.75, n 30) 0.4 to 0.6"
    assert budget.line(FAILS).startswith("FAILS")
    assert " ".join(budget.line(REPORTED).split()) == "reported a time 12 (n 3)"
    assert " ".join(budget.line(OPEN).split()) == "not measured a study - (n 0) not run"


@pytest.mark.parametrize(("rows", "code"), [([HOLDS, REPORTED], 0), ([HOLDS, FAILS], 1), ([HOLDS, OPEN], 1)])
def test_the_exit_code_is_0_only_where_every_row_holds(rows, code, capsys):
    assert budget.answered("x_budget", lambda: budget.show(rows, as_json=True)) == code
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows


def test_an_error_is_one_sentence_and_its_own_code(capsys):
    def work():
        raise Missing("the bundle is not here; make demo makes it")

    assert budget.answered("x_budget", work) == Missing.exit_code
    assert capsys.readouterr().err == "x_budget: the bundle is not here; make demo makes it\n"


def test_groups_are_chosen_by_name_and_an_unknown_one_is_named():
    assert budget.chosen(None, {"a": 1, "b": 2}) == ["a", "b"]
    assert budget.chosen("b, a", ["a", "b"]) == ["b", "a"]
    with pytest.raises(BadRequest, match="there is no network c; known: a, b"):
        budget.chosen("a,c", ["a", "b"], "network")


def test_a_record_with_a_row_that_cannot_be_told_is_not_valid(tmp_path, monkeypatch):
    monkeypatch.setenv("LOKMA_RESULTS", str(tmp_path))
    budget.keep(budget.record({"budget": "x"}, [HOLDS, OPEN], ["load 3.0"], notes=["as it was"]))
    budget.keep(budget.record({"budget": "x"}, [HOLDS, FAILS], kind="study"))
    one, other = results.read(tmp_path).records
    assert one["validity"] == {"valid": False, "flags": ["load 3.0", "a study"]}
    assert (one["rows"], one["notes"], one["kind"]) == ([HOLDS, OPEN], ["as it was"], "budget")
    assert other["validity"] == {"valid": True, "flags": []} and other["kind"] == "study"
