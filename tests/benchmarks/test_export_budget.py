import json
import sys

import pytest

from benchmarks import export_budget, results, rivals
from benchmarks import export_times_budget as export_times
from benchmarks.environment import host
from edge_runtime.errors import EngineError


@pytest.fixture(autouse=True)
def folders(monkeypatch, tmp_path):
    monkeypatch.setenv("LOKMA_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(export_budget, "BUNDLES", tmp_path / "bundles")
    monkeypatch.setattr(export_times, "commit", lambda: "c0ffee")
    return tmp_path


def measure(monkeypatch, folder, seconds):
    monkeypatch.setattr(export_times, "prepare", lambda where: (where / "profile.json").write_text('{"fold": 1}'))
    monkeypatch.setattr(export_times, "busy", list)
    monkeypatch.setattr(export_times, "seconds", seconds)
    export_times.measure(folder)


def test_times_are_a_record_a_cell_and_a_run_that_was_cut_off_goes_on(monkeypatch, folders):
    asked = []

    def seconds(command):
        asked.append(command[-2] if "plain_export" in command[1] else command[-1])
        if len(asked) == 4:
            raise KeyboardInterrupt
        return 60.0 if "--lower" in command else 30.0

    with pytest.raises(KeyboardInterrupt):
        measure(monkeypatch, folders, seconds)
    (row,), _ = export_budget.times(folders)
    assert (row["value"], row["holds"]) == (None, None)
    assert row["note"].startswith("not measured: plain xnnpack-int8, plain onnx-int8, profile")
    measure(monkeypatch, folders, seconds)
    assert asked[4:] == [
        "onnx-fp32",
        "xnnpack-int8",
        "onnx-int8",
        "--profile",
    ]  # onnx-int8 starts from onnx-fp32's file
    cells = export_times.newest(results.read().records)
    assert set(cells) == set(export_times.CELLS) and cells["profile"]["profile"] == {"fold": 1}
    (row,), _ = export_budget.times(folders)
    assert (row["value"], row["bound"], row["holds"]) == (0.5, 0.75, True)
    assert "measured 0.0 hours ago" in row["note"] and "meets the goal 0.5" in row["note"]


def test_a_slow_export_fails_and_one_on_a_busy_machine_tells_nothing(monkeypatch, folders):
    def seconds(command):
        return 100.0 if "--lower" in command else 30.0

    measure(monkeypatch, folders, seconds)
    assert export_budget.times(folders)[0][0]["holds"] is False
    monkeypatch.setattr(export_budget.export_times, "newest", busy_of(export_times.newest))
    assert export_budget.times(folders)[0][0]["holds"] is None


def busy_of(newest):
    flagged = {"valid": False, "flags": ["other work"]}
    return lambda records: {cell: {**entry, "validity": flagged} for cell, entry in newest(records).items()}


def test_a_script_that_fails_says_what_it_said(tmp_path):
    with pytest.raises(EngineError, match=r"plain_export.py xnnpack-fp32 .* failed: .*(No such file|No module named)"):
        export_times.seconds([sys.executable, *rivals.script("plain_export", "xnnpack-fp32", tmp_path)])


def artifact(name, size, relative=1e-6, same=150, speed="faster", accuracy=None, ladder=()):
    engine = "executorch" if name.startswith("xnnpack") else "onnxruntime"
    precision = name.split("-")[1]
    accuracy = {"answer": "inconclusive", "max_drop": 0.01, "changed": 11, "n": 1079} | (accuracy or {})
    verdict = None if precision == "fp32" else {"speed": {"answer": speed}, "accuracy": accuracy}
    parity = {"max_relative": relative, "same_top1": same, "n": 150}
    return {
        "id": name, "engine": engine, "precision": precision, "size_bytes": size, "parity": parity, "verdict": verdict,
        "ladder": list(ladder),
    }  # fmt: skip


def bundle(folders, *artifacts):
    folder = folders / "bundles" / export_budget.FOOD
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps({"name": export_budget.FOOD, "artifacts": artifacts}))


