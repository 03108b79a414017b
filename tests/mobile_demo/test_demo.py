import pytest

from mobile_demo import demo


def test_without_pictures_and_network_the_demo_goes_on_with_digits_and_says_so(monkeypatch, capsys):
    asked = []

    def step(command, accept=(0,)):
        asked.append(command[3:])
        return 3 if "foodvision" in command else 0

    monkeypatch.setattr(demo, "step", step)
    assert demo.train_pictures() == "digits"
    assert asked == [["train", "foodvision"], ["train", "multiclass-digits"]]
    assert "goes on with scikit-learn's 1,797 real digits" in capsys.readouterr().out


def test_a_step_that_fails_ends_the_demo_with_its_exit_code():
    with pytest.raises(SystemExit) as stopped:
        demo.lokma("run", "nowhere", "x")
    assert stopped.value.code == 2


def test_every_artifact_runs_with_torch_blocked(pictures, monkeypatch, capfd):
    demo.run(pictures.folder)
    said = capfd.readouterr().out
    assert said.count("(torch blocked)") == 4
    assert said.count("golden/0.png: ") == 4
