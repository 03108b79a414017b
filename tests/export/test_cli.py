"""`lokma export`: the dry run, and exit codes."""

import json
import subprocess
import sys

from edge_runtime.cli import main
from export.asked import Asked
from export.recipes import MAIN, chosen
from export.sources import plan_of


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path, monkeypatch, capsys, run):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(run), "--dry-run", "--recipes", "onnx-fp32"]) == 0
    said = capsys.readouterr().out
    assert "source   run: " in said and "multiclass, 10 labels: 0, 1, 2" in said
    assert "recipes  onnx-fp32" in said and "data     the run's own" in said and "missing" not in said
    assert not list(tmp_path.glob("bundles*"))


def test_a_dry_run_says_what_auto_takes_and_why_as_the_export_does(tmp_path, monkeypatch, capsys, run, caplog):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(run), "--dry-run"]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("recipes ")]
    assert [line.split(":")[0].removeprefix("recipes  ") for line in told] == [*MAIN, "xnnpack-int8-dynamic"]
    assert told[2].endswith("million multiply-adds are convolutions: static int8 fuses them")
    source = plan_of(run, Asked()).load()
    with caplog.at_level("INFO", logger="export.recipes"):
        chosen("auto", source.model, source.spec)
    assert [f"recipes  {line}" for line in caplog.messages] == told


def test_a_dry_run_says_on_what_terms_and_refuses_what_the_export_would_refuse(tmp_path, monkeypatch, capsys, run):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "one.png").write_bytes(b"not looked at yet")
    more = ["--unlabelled", str(tmp_path / "more"), "--max-drop", "2", "--keep-failed"]
    assert main(["export", str(run), "--dry-run", *more]) == 0
    said = capsys.readouterr().out
    assert "terms    int8 may lose 2 points; 1 pictures without labels judge too; what fails stays in" in said
    assert main(["export", str(run), "--dry-run", "--unlabelled", "nowhere"]) == 2
    assert "--unlabelled nowhere is not a folder" in capsys.readouterr().err


def test_a_dry_run_says_what_must_be_given_first_without_running_her_code(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text("open('touched', 'w')\n")
    assert main(["export", "model.py:make", "--dry-run", "--json"]) == 2
    plan = json.loads(capsys.readouterr().out)
    assert [text.split(":")[0] for text in plan["missing"]] == [
        "--data",
        "--labels A,B,C",
        "--input N",
        "--mean and --std",
    ]
    assert plan["spec"] is None and plan["bundle"] == "bundles/model"
    assert (
        main(["export", "model.py:make", "--dry-run", "--labels", "a,b", "--input", "16", "--mean", "0", "--std", "1"])
        == 2
    )
    said = capsys.readouterr().out
    assert "short side to 16 px (bilinear), the middle 16 px" in said and "missing  --data" in said
    assert sorted(path.name for path in tmp_path.iterdir()) in (["home", "model.py"], ["model.py"])


def test_a_missing_thing_and_a_run_with_options_exit_with_2_and_one_line(tmp_path, capsys, run):
    assert main(["export", str(tmp_path / "nope.pt2")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["export", str(run), "--labels", "a,b"]) == 2
    assert "is a run and says itself: labels; leave out --labels" in capsys.readouterr().err


def test_a_file_of_hers_that_hides_a_room_is_named(tmp_path):
    (tmp_path / "train.py").write_text("")
    for command in (["-c", "from export import export"], ["-m", "edge_runtime.cli", "export", "net.py:make"]):
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode and "train.py hides lokma's own `train`: rename it" in done.stderr
