"""export/lokma.ipynb: its code cells run in order, as a reader runs them."""

import ast
import json
import re
from pathlib import Path

from edge_runtime.check import check

NOTEBOOK = Path(__file__).resolve().parents[2] / "export" / "lokma.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def test_the_notebook_has_six_cells_in_both_languages_and_no_stale_outputs():
    assert len(CELLS) == 6
    for cell in CELLS:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            assert "**EN**" in text and "**TR**" in text
        assert not cell.get("outputs") and cell.get("execution_count") is None


def test_its_cells_run_one_after_another_and_show_a_table_of_a_bundle_that_passes_its_check(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    shown = []
    for cell in (cell for cell in CELLS if cell["cell_type"] == "code"):
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, NOTEBOOK.name, "exec"), names)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), names))
    table = shown[0]._repr_html_()
    assert re.findall(r"<td>(onnx-\w+)</td>", table) == ["onnx-fp32", "onnx-int8"]
    assert "written" in str(shown[0]) and "accuracy: " in table
    accuracy = shown[0].manifest["artifacts"][0]["accuracy"]
    assert accuracy["n"] == 360 and accuracy["value"] > 0.8
    (label, probability), *_ = shown[1]
    assert label in "0123456789" and 0.1 < probability <= 1 and len(shown[1]) == 3
    assert check(Path("bundles/my-digits"))["ok"]
