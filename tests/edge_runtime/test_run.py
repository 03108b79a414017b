import io
import json
import logging
import os
import signal
import subprocess
import sys

import pytest

import edge_runtime
from edge_runtime import cli, examples, frames, inputs
from edge_runtime.bundle import Artifact
from edge_runtime.predictor import Predictor
from edge_runtime.spec import Label, ModelSpec, TensorSpec


@pytest.fixture
def run(capfd):
    """`lokma run …` in this process: (exit code, lines of JSON, stderr)."""

    def call(*arguments):
        code = cli.main(["run", *map(str, arguments), "--json"])
        said = capfd.readouterr()
        return code, [json.loads(line) for line in said.out.splitlines()], said.err

    return call


@pytest.fixture
def film(draw):
    def jpeg(seed):
        handle = io.BytesIO()
        draw(64, 48, seed).save(handle, "JPEG", quality=95)
        return handle.getvalue()

    return [jpeg(seed) for seed in range(4)]


class Says:
    """A session that gives fixed values, so that every task can be run."""

    threads, versions = 1, {}

    def __init__(self, *values):
        import array

        self.values = array.array("f", values)

    def run(self, inputs):
        return {"y": memoryview(self.values)}


@pytest.fixture
def answering(monkeypatch):
    """Makes `load` give a predictor of this task, two columns and fixed values."""

    def use(task, *values, labels=("a", "b", "c"), unit="", unsure_below=None):
        named = tuple(Label(one, one, one) for one in labels)
        out = (TensorSpec("y", "float32", ("batch", len(values)), unit),)
        x = (TensorSpec("x", "float32", ("batch", 2)),)
        spec = ModelSpec("m", task, x, out, named, columns=("age", "bmi"), unsure_below=unsure_below)
        made = Predictor(spec, Artifact("fixed", "f", "executorch", "fp32", "", 1), Says(*values))
        monkeypatch.setattr(edge_runtime, "load", lambda *a, **b: made, raising=False)

    return use


def test_a_folder_and_files_are_answered_in_turn_and_one_bad_one_makes_the_code_2(run, pictures, tmp_path):
    for index, data in enumerate(pictures.goldens):
        (tmp_path / f"{index}.png").write_bytes(data)
    code, lines, _ = run(pictures.zip, tmp_path)
    assert code == 0 and [line["input"] for line in lines] == [str(tmp_path / f"{index}.png") for index in range(3)]
    (tmp_path / "1.png").write_bytes(b"")
    code, lines, _ = run(pictures.zip, tmp_path, tmp_path / "0.png")
    assert code == 2 and ["error" in line for line in lines] == [False, True, False, False]
    assert lines[1]["error"].endswith("1.png is empty")


def test_a_table_is_answered_row_by_row(run, policy, tmp_path):
    path = tmp_path / "seen.csv"
    path.write_text("x,v,a,w\n" + "\n".join(",".join(map(str, row)) for row in policy.goldens) + "\n1,2,3\n")
    code, lines, _ = run(policy.zip, path)
    loaded = edge_runtime.load(policy.zip)
    assert code == 2 and [line["action"] for line in lines[:3]] == [
        loaded.predict(row).action for row in policy.goldens
    ]
    assert lines[1]["input"] == f"{path}:3" and "5 has 3 cells" in lines[3]["error"]


def test_a_table_comes_on_stdin_too(lokma, policy):
    done = lokma("run", policy.zip, "-", "--json", input="1,2,3,4\n1,2,3,oops\n")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 2 and lines[0]["input"] == "stdin:1" and lines[0]["action"] in (0, 1)
    assert lines[1]["error"] == "stdin:2, column 4: 'oops' is not a finite number"


def test_a_row_behind_semicolons_is_an_error_line_and_not_a_header(lokma, policy):
    done = lokma("run", policy.zip, "-", input="0.1;0;-0.02;0.3\n")
    says = "its cells are separated by semicolons; save it with commas between them and points in the numbers"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"lokma: stdin: {says}\n")
    done = lokma("run", policy.zip, "-", input="x,v\n")
    assert done.returncode == 2 and "the first line has 2 cells without a number; the model takes 4" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell to close stdin")
