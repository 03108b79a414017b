"""A real run for the whole room: digits, two epochs; its pictures are written once a session."""

import pytest


@pytest.fixture(scope="session")
def home_of_session(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def lokma_home(home_of_session, monkeypatch):
    monkeypatch.setenv("LOKMA_HOME", str(home_of_session))
    return home_of_session


@pytest.fixture(scope="session")
def run(home_of_session, tmp_path_factory):
    from train import train

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOKMA_HOME", str(home_of_session))
        return train("multiclass-digits", out=tmp_path_factory.mktemp("runs"), epochs=2).path


@pytest.fixture(scope="session")
def bundle(run, home_of_session, tmp_path_factory):
    from export import export

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOKMA_HOME", str(home_of_session))
        return export(run, "xnnpack-fp32,onnx-fp32,onnx-int8", tmp_path_factory.mktemp("bundles")).path


@pytest.fixture(scope="module")
def food(tmp_path_factory, draw):
    """Three labels, 60 pictures each, in one folder without sides."""
    root = tmp_path_factory.mktemp("data") / "food"
    for number, label in enumerate(("blue", "green", "red")):
        (root / label).mkdir(parents=True)
        for i in range(60):
            draw(20 + i % 5, 24, 100 * number + i).save(root / label / f"{i}.png")
    return root
