"""Instructions of an inference on emulated Raspberry Pis."""

import json
import shutil
import signal
import subprocess
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from edge_runtime import examples, store
from edge_runtime.errors import Missing
from export import instructions as module
from export.instructions import cycles, golden_tensor, instructions, length, ratios, runs_of

HOME = store.home()  # this machine's, where the boards stay; each test has a store of its own
LOOP = ("8b020021", "f1000400", "54ffffc1")  # add x1, x1, x2; subs x0, x0, #1; b.ne


@pytest.fixture
def digits(tmp_path):
    """The example bundle, unpacked, with the two `.pte` only."""
    with zipfile.ZipFile(examples.path("digits.zip")) as packed:
        packed.extractall(tmp_path / "digits")
    manifest = json.loads((tmp_path / "digits/manifest.json").read_text())
    manifest["artifacts"] = [a for a in manifest["artifacts"] if a["engine"] == "executorch"]
    return tmp_path / "digits", manifest


def test_a_run_is_what_ended_and_a_block_that_was_translated_twice_is_one():
    runs = runs_of("3 aa bb\nEND 1\n2 aa bb\n4 cc\n1 aa bb\nEND 2\n9 d")
    assert runs == [Counter({("aa", "bb"): 3}), Counter({("aa", "bb"): 3, ("cc",): 4})]
    assert [length(run) for run in runs] == [6, 10]
    assert runs_of("") == [] and runs_of("3 aa bb\nEN") == []


def test_a_ratio_needs_both_sides():
    assert ratios({"instructions": None, "cycles": 3}, {"instructions": 2, "cycles": 2}) == {
        "ratio_to_fp32": None,
        "cycles_ratio_to_fp32": 1.5,
    }
    assert set(ratios({"instructions": 1, "cycles": 1}, None).values()) == {None}


def test_a_loop_takes_the_cycles_of_each_processors_model():
    if lacks := [tool for tool in (module.ASSEMBLER, module.ANALYSER) if not shutil.which(tool)]:
        pytest.skip(f"{' and '.join(lacks)} is not installed")
    spent = {cpu: cycles(Counter({LOOP: 1000}), cpu) for cpu in module.MODELS}
    # the Cortex-A53 starts an addition that waits for another after that one's four stages
    assert spent == {"cortex-a53": (4010, None), "cortex-a72": (1040, None), "cortex-a76": (1040, None)}
    assert cycles(Counter({("ffffffff",): 1}), "cortex-a72") == (
        None,
        "llvm-mc-19 does not know an instruction that ran",
    )


def test_without_llvm_there_are_instructions_but_no_cycles(monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda tool: None)
    spent, why = cycles(Counter({LOOP: 1}), "cortex-a72")
    assert spent is None and why.startswith("llvm-mc-19 and llvm-mca-19 is not installed; on Debian: apt install")


def test_the_time_limit_keeps_the_runs_that_were_counted_and_gives_a_reason_where_none_was(digits, monkeypatch):
    folder, manifest = digits

    def too_slow(board, arguments, env, **options):
        if arguments[2].stem == "xnnpack-int8":
            Path(env["QEMU_PLUGIN"].split("out=")[1]).write_text(f"5 {' '.join(LOOP)}\nEND 1\n7 {LOOP[0]}")
        return subprocess.CompletedProcess(arguments, -signal.SIGXCPU, "", "qemu: uncaught target signal 24")

    monkeypatch.setattr(module.emulated, "prepare", lambda: None)
    monkeypatch.setattr(module.emulated, "run", too_slow)
    instructions(folder, manifest, ["pi3"])
    fp32, int8 = (artifact["instructions"]["pi3"] for artifact in manifest["artifacts"])
    assert fp32["instructions"] is None and fp32["reason"].endswith("took more than 120 s in the emulation")
    assert int8["instructions"] == 15 and int8["n"] == 1 and int8["ratio_to_fp32"] is None


def test_the_input_is_the_golden_cases_tensor(digits):
    folder, manifest = digits
    assert len(golden_tensor(folder, manifest)) == 16 * 16 * 3
    manifest["spec"]["inputs"][0]["dtype"] = "float32"
    manifest["golden"] = [{"input": [1.0, 2.0]}]
    assert golden_tensor(folder, manifest).hex() == "0000803f00000040"


def test_on_an_emulated_pi_5_int8_executes_fewer_instructions_than_fp32(digits, monkeypatch):
    if lacks := module.emulated.missing():
        pytest.skip(lacks)
    monkeypatch.setenv("LOKMA_HOME", str(HOME))
    folder, manifest = digits
    try:
        instructions(folder, manifest, ["pi5"])
    except Missing as error:
        pytest.skip(str(error))
    fp32, int8 = (artifact["instructions"]["pi5"] for artifact in manifest["artifacts"])
    for row in (fp32, int8):
        assert row["n"] == module.RUNS and row["cpu"] == "cortex-a76"
        assert row["instructions"] > 100_000
    assert int8["ratio_to_fp32"] == pytest.approx(int8["instructions"] / fp32["instructions"], abs=1e-3)
    assert int8["ratio_to_fp32"] < 1  # dotprod
    if shutil.which(module.ANALYSER):
        assert int8["cycles"] < fp32["cycles"]