@pytest.mark.parametrize("kind", ["pictures", "policy"])
def test_a_closed_stdin_is_one_clear_sentence(request, kind):
    bundle = request.getfixturevalue(kind).folder
    command = [sys.executable, "-m", "edge_runtime.cli", "run", str(bundle), "-"]
    done = subprocess.run(["sh", "-c", '"$@" <&-', "sh", *command], capture_output=True, text=True, timeout=60)
    says = "lokma: stdin is closed, so nothing can be read from it; pipe something into lokma\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", says)


def test_every_frame_of_a_film_in_a_file_is_answered(lokma, pictures, film, tmp_path):
    path = tmp_path / "film.mjpeg"
    path.write_bytes(b"".join(film) + film[0][:500])
    with path.open("rb") as stdin:
        done = lokma("run", pictures.zip, "-", "--json", stdin=stdin)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 2 and [line["input"] for line in lines] == [f"frame {count}" for count in range(1, 6)]
    loaded = edge_runtime.load(pictures.zip)
    for line, data in zip(lines, film, strict=False):
        assert line["top"][0]["label"] == loaded.predict(data).label
    assert lines[4]["error"] == "frame 5 is cut off: the stream ended after 500 of its bytes"
    assert done.stderr == ""


def test_one_picture_comes_on_stdin(pictures):
    command = [sys.executable, "-m", "edge_runtime.cli", "run", str(pictures.zip), "-", "--json"]
    done = subprocess.run(command, input=pictures.goldens[0], capture_output=True, timeout=60, check=True)
    line = json.loads(done.stdout)
    assert (
        line["input"] == "stdin"
        and line["top"][0]["label"] == edge_runtime.load(pictures.zip).predict(pictures.goldens[0]).label
    )


def test_a_camera_is_answered_as_its_frames_come_and_ctrl_c_ends_it(pictures, film):
    command = [sys.executable, "-m", "edge_runtime.cli", "run", str(pictures.zip), "-", "--json"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes) as child:
        for count, data in enumerate(film, 1):  # each is answered before the next is sent
            child.stdin.write(data)
            child.stdin.flush()
            assert json.loads(child.stdout.readline())["input"] == f"frame {count}"
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130
        assert child.stderr.read().decode() == "lokma: stopped by Ctrl-C; nothing half written is left\n"


def test_frames_that_a_slow_model_missed_are_counted(monkeypatch, film, caplog):
    out, into = os.pipe()
    os.write(into, film[0])
    read, fstat = os.read, os.fstat
    monkeypatch.setattr(inputs.os, "read", lambda _, size: read(out, size))
    monkeypatch.setattr(inputs.os, "fstat", lambda _: fstat(out))
    made, newest = [], frames.Newest
    monkeypatch.setattr(frames, "Newest", lambda source: made.append(newest(source)) or made[0])
    camera = inputs.camera()
    assert next(camera) == ("frame 1", film[0])
    os.write(into, b"".join(film[1:]))
    os.close(into)
    with made[0]._changed:
        assert made[0]._changed.wait_for(lambda: made[0]._ended, 10)
    with caplog.at_level(logging.WARNING):
        assert list(camera) == [("frame 4", film[3])]
    assert caplog.messages == ["2 frames were dropped: the camera is faster than the model"]


def test_a_regression_is_answered_in_its_unit(run, answering, capfd):
    answering("regression", 12.345678, labels=(), unit="euro")
    code, (line,), _ = run("m.zip", "1,2")
    assert code == 0 and line["value"] == pytest.approx(12.345678) and line["unit"] == "euro"
    assert set(line) == {"input", "artifact", "engine", "value", "unit", "ms"}
    assert cli.main(["run", "m.zip", "1,2"]) == 0
    assert capfd.readouterr().out.startswith("1,2: 12.3457 euro  [fixed, ")