def test_manifests_are_held_to_parity_and_size(folders):
    bundle(folders, artifact("xnnpack-fp32", 1000), artifact("xnnpack-int8", 290), artifact("onnx-int8", 900))
    rows, _ = export_budget.manifests(folders)
    assert [(row["value"], row["holds"]) for row in rows[:3]] == [(1e-6, True), (150, True), (0.29, True)]
    bundle(folders, artifact("xnnpack-fp32", 1000, 2e-4, 149), artifact("xnnpack-int8", 310))
    rows, _ = export_budget.manifests(folders)
    assert [row["holds"] for row in rows[:3]] == [False, False, False]


def test_one_int8_artifact_of_a_food_bundle_has_to_pass_and_more_pictures_may_show_it(folders):
    passes = {"answer": "pass", "changed": 2}
    wide = passes | {"max_drop": 0.02}
    for accuracy, holds in (({}, None), ({"answer": "fail"}, False), (passes, True), (wide, False)):
        bundle(folders, artifact("xnnpack-fp32", 1000), artifact("xnnpack-int8", 290, accuracy=accuracy))
        row = export_budget.manifests(folders)[0][3]
        assert (row["value"], row["bound"], row["holds"], row["n"]) == (bool(holds), 1, holds, 1)
    assert row["note"].startswith("xnnpack-int8: pass, 2 of 1079 changed; more pictures: lokma export RUN --unlabelled")


def test_emulated_boards_are_held_to_the_same_label_and_a_millionth_and_the_integers_to_equality(folders):
    def of(*hops):
        bundle(folders, artifact("xnnpack-fp32", 1000), artifact("xnnpack-int8", 290, ladder=hops))
        return [(row["value"], row["holds"]) for row in export_budget.manifests(folders)[0][4:]]

    here = {"hop": "session here", "max_abs": 0.1, "same_top1": 31, "n": 32}
    board = {"hop": "cortex-a53, emulated", "max_abs": 1e-7, "same_top1": 32, "n": 32}
    integers = {**board, "hop": "cortex-a53, emulated, before the last dequantize", "max_abs": 0.0}
    assert of(here) == [(None, None)]
    assert of(here, board, integers) == [(1e-7, True), (0.0, True)]
    assert of(board | {"same_top1": 31}, board | {"n": 4, "same_top1": 4}, integers | {"max_abs": 1e-7}) == [
        *[(1e-7, False)] * 3
    ]


def test_a_speed_verdict_is_held_to_another_measurement_and_tune_to_both(monkeypatch, folders):
    monkeypatch.setattr(export_budget, "busy", list)
    monkeypatch.setattr(export_budget, "photographs", lambda folder, count: [])
    monkeypatch.setattr(export_budget, "_tuned", lambda folder: "onnx-int8")

    def taken(names, inputs):
        return {name: [2.0 if name == "onnx-int8" else 0.5 if "int8" in name else 1.0] * 30 for name in names}

    monkeypatch.setattr(export_budget, "_taken", taken)
    bundle(folders, *(artifact(f"{e}-{p}", 1) for e in ("xnnpack", "onnx") for p in ("fp32", "int8")))
    rows, _ = export_budget.speed(folders)
    assert [row["holds"] for row in rows] == [True, False, False]
    assert rows[1]["note"].startswith("the manifest says faster, here slower")
    assert rows[2]["note"] == "tune took onnx-int8"


def test_without_bundles_zoo_or_times_rows_say_what_to_run(monkeypatch, folders, capsys):
    assert export_budget.main(["--only", "times,zoo,manifests,speed", "--json"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["holds"] for row in rows] == [None] * 4
    assert "make zoo" in rows[1]["note"] and "make demo" in rows[2]["note"]
    records = results.read().records
    assert [entry["scenario"]["group"] for entry in records] == ["times", "zoo", "manifests", "speed"]
    assert {entry["host"]["fingerprint"] for entry in records} == {host()["fingerprint"]}
    assert export_budget.main(["--only", "moon"]) == 2
    assert "there is no group moon; known: times, zoo" in capsys.readouterr().err
