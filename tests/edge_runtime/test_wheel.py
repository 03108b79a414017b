"""The wheel that a device installs: built for this machine, looked into, and run where nothing else is."""

import os
import platform
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLATFORM = f"manylinux_2_28_{platform.machine()}"
ENVIRONMENT = dict(os.environ)  # with the real LOKMA_HOME, where the executorch wheel is cached

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.machine() not in ("x86_64", "aarch64"),
    reason="the compiled engine is built for Linux on x86_64 and aarch64",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        ROOT,
    ]
    subprocess.run(command, check=True, env={**ENVIRONMENT, "LOKMA_PLATFORM": PLATFORM})
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def device(wheel, tmp_path_factory):
    """A bare virtual environment with the wheel and what it depends on: its python."""
    folder = tmp_path_factory.mktemp("device")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", wheel], check=True)
    return python


def test_the_wheel_is_tagged_for_this_machine_and_every_python(wheel):
    assert wheel.name == f"lokma-0.1.0-py3-none-{PLATFORM}.whl"


def test_the_wheel_holds_the_runtime_alone_and_is_small(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"edge_runtime", "lokma-0.1.0.dist-info"}
    assert not [name for name in names if name.endswith((".cpp", ".pyc", ".toml"))]
    libraries = [name for name in names if name.endswith(".so")]
    assert "edge_runtime/_native/liblokma.so" in libraries and "edge_runtime/_native/LICENSE.executorch" in names
    assert wheel.stat().st_size <= 8_000_000


def test_the_wheel_brings_two_small_bundles_and_a_picture_to_try(wheel):
    with zipfile.ZipFile(wheel) as archive:
        sizes = {Path(one.filename).name: one.file_size for one in archive.infolist() if "/examples/" in one.filename}
    assert sizes.keys() == {"__init__.py", "digits.zip", "cartpole.zip", "seven.png"}
    assert sum(sizes.values()) <= 300_000


@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs binutils")
def test_no_library_needs_more_than_debian_10_has(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    needed = set()
    for library in (tmp_path / "edge_runtime/_native").glob("*.so"):
        symbols = subprocess.run(["objdump", "-T", library], check=True, capture_output=True, text=True).stdout
        needed |= set(re.findall(r"\((GLIBC|GLIBCXX)_([\d.]+)\)", symbols))
    newest = {kind: max(tuple(map(int, v.split("."))) for k, v in needed if k == kind) for kind, _ in needed}
    assert newest["GLIBC"] <= (2, 28) and newest["GLIBCXX"] <= (3, 4, 24)


def test_a_bare_environment_has_lokma_and_pillow_and_nothing_else(device):
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "--python", device, "list", "--format=freeze"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert {line.split("==")[0].lower() for line in listed.split()} == {"lokma", "pillow"}
    for name in ("torch", "numpy", "onnxruntime", "train", "export", "benchmarks", "mobile_demo"):
        done = subprocess.run([device, "-I", "-c", f"import {name}"], capture_output=True, text=True, cwd="/")
        assert done.returncode == 1 and "No module named" in done.stderr


def test_the_second_command_of_the_readme_answers_seven_in_a_bare_environment(device):
    (command,) = re.findall(r"^try/bin/lokma (run .*)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    arguments = command.split()
    assert [Path(given).name for given in arguments[1:]] == ["digits.zip", "seven.png"]
    done = subprocess.run([device.with_name("lokma"), *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith(f"{arguments[2]}: 7 ")


def test_a_bare_environment_answers_by_the_pte_and_names_what_the_onnx_needs(device, policy, pictures, tmp_path):
    lokma = device.with_name("lokma")
    (tmp_path / "a.png").write_bytes(pictures.goldens[0])

    def run(*arguments):
        return subprocess.run([lokma, *arguments], capture_output=True, text=True, cwd=tmp_path)

    for bundle, given in ((policy.zip, "1,2,3,4"), (pictures.zip, "a.png"), (pictures.folder, "a.png")):
        done = run("run", bundle, given, "--json")
        assert done.returncode == 0 and '"engine": "executorch"' in done.stdout and done.stderr == ""
    done = run("run", policy.zip, "1,2,3,4", "--artifact", "onnx-fp32")
    assert done.returncode == 3 and "pip install 'lokma[onnx]'" in done.stderr
    done = run("check", pictures.zip)
    assert done.returncode == 0 and done.stdout.count("ok ") == 2 and done.stdout.count("onnxruntime is not") == 2
    done = run("train", "foodvision")
    assert done.returncode == 3 and "`lokma train` runs on a workstation: clone lokma" in done.stderr