@pytest.mark.parametrize(("below", "unsure"), [(0.6, True), (0.5, False)])
def test_an_answer_below_the_limit_of_the_spec_says_that_it_is_not_sure(run, answering, capfd, below, unsure):
    answering("multiclass", 0.3, 0.5, 0.2, unsure_below=below)
    _, (line,), _ = run("m.zip", "1,2")
    assert line["unsure"] is unsure and line["top"][0] == {"label": "b", "probability": 0.5}
    assert cli.main(["run", "m.zip", "1,2", "--top", "1"]) == 0
    assert capfd.readouterr().out.startswith(f"1,2: {'not sure: ' * unsure}b 50.0%  [fixed, ")
    answering("multiclass", 0.3, 0.5, 0.2)
    assert "unsure" not in run("m.zip", "1,2")[1][0]


@pytest.mark.parametrize(("threshold", "labels"), [(0.5, ["c", "a"]), (0.95, []), (0.0, ["c", "a", "b"])])
def test_a_multilabel_model_answers_its_labels_above_the_threshold(run, answering, capfd, threshold, labels):
    answering("multilabel", 0.7, 0.2, 0.9)
    code, (line,), _ = run("m.zip", "1,2", "--threshold", threshold)
    assert code == 0 and line["labels"] == labels and len(line["top"]) == 3
    assert "labels" not in run("m.zip", "1,2")[1][0]
    cli.main(["run", "m.zip", "1,2", "--threshold", str(threshold)])
    assert capfd.readouterr().out.startswith(f"1,2: {', '.join(labels) or 'none of the labels'}  [fixed, ")


def test_a_binary_model_answers_by_the_threshold(run, answering):
    answering("binary", 0.4, labels=("no", "yes"))
    assert run("m.zip", "1,2", "--threshold", 0.3)[1][0]["labels"] == ["yes"]
    assert run("m.zip", "1,2", "--threshold", 0.41)[1][0]["labels"] == ["no"]


def test_a_threshold_for_a_task_without_one_is_refused(run, answering):
    answering("multiclass", 0.7, 0.2, 0.1)
    code, lines, err = run("m.zip", "1,2", "--threshold", 0.3)
    assert (code, lines) == (2, []) and "a multiclass model has no threshold; binary and multilabel ones have" in err
    answering("multilabel", 0.7, 0.2, 0.1)
    assert "a threshold is a probability from 0 to 1; got 3.0" in run("m.zip", "1,2", "--threshold", 3)[2]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["1,2", "--env", "CartPole-v1"], "--env takes the place of INPUT; give one of them"),
        (["--env", "CartPole-v1", "--episodes", "0"], "--episodes must be at least 1 and --seed at least 0"),
        (["--env", "CartPole-v1", "--seed", "-1"], "--episodes must be at least 1 and --seed at least 0"),
        (["--env", "Nothing-v1"], "Gymnasium cannot make 'Nothing-v1': "),
        (["--env", "Acrobot-v1"], "Acrobot-v1 observes (6,) and has 3 actions; cartpole takes (4,) and has 2"),
    ],
)
def test_an_environment_that_does_not_fit_is_refused(run, flags, says):
    pytest.importorskip("gymnasium", reason="Gymnasium is not installed")
    code, lines, err = run(examples.path("cartpole.zip"), *flags)
    assert (code, lines) == (2, []) and says in err and err.count("\n") == 1


def test_flags_may_stand_before_between_and_after_the_inputs(run, policy):
    for given in (
        [policy.zip, "--top", 1, "1,2,3,4"],
        ["--top", 1, policy.zip, "1,2,3,4"],
        [policy.zip, "--", "-1,2,3,4"],
    ):
        code = cli.main(["run", "--json", *map(str, given)])
        assert code == 0


def test_a_classifier_does_not_play(run):
    code, _, err = run(examples.path("digits.zip"), "--env", "CartPole-v1")
    assert code == 2 and "digits is no policy but answers multiclass questions" in err


