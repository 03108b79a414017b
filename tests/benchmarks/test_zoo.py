import json
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import report, results, zoo_budget, zoo_models
from benchmarks.zoo_models import ZOO
from edge_runtime.errors import Missing

ROOT = Path(__file__).resolve().parents[2]
AGREES = {"max_relative": 2e-6, "same_top1": 64, "n": 64}
FAR = AGREES | {"max_relative": 2e-4}
MEASURED = {
    "size_bytes": 45_000_000,
    "sha256": "0" * 64,
    "parity": AGREES,
    "labels_seen": 9,
    "time_share": 0.98,
    "lowering_s": 12.0,
    "latency_ns": [3_000_000, 4_000_000, 5_000_000],
    "data": "foodvision-mini",
}
PASSED = {"status": "pass", "reason": "", "seconds": 30.0, **MEASURED}
FAILED = {"status": "error", "reason": "ValueError: what | why", "seconds": 3.0}


@pytest.fixture
def zoo(monkeypatch, tmp_path):
    """The command with cells that are not measured; gives those that it asked for."""
    asked = []

    def in_a_child(cell, core):
        assert core is None or core in os.sched_getaffinity(0)
        asked.append(cell)
        return FAILED if cell == ("alexnet", "onnx-fp32") else PASSED

    monkeypatch.setenv("LOKMA_RESULTS", str(tmp_path))
    monkeypatch.setattr(zoo_budget, "in_a_child", in_a_child)
    return asked


def run_here(code, tmp_path, precision="fp32", limit_s=60, hangs_s=600):
    answer = tmp_path / "answer.json"
    return zoo_budget.outcome([sys.executable, "-c", code, str(answer)], answer, precision, None, limit_s, hangs_s)


def answering(**changed):
    return f"import sys; open(sys.argv[1], 'w').write({json.dumps({**MEASURED, **changed})!r})"


def test_there_are_24_networks_of_torchvision_at_96_px_or_more_and_8_go_through_int8():
    models = pytest.importorskip("torchvision").models
    assert len(ZOO) == 24 == len(set(ZOO) & set(models.list_models(module=models)))
    assert min(row.side for row in ZOO.values()) == 96
    assert sum(row.int8 for row in ZOO.values()) == 8
    assert ZOO["vit_b_16"].int8
    cells = zoo_budget.cells()
    assert Counter(recipe for _, recipe in cells) == {
        "xnnpack-fp32": 24, "onnx-fp32": 24, "xnnpack-int8": 8, "onnx-int8": 8
    }  # fmt: skip


def test_maxvit_accepts_no_side_from_96_up_to_its_own():
    torch, maxvit_t = pytest.importorskip("torch"), pytest.importorskip("torchvision").models.maxvit_t
    with torch.device("meta"):
        for side in range(96, ZOO["maxvit_t"].side):
            with pytest.raises(ValueError, match="not divisible by partition size"):
                maxvit_t(input_size=(side, side))


def test_the_head_of_a_seeded_network_answers_differently_to_different_pictures(monkeypatch):
    torch = pytest.importorskip("torch")

    def missing(_):
        raise Missing("none here")

    monkeypatch.setattr("train.data.image_data", missing)
    train, test, data = zoo_models.pictures(96, 32, 8)
    assert (train.shape, test.shape, data) == ((32, 96, 96, 3), (8, 96, 96, 3), "generated")
    model = zoo_models.network("squeezenet1_1", train)
    again = zoo_models.network("squeezenet1_1", train)
    x = torch.tensor(test).permute(0, 3, 1, 2).float() / 58 - 2
    with torch.inference_mode():
        logits = model(x)
        assert torch.equal(logits, again(x))
    assert len(logits.argmax(1).unique()) > 2
    assert logits.std(0).min() > 0.05


def test_a_cell_passes_near_eager_has_the_same_labels_beyond_and_differs_where_a_label_does(tmp_path):
    assert run_here(answering(), tmp_path)["status"] == "pass"
    for parity, status in ((FAR, "same labels"), (AGREES | {"same_top1": 63}, "differs")):
        assert run_here(answering(parity=parity), tmp_path)["status"] == status
        assert run_here(answering(parity=parity), tmp_path, "int8")["status"] == "runs"
    rounding = run_here(answering(parity=FAR, from_float64={"eager": 3e-4, "file": 2e-4}), tmp_path)
    assert rounding["reason"].endswith("from float64 eager is 3.0e-04 and the file 2.0e-04")
    wrong = run_here(answering(parity=FAR, from_float64={"eager": 1e-6, "file": 2e-4}), tmp_path)
    assert wrong["reason"].endswith("the file 2.0e-04, MORE THAN 2 TIMES AS FAR")


def test_a_failure_a_crash_and_a_time_out_are_outcomes_with_a_reason(tmp_path):
    fails = "try:\n 1/0\nexcept ZeroDivisionError as e:\n raise ValueError('no kernel\\nmore of it') from e"
    failed = run_here(fails, tmp_path)
    assert (failed["status"], failed["reason"]) == ("error", "ValueError: no kernel")
    crashed = run_here("import os; os.abort()", tmp_path)
    assert (crashed["status"], crashed["reason"]) == ("killed", "by SIGABRT")
    late = run_here("while True: pass", tmp_path, limit_s=1)
    assert (late["status"], late["reason"]) == ("killed", "took more than 1 s of processor time")
    hangs = run_here("import time; time.sleep(600)", tmp_path, hangs_s=2)
    assert (hangs["status"], hangs["reason"]) == ("killed", "did nothing for 2 s")
    assert run_here("pass", tmp_path)["reason"] == "it said nothing"


