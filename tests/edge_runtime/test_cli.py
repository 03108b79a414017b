import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from edge_runtime import __version__, cli

ROW = "0.1,0,-0.02,0.3"


@pytest.fixture
def run(capsys):
    """Runs the command line in this process: (exit code, stdout, stderr)."""

    def call(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def picture(pictures, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(pictures.goldens[0])
    return path


def test_without_a_verb_the_verbs_are_listed(run):
    for arguments in ((), ("--help",), ("-h",)):
        code, out, _ = run(*arguments)
        assert code == 0 and all(verb in out for verb in cli.VERBS)
    assert run("--version") == (0, f"lokma {__version__}\n", "")


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_explains_itself(lokma, verb):
    done = lokma(verb, "--help")
    assert done.returncode == 0 and f"usage: lokma {verb}" in done.stdout and "--json" in done.stdout


def test_an_unknown_verb_is_answered_with_those_that_exist(run):
    code, _, err = run("fly")
    assert code == 2 and err == f"lokma: there is no verb 'fly'; the verbs are {', '.join(cli.VERBS)}\n"


def test_a_picture_is_answered_with_labels(run, pictures, picture):
    code, out, _ = run("run", pictures.zip, picture, "--top", 2)
    assert code == 0 and out.startswith(f"{picture}: ") and "[xnnpack-fp32, " in out and out.count("%") == 2
    code, out, _ = run("run", pictures.folder, picture, "--artifact", "onnx-int8", "--json")
    line = json.loads(out)
    assert code == 0 and (line["artifact"], line["engine"], line["input"]) == (
        "onnx-int8",
        "onnxruntime",
        str(picture),
    )
    assert sum(one["probability"] for one in line["top"]) == pytest.approx(1, abs=1e-4)
    assert set(line["ms"]) == {"decode", "preprocess", "inference", "postprocess"}


def test_a_row_is_answered_with_an_action(run, policy):
    code, out, _ = run("run", policy.zip, ROW)
    assert code == 0 and "(action " in out
    code, out, _ = run("run", policy.zip, "--json", "--", "-0.1,0,0,0")
    line = json.loads(out)
    assert line["action"] in (0, 1) and line["label"] == ("left", "right")[line["action"]]


def test_one_bad_input_does_not_stop_the_others(run, pictures, picture, tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    code, out, _ = run("run", pictures.zip, picture, tmp_path / "text.jpg", tmp_path / "gone.jpg", picture, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 2 and ["error" in line for line in lines] == [False, True, True, False]
    assert "text.jpg is not a picture" in lines[1]["error"] and "does not exist" in lines[2]["error"]
    code, out, err = run("run", pictures.zip, tmp_path / "text.jpg", picture)
    assert code == 2 and out.startswith(str(picture)) and err.startswith("lokma: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "nowhere.zip", "1,2"], "lokma: nowhere.zip does not exist; give a bundle folder"),
        (["run", "BUNDLE", ROW, "--artifact", "tflite"], "has no artifact 'tflite'"),
        (["run", "BUNDLE", ROW, "--top", "0"], "--top and --threads must be at least 1"),
        (["run", "BUNDLE", ROW, "--threads", "0"], "--top and --threads must be at least 1"),
        (["run", "BUNDLE", ROW, "--threads", "100000"], "threads must be a whole number between 1 and 256"),
        (["run", "BUNDLE", "hello"], "takes 4 numbers (m, m/s, rad, rad/s); got 'hello'"),
        (["run", "BUNDLE"], "the following arguments are required: INPUT; lokma run --help says more"),
        (["run", "BUNDLE", ROW, "--top", "two"], "argument --top: invalid int value: 'two'; lokma run --help"),
        (["info"], "the following arguments are required: path; lokma info --help says more"),
        (["check", "BUNDLE", "--fast"], "unrecognized arguments: --fast; lokma check --help says more"),
        (["train"], "the following arguments are required: RECIPE; lokma train --help says more"),
        (["export"], "say what to export, or give --verify BUNDLE; `lokma export --help` lists the kinds"),
        (["bench", "--threads", "x"], "invalid int value: 'x'; lokma bench --help says more"),
        (["dashboard", "--port", "x"], "invalid int value: 'x'; lokma dashboard --help says more"),
        (["info", "nowhere"], "does not exist"),
        (["check", "nowhere"], "does not exist"),
    ],
)
def test_a_bad_request_is_one_line_and_exit_code_2(run, policy, arguments, says):
    code, out, err = run(*[policy.zip if argument == "BUNDLE" else argument for argument in arguments])
    assert code == 2 and says in err and out == "" and err.startswith("lokma: ") and err.count("\n") == 1


def test_a_bundle_is_described(run, pictures):
    code, out, _ = run("info", pictures.zip)
    assert code == 0 and out.startswith("tiny-shapes: multiclass, circle, cross, star\n  xnnpack-fp32 ")
    code, out, _ = run("info", pictures.folder, "--json")
    assert json.loads(out) == json.loads((pictures.folder / "manifest.json").read_text())
    code, out, _ = run("info", pictures.folder / "onnx-fp32.onnx", "--json")
    assert json.loads(out)["spec"] == pictures.spec.to_dict()


def test_the_limit_below_which_a_bundle_is_not_sure_is_described(run, pictures, tmp_path):
    folder = shutil.copytree(pictures.folder, tmp_path / "unsure")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["spec"]["unsure_below"] = 0.525
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "\n  not sure where the best label has less than 52.5%\n" in run("info", folder)[1]


def test_a_bundle_is_described_whatever_its_details_hold(run, policy, tmp_path):
    folder = shutil.copytree(policy.folder, tmp_path / "odd")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["artifacts"][0]["accuracy"] = 5
    manifest["artifacts"][1]["accuracy"] = {"text": "\x1b[2Jgood\n"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    code, out, _ = run("info", folder)
    assert code == 0 and "\x1b" not in out and out.count("\n") == 3


def test_a_check_passes_and_fails_by_its_exit_code(run, policy, tmp_path):
    code, out, err = run("check", policy.zip)
    assert code == 0 and out.count("ok ") == 3 and err == ""
    folder = shutil.copytree(policy.folder, tmp_path / "altered")
    (folder / "onnx-fp32.onnx").write_bytes(b"x" * (folder / "onnx-fp32.onnx").stat().st_size)
    code, out, err = run("check", folder, "--json")
    report = json.loads(out)
    assert code == 1 and not report["ok"] and [one["ok"] for one in report["checks"]] == [False, None, True, False]
    assert err.startswith(f"lokma: {folder} failed the check: hashes: onnx-fp32.onnx of ") and err.count("\n") == 1


def test_what_is_missing_here_is_exit_code_3(run, policy, monkeypatch):
    monkeypatch.setattr("edge_runtime.engines.available", lambda engine: False)
    code, _, err = run("run", policy.zip, ROW)
    assert code == 3 and "pip install 'lokma[onnx]'" in err
    code, _, err = run("check", policy.zip)
    assert code == 1 and "no engine here can run any of its artifacts" in err


def test_a_library_that_a_verb_lacks_is_named_with_its_extra(run, monkeypatch):
    def needy(argv):
        import a_library_that_nobody_has  # noqa: F401

    monkeypatch.setattr(cli, "_resolve", lambda name: needy)
    code, _, err = run("train")
    assert code == 3
    assert err == (
        "lokma: `lokma train` needs a_library_that_nobody_has, which is not installed: "
        "pip install -e '.[train]' in lokma's clone\n"
    )


def test_a_room_that_is_not_here_is_named_with_its_extra(run, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = run("bench", "x")
    assert code == 3 and "`lokma bench` runs on a workstation: clone lokma" in err and "'.[bench]'" in err


def test_a_foreign_train_py_in_the_working_directory_is_named_and_not_run(lokma, tmp_path):
    (tmp_path / "train.py").write_text("open('ran', 'w')\ndef main(argv): return 0\n")
    done = lokma("train", "foodvision", cwd=tmp_path)
    assert done.returncode == 3 and not (tmp_path / "ran").exists()
    assert f"found {tmp_path / 'train.py'}, which is not lokma's train" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_full_disk_under_the_output_is_one_line(lokma, policy):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = lokma("info", policy.zip, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2 and done.stderr == "lokma: [Errno 28] No space left on device\n"


def many(policy, **options):
    """A run over more rows than anybody waits for."""
    command = [sys.executable, "-m", "edge_runtime.cli", "run", policy.zip, *[ROW] * 20_000]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **pipes, **options)


def test_a_reader_that_goes_away_is_no_error(policy):
    with many(policy) as child:
        assert "(action " in child.stdout.readline()
        child.stdout.close()
        assert child.wait(30) == 0 and child.stderr.read() == ""


def test_ctrl_c_is_one_line_and_exit_code_130(policy):
    with many(policy) as child:
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
    assert child.returncode == 130 and err == "lokma: stopped by Ctrl-C; nothing half written is left\n"


def test_importing_the_command_line_is_short_so_that_main_hears_a_ctrl_c():
    code = "import sys; before = set(sys.modules); import edge_runtime.cli; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"argparse", "dataclasses", "importlib.util", "inspect", "json", "pathlib", "PIL", "re", "typing"}
    assert not heavy & set(done.stdout.split())


def test_a_file_name_that_is_not_text_is_answered(lokma, pictures, tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.png"
    with open(path, "wb") as handle:  # noqa: PTH123
        handle.write(pictures.goldens[0])
    for flags in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "edge_runtime.cli", "run", pictures.zip, path, *flags],
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 0 and b"caf" in done.stdout and done.stderr == b""


def test_labels_are_printed_where_the_terminal_knows_only_ascii(lokma, pictures, picture):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = lokma("run", pictures.zip, picture.rename(picture.with_name("çarpı.png")), env=environment)
    assert done.returncode == 0 and "arp" in done.stdout
