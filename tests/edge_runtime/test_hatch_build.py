"""The build hook says in one sentence what it lacks, and leaves nothing behind."""

import importlib.util
import subprocess
import tempfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling")
ROOT = Path(__file__).resolve().parents[2]
TARGET = "manylinux_2_28_x86_64"
MISMATCH = """ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.
    executorch==1.5.1 from http://127.0.0.1/x.whl:
        Expected sha256 274c
             Got        0bad
"""
UNREACHABLE = """WARNING: Retrying after connection broken
ERROR: Could not find a version that satisfies the requirement executorch==1.5.1 (from versions: none)
ERROR: No matching distribution found for executorch==1.5.1
"""


@pytest.fixture
def hook(monkeypatch, tmp_path):
    """The hook's module; temporary folders go to tmp_path/temp."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    monkeypatch.setattr(module.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setenv("LOKMA_PLATFORM", TARGET)
    return module


def answering(monkeypatch, module, code, said=""):
    """Every command that the hook starts ends with this exit code."""
    asked = []

    def run(command, **options):
        asked.append(command)
        return subprocess.CompletedProcess(command, code, "", said)

    monkeypatch.setattr(module.subprocess, "run", run)
    return asked


def initialize(module, version="standard"):
    engine = module.NativeEngine(str(ROOT), {}, None, None, str(ROOT), "wheel")
    data = {"force_include": {}}
    engine.initialize(version, data)
    return engine, data


@pytest.fixture
def sdk(hook, monkeypatch, tmp_path):
    """Something in the shape of the executorch wheel."""
    path = tmp_path / "executorch.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name in (*hook.LIBRARIES, *hook.LAZY):
            wheel.writestr(f"executorch/lib/lib{name}.so", "")
        wheel.writestr("executorch-1.5.1.dist-info/licenses/LICENSE", "free")
    monkeypatch.setattr(hook, "_executorch_wheel", lambda target: path)


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (MISMATCH, "the one that pip's index gave has another sha256 than the pinned 274c28c2f…: it was altered"),
        (UNREACHABLE, r"cannot be fetched \(ERROR: No matching distribution found for executorch==1.5.1\)"),
        ("", r"cannot be fetched \(pip said nothing\)"),
    ],
)
def test_a_wheel_that_pip_does_not_give_is_one_sentence(hook, monkeypatch, tmp_path, said, says):
    asked = answering(monkeypatch, hook, 1, said)
    with pytest.raises(SystemExit, match=rf"the executorch 1.5.1 wheel for {TARGET}.*{says}") as stopped:
        initialize(hook)
    assert "LOKMA_PLATFORM=any" in stopped.value.code and "\n" not in stopped.value.code
    assert len(asked) == 1 and not list((tmp_path / "temp").iterdir())


def test_a_compiler_that_fails_is_one_sentence(hook, sdk, monkeypatch, tmp_path):
    answering(monkeypatch, hook, 1)
    with pytest.raises(SystemExit, match=r"g\+\+ cannot compile native.cpp; what it says stands above"):
        initialize(hook)
    assert not list((tmp_path / "temp").iterdir())


def test_what_was_compiled_stays_until_the_wheel_is_written(hook, sdk, monkeypatch, tmp_path):
    answering(monkeypatch, hook, 0)
    engine, data = initialize(hook)
    ((native, inside),) = data["force_include"].items()
    assert inside == "edge_runtime/_native" and (Path(native) / "LICENSE.executorch").read_text() == "free"
    notices = (Path(native) / "NOTICES").read_text(encoding="utf-8")
    assert all(name in notices for name in ("XNNPACK", "cpuinfo", "pthreadpool", "KleidiAI", "Eigen", "pocketfft"))
    assert data["tag"] == f"py3-none-{TARGET}" and data["pure_python"] is False
    engine.finalize("standard", data, "")
    assert not list((tmp_path / "temp").iterdir())


def test_a_wheel_without_the_engine_compiles_nothing(hook, monkeypatch, tmp_path):
    asked = answering(monkeypatch, hook, 1)
    monkeypatch.setenv("LOKMA_PLATFORM", "any")
    engine, data = initialize(hook)
    engine.finalize("standard", data, "")
    assert (
        data == {"force_include": {}, "tag": "py3-none-any"} and not asked and not list((tmp_path / "temp").iterdir())
    )