def test_a_failed_network_is_a_row_and_the_others_go_on(zoo, capsys):
    assert zoo_budget.main(["--only", "alexnet,resnet18"]) == 1  # the other 22 are open
    assert sorted(zoo) == sorted(zoo_budget.cells(["alexnet", "resnet18"]))
    said = capsys.readouterr().out
    assert "| alexnet, 96 px | onnx-fp32 | error: ValueError: what \\| why |" in said
    assert "| resnet18, 96 px | xnnpack-int8 | pass | 45.0 MB | 2.0e-06 | 64 of 64 | 4.0 ms | 98% | 12 s |" in said
    assert "cannot tell  onnx-fp32: networks" in said
    assert "alexnet: error; 22 not measured yet" in said
    assert "reported     onnx-fp32: of these within 1e-04 of eager's probabilities " in said


def test_what_is_on_record_is_not_run_again_unless_it_was_killed_or_the_code_changed(zoo, monkeypatch, capsys):
    zoo_budget.main(["--only", "alexnet"])
    zoo_budget.main(["--only", "alexnet"])
    assert len(zoo) == 2
    assert "on record" in capsys.readouterr().out
    monkeypatch.setattr(zoo_budget, "code_sha256", lambda *_: "another")
    zoo_budget.main(["--only", "alexnet"])
    assert len(zoo) == 4
    monkeypatch.setattr(zoo_budget, "in_a_child", lambda *_: {**FAILED, "status": "killed"})
    zoo_budget.main(["--only", "resnet50"])
    monkeypatch.setattr(zoo_budget, "in_a_child", lambda cell, _: zoo.append(cell) or PASSED)
    zoo_budget.main(["--only", "resnet50"])
    assert zoo[4:] == zoo_budget.cells(["resnet50"])


def test_the_budget_holds_with_one_failed_network_and_not_with_three(zoo, monkeypatch, capsys):
    assert zoo_budget.main(["--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["value"], row["bound"], row["holds"], row["n"]) for row in rows[:4]] == [
        (24, 22, True, 24),
        (24, None, True, 24),
        (23, 22, True, 24),
        (23, None, True, 23),
    ]
    assert rows[4]["value"] == pytest.approx((63 * 30 + 3) / 60 / 2)
    bad = {(name, "xnnpack-fp32") for name in list(ZOO)[:3]}
    monkeypatch.setattr(zoo_budget, "in_a_child", lambda cell, _: FAILED if cell in bad else PASSED)
    monkeypatch.setattr(zoo_budget, "code_sha256", lambda *_: "another")
    assert zoo_budget.main(["--json"]) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[0])["holds"] is False


def test_a_network_beyond_the_bound_with_eagers_labels_is_counted_and_named(zoo, monkeypatch, capsys):
    far = {"status": "same labels", "parity": FAR, "from_float64": {"eager": 3e-4, "file": 2e-4}}
    made = {"resnet50": PASSED | far, "alexnet": PASSED | {"status": "differs", "parity": AGREES | {"same_top1": 63}}}
    monkeypatch.setattr(zoo_budget, "in_a_child", lambda cell, _: made.get(cell[0], PASSED))
    assert zoo_budget.main(["--json"]) == 0
    same, near = [json.loads(line) for line in capsys.readouterr().out.splitlines()][:2]
    assert (same["value"], same["note"]) == (23, "alexnet: differs")
    assert (near["value"], near["n"]) == (22, 23)
    assert near["note"] == "resnet50: 2.0e-04, from float64 eager is 3.0e-04 and the file 2.0e-04"


def test_cells_of_older_code_count_and_are_said_to_be_so(zoo, monkeypatch, capsys):
    zoo_budget.main(["--only", "alexnet"])
    monkeypatch.setattr(zoo_budget, "code_sha256", lambda *_: "another")
    monkeypatch.setattr(zoo_budget.results, "record", later(zoo_budget.results.record))
    capsys.readouterr()
    zoo_budget.main(["--only", "resnet50", "--json"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[-1]["n"] == 4
    assert rows[-1]["note"] == "60 cells not measured yet; 2 cells by older code"


def later(record):
    return lambda **fields: {**record(**fields), "time": "9999-01-01T00:00:00+00:00"}


def test_results_show_the_zoo_where_it_is_on_record_and_nothing_where_it_is_not(zoo, tmp_path, capsys):
    reference = ROOT / "results" / "reference.jsonl"
    without = [line for line in reference.read_text().splitlines() if '"kind":"zoo"' not in line]
    (tmp_path / "before.jsonl").write_text("\n".join(without))
    assert report.main([str(tmp_path / "before.jsonl")]) == 0
    before = capsys.readouterr().out
    (tmp_path / "before.jsonl").unlink()
    zoo_budget.main([])
    found = results.read(tmp_path).records
    assert len(found) == 64
    shown = zoo_budget.markdown(found)
    capsys.readouterr()
    (tmp_path / "after.jsonl").write_text("\n".join([*without, *map(json.dumps, found)]))
    assert report.main([str(tmp_path / "after.jsonl")]) == 0
    after = capsys.readouterr().out
    assert shown in after
    assert after.replace(shown, "").split() == before.split()  # nothing else changed
    assert "## The zoo" not in before
    assert shown.count("| 64 of 64 |") == 63
    assert "64 pictures of foodvision-mini" in shown
    assert "- xnnpack-fp32: networks whose best label is eager's on 64 of 64 pictures: 24 (n 24, bound 22)" in shown


def test_an_unknown_network_is_refused_with_the_known_ones(zoo, capsys):
    assert zoo_budget.main(["--only", "resnet19"]) == 2
    assert "no network resnet19; known: alexnet" in capsys.readouterr().err
    assert zoo == []
