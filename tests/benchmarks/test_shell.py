"""The target ssh against a real sshd on loopback: `edge_runtime`'s own test of it lends its server."""

import importlib.util
import sys
from pathlib import Path

import pytest

from benchmarks import passes, shell
from benchmarks.evaluation import Work
from benchmarks.scenarios import Scenario
from benchmarks.targets import Asked, systems
from edge_runtime.bundle import open_bundle
from edge_runtime.host import host

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("lent_sshd", ROOT / "tests" / "edge_runtime" / "test_remote.py")
lent = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lent)
pytestmark = lent.pytestmark
server = lent.server


@pytest.fixture
def pi(server, tmp_path, monkeypatch):
    """A machine that has this lokma, with the Python that it was installed into beside it."""
    home = tmp_path / "pi"
    lent.bare(home, server, monkeypatch)
    programs = home / ".lokma" / "venv" / "bin"
    programs.mkdir(parents=True)
    for name, module in (("lokma", "-m edge_runtime.cli"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} {module} "$@"\n')
        (programs / name).chmod(0o755)
    return home


@pytest.fixture
def work(pictures, tmp_path):
    paths = []
    for index in range(4):
        paths.append(str(tmp_path / f"{index}.png"))
        Path(paths[-1]).write_bytes(pictures.goldens[index % 3])
    return Work({"name": "few", "sha256": "0", "split": "test"}, tuple(paths), (0, 1, 2, 0))


def test_what_is_measured_there_is_answered_there_and_comes_home(pi, pictures, work, tmp_path):
    asked = Asked(open_bundle(pictures.folder), tmp_path, 1, ("xnnpack-fp32",), inputs=work.inputs)
    (there,), failed = systems(["ssh://pi"], asked)
    assert not failed and there.target == "ssh" and there.fields["host"]["fingerprint"] == host()["fingerprint"]
    (here,), _ = systems(["device"], asked)
    found = passes.measure([there, here], work, Scenario(), 1)
    far, near = found[there.name], found[here.name]
    assert far.failure is None and far.peak_rss_bytes and far.cold[0]["total"] > far.cold[0]["import"]
    for one, other in zip(far.passes[0], near.passes[0], strict=True):
        assert one["values"] == pytest.approx(other["values"])
    assert sorted(path.name for path in (pi / ".lokma" / "bench").iterdir() if path.is_dir())
    again, _ = systems(["ssh://pi"], asked)  # nothing is sent twice
    assert len(again) == 1 and list((pi / ".lokma" / "incoming").iterdir()) == []


def test_a_host_that_drops_in_the_middle_is_a_row_with_what_had_come_home(pi, pictures, work, tmp_path, monkeypatch):
    asked = Asked(open_bundle(pictures.folder), tmp_path, 1, ("xnnpack-fp32",), inputs=work.inputs)
    (there,), _ = systems(["ssh://pi"], asked)
    questions = []

    class Dropping(shell.Far):
        def ask(self, inputs, *arguments, **options):
            questions.append(inputs)
            if len(questions) == 9:
                self._child.kill()  # ssh itself: what a lost connection is to this side
            return super().ask(inputs, *arguments, **options)

    monkeypatch.setattr(shell, "Far", Dropping)
    (there,), _ = systems(["ssh://pi"], asked)
    found = passes.measure([there], work, Scenario(), 1)[there.name]
    assert found.failure["what"] == "EngineError" and "SIGKILL" in found.failure["detail"]
    assert len(found.passes[0]) == 4  # what was whole by then is kept


def test_a_host_that_does_not_answer_and_one_without_lokma_are_rows(server, pictures, tmp_path, monkeypatch):
    lent.bare(tmp_path / "empty", server, monkeypatch)
    asked = Asked(open_bundle(pictures.folder), tmp_path, 1)
    found, [(target, error)] = systems(["ssh://pi"], asked)
    assert found == [] and target == "ssh" and "has no lokma; give --wheel" in str(error)
    monkeypatch.setenv("LOKMA_SSH", f"ssh -F {server}/config -p {lent.free_port()}")
    _, [(_, error)] = systems(["ssh://pi"], asked)
    assert "did not answer" in str(error)
