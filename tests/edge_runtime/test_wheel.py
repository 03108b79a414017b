"""The wheels that devices install: built, looked into, and run where nothing else is."""

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
MACHINES = {"manylinux_2_28_x86_64": 62, "manylinux_2_28_aarch64": 183}  # e_machine of elf.h
# What Debian 10, the first with GLIBC 2.28, has.
NEWEST = {"GLIBC": (2, 28), "GLIBCXX": (3, 4, 24), "CXXABI": (1, 3, 11), "GCC": (8, 0, 0)}
TORCHLESS = "import sys; sys.modules['torch'] = None; from edge_runtime.cli import main; sys.exit(main())"

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.machine() not in ("x86_64", "aarch64"),
    reason="the compiled engine is built for Linux on x86_64 and aarch64",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """`built(platform)` is that wheel, built when it is first asked for."""
    wheels = {}

    def build(target):
        machine = target.removeprefix("manylinux_2_28_")
        compiler = "g++" if target in (PLATFORM, "any") else f"{machine}-linux-gnu-g++"
        if target != "any" and shutil.which(compiler) is None:
            pytest.skip(f"{compiler} is not installed")
        if target not in wheels:
            folder = tmp_path_factory.mktemp(target)
            command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w"]
            subprocess.run([*command, folder, ROOT], check=True, env={**ENVIRONMENT, "LOKMA_PLATFORM": target})
            (wheels[target],) = folder.iterdir()
        return wheels[target]

    return build


@pytest.fixture(scope="module", params=[*MACHINES, "any"])
def each(built, request):
    """Each platform's wheel and its tag."""
    return built(request.param), request.param


@pytest.fixture(scope="module")
def wheel(built):
    return built(PLATFORM)


@pytest.fixture(scope="module")
def device(wheel, tmp_path_factory):
    """A bare virtual environment with the wheel and what it depends on: its python."""
    return bare(tmp_path_factory.mktemp("device"), wheel)


@pytest.fixture(scope="module")
def laptop(built, tmp_path_factory):
    """The wheel for every platform, with onnxruntime."""
    return bare(tmp_path_factory.mktemp("laptop"), f"{built('any')}[onnx]")


def bare(folder, *wanted):
    venv.create(folder, with_pip=False, symlinks=True)
    install(folder / "bin" / "python", *wanted)
    return folder / "bin" / "python"


def install(python, *wanted):
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *wanted], check=True)


def torchless(python, *arguments):
    command = [python, "-I", "-c", TORCHLESS, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd="/")


def test_a_wheel_is_tagged_for_its_platform_and_every_python(each):
    wheel, target = each
    assert wheel.name == f"lokma-0.1.0-py3-none-{target}.whl"
    with zipfile.ZipFile(wheel) as archive:
        notes = archive.read("lokma-0.1.0.dist-info/WHEEL").decode().splitlines()
    assert f"Tag: py3-none-{target}" in notes and f"Root-Is-Purelib: {str(target == 'any').lower()}" in notes


def test_a_wheel_holds_the_runtime_alone_with_its_licences_and_is_small(each):
    wheel, target = each
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"edge_runtime", "lokma-0.1.0.dist-info"}
    assert not [name for name in names if name.endswith((".cpp", ".pyc", ".toml"))]
    native = {Path(name).name for name in names if name.startswith("edge_runtime/_native/")}
    if target == "any":
        assert not native and not [name for name in names if name.endswith(".so")]
    else:
        assert {"liblokma.so", "libexecutorch.so", "LICENSE.executorch", "NOTICES"} <= native and len(native) == 8
    assert "lokma-0.1.0.dist-info/licenses/LICENSE" in names
    assert wheel.stat().st_size <= 8_000_000


@pytest.mark.parametrize("target", MACHINES)
def test_every_library_is_for_the_tags_machine_and_needs_no_more_than_debian_10_has(built, target):
    with zipfile.ZipFile(built(target)) as archive:
        libraries = {name: archive.read(name) for name in archive.namelist() if name.endswith(".so")}
    assert len(libraries) == 6
    needed = set()
    for name, data in libraries.items():
        assert data[:6] == b"\x7fELF\x02\x01" and int.from_bytes(data[18:20], "little") == MACHINES[target], name
        for kind, version in re.findall(rb"\x00(GLIBC|GLIBCXX|CXXABI|GCC)_([\d.]+)(?=\x00)", data):
            needed.add((kind.decode(), tuple(map(int, version.split(b".")))))
    assert {kind for kind, _ in needed} == set(NEWEST)
    assert [one for one in sorted(needed) if one[1] > NEWEST[one[0]]] == []


def test_the_wheel_brings_two_small_bundles_and_a_picture_to_try(wheel):
    with zipfile.ZipFile(wheel) as archive:
        sizes = {Path(one.filename).name: one.file_size for one in archive.infolist() if "/examples/" in one.filename}
    assert sizes.keys() == {"__init__.py", "digits.zip", "cartpole.zip", "seven.png"}
    assert sum(sizes.values()) <= 300_000


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
    assert done.returncode == 0 and done.stdout.count("onnxruntime is not") == 2
    assert len(re.findall("^ok +xnnpack-", done.stdout, re.MULTILINE)) == 2
    done = run("train", "foodvision")
    assert done.returncode == 3 and "`lokma train` runs on a workstation: clone lokma" in done.stderr


def test_with_torch_blocked_a_pte_answers_by_the_base_install(device, policy, pictures, tmp_path):
    (tmp_path / "a.png").write_bytes(pictures.goldens[0])
    for bundle, given in ((policy.folder, "1,2,3,4"), (pictures.folder, tmp_path / "a.png")):
        done = torchless(device, "run", bundle, given, "--artifact", "xnnpack-fp32", "--json")
        assert done.returncode == 0 and '"engine": "executorch"' in done.stdout, done.stderr


def test_the_wheel_for_every_platform_runs_onnx_and_says_which_wheels_run_a_pte(laptop, policy):
    done = torchless(laptop, "run", policy.zip, "1,2,3,4", "--json")
    assert done.returncode == 0 and '"engine": "onnxruntime"' in done.stdout, done.stderr
    done = torchless(laptop, "run", policy.zip, "1,2,3,4", "--artifact", "xnnpack-fp32")
    assert done.returncode == 3 and done.stderr.count("\n") == 1
    assert "built without the compiled ExecuTorch engine and runs .onnx files only" in done.stderr
    assert "manylinux_2_28_x86_64 and manylinux_2_28_aarch64 have it" in done.stderr


def test_this_machines_wheel_with_onnxruntime_runs_both(laptop, wheel, policy):
    install(laptop, "--no-deps", "--force-reinstall", wheel)
    for artifact, engine in (("onnx-fp32", "onnxruntime"), ("xnnpack-fp32", "executorch")):
        done = torchless(laptop, "run", policy.zip, "1,2,3,4", "--artifact", artifact, "--json")
        assert done.returncode == 0 and f'"engine": "{engine}"' in done.stdout, done.stderr