def test_a_policy_plays_and_gives_its_mean_return_with_an_interval(run, capfd):
    pytest.importorskip("gymnasium", reason="Gymnasium is not installed")
    code, (line,), _ = run(examples.path("cartpole.zip"), "--env", "CartPole-v1", "--episodes", 3, "--seed", 5)
    assert code == 0 and line["returns"] == [500.0] * 3 and line["mean"] == 500.0
    assert (line["interval"], line["note"]) == (None, "no interval below 30 episodes")
    cli.main(["run", str(examples.path("cartpole.zip")), "--env", "CartPole-v1", "--episodes", "2"])
    said = "CartPole-v1: mean return 500.0 (no interval below 30 episodes) of 2 episodes: 500 500  [xnnpack-fp32]\n"
    assert capfd.readouterr().out == said


def test_the_same_seed_plays_the_same_episodes(policy):
    pytest.importorskip("gymnasium", reason="Gymnasium is not installed")
    from edge_runtime.play import play

    loaded = edge_runtime.load(policy.zip)
    returns = play(loaded, "CartPole-v1", 6, seed=3)
    assert play(loaded, "CartPole-v1", 6, seed=3) == returns
    assert play(loaded, "CartPole-v1", 5, seed=4) == returns[1:] and len(set(returns)) > 1


@pytest.mark.parametrize("environment", ["Acrobot-v1", "CartPole-v1"])
def test_an_environment_is_closed_after_an_error_too(policy, monkeypatch, environment):
    gymnasium = pytest.importorskip("gymnasium", reason="Gymnasium is not installed")
    from edge_runtime.play import play

    loaded, closed, make = edge_runtime.load(policy.zip), [], gymnasium.make

    def watched(*arguments, **options):
        env = make(*arguments, **options)
        monkeypatch.setattr(env, "close", lambda: closed.append(environment))
        return env

    def fails(x):
        raise edge_runtime.LokmaError("the model failed")

    monkeypatch.setattr(gymnasium, "make", watched)
    monkeypatch.setattr(loaded, "predict", fails)
    with pytest.raises(edge_runtime.LokmaError):
        play(loaded, environment, 1)
    assert closed == [environment]


def test_the_interval_of_a_mean_return():
    from edge_runtime.play import interval

    low, high = interval([500.0] * 100, "CartPole-v1")[0]
    assert (round(low, 1), high) == (485.2, 500.0)
    assert interval([1.0] * 100, "Other-v1") == (None, "no interval: all returns are equal")
    assert interval([1.0, 3.0] * 50, "Other-v1")[0] == pytest.approx((2 - 0.197, 2 + 0.197), abs=1e-3)


def test_without_gymnasium_it_says_what_brings_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    code, _, err = run(examples.path("cartpole.zip"), "--env", "CartPole-v1")
    assert code == 3 and err == "lokma: --env plays with Gymnasium: pip install gymnasium\n"


def test_strict_reaches_the_loader(run, monkeypatch):
    asked = {}

    def load(*arguments, **options):
        asked.update(options)
        raise edge_runtime.LokmaError("enough")

    monkeypatch.setattr(edge_runtime, "load", load, raising=False)
    assert run("m.zip", "1,2", "--strict")[0] == 2 and asked == {"exact": False, "strict": True}
    run("m.zip", "1,2", "--exact")
    assert asked == {"exact": True, "strict": False}


def test_running_pictures_imports_nothing_that_only_tables_and_policies_need(pictures, tmp_path):
    (tmp_path / "a.png").write_bytes(pictures.goldens[0])
    code = "import sys; from edge_runtime import cli; cli.main(sys.argv[1:]); print(*sys.modules)"
    command = [sys.executable, "-c", code, "run", str(pictures.zip), str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {
        "csv",
        "numpy",
        "edge_runtime.frames",
        "gymnasium",
        "statistics",
        "edge_runtime.play",
        "edge_runtime.tune",
    }
