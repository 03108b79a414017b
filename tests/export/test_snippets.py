"""The programs in a card run as they stand there: Python, JavaScript and C++, here and on an emulated Raspberry Pi."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edge_runtime import examples, store
from edge_runtime.errors import Missing
from export.boards import BOARDS, missing
from export.boards.root import board_root
from export.card import card
from export.snippets import snippets

HOME = store.home()  # this machine's, where downloads stay; each test has a store of its own
ROOT = Path(__file__).resolve().parents[2]
FILES = {"python": "run.py", "js": "run.mjs", "cpp": "run.cpp", "sh": "compile.sh"}
WEB = "onnxruntime-web@1.30.0"


@pytest.fixture(scope="module", params=["digits", "cartpole"])
def folder(request, tmp_path_factory):
    """A bundle with the programs of its card written beside it, and what the first of them said."""
    into = tmp_path_factory.mktemp(request.param)
    with zipfile.ZipFile(examples.path(f"{request.param}.zip")) as packed:
        packed.extractall(into)
    programs = dict(re.findall(r"```(\w+)\n(.*?)```", card(manifest(into)), re.DOTALL))
    for language, program in programs.items():
        (into / FILES[language]).write_text(program)
    (into / "said").write_text(done([sys.executable, "run.py"], into))
    return into


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def done(command, folder, **environment):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the card asks `python3` for the SDK
    environment = {**os.environ, "PATH": path, **{name: str(value) for name, value in environment.items()}}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def expected(folder, artifact):
    """What the artifact answered to the first golden case, by label."""
    content = manifest(folder)
    ids = [label["id"] for label in content["spec"]["labels"]]
    return dict(zip(ids, content["golden"][0]["outputs"][artifact], strict=True))


def answers(said):
    """Lines of a label and its value."""
    pairs = (line.rsplit(" ", 1) for line in said.splitlines())
    return {label: float(value) for label, value in pairs}


def needs(*tools):
    for tool in tools:
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")


def test_the_python_program_answers_the_golden_case(folder):
    said, known = dict(ast.literal_eval((folder / "said").read_text())), expected(folder, "xnnpack-fp32")
    best = sorted(known, key=lambda label: -known[label])[:3]
    assert list(said) == best
    assert said == pytest.approx({label: known[label] for label in best}, abs=1e-6)


def test_the_javascript_program_answers_the_same(folder):
    needs("node", "npm")
    packages = HOME / "npm"
    if not (packages / "node_modules/onnxruntime-web").is_dir():
        packages.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", packages, WEB]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip(f"npm cannot fetch {WEB}")
    (folder / "node_modules").symlink_to((packages / "node_modules").resolve())
    said = done(["node", "run.mjs", "input.raw"], folder)
    assert answers(said) == pytest.approx(expected(folder, "onnx-fp32"), abs=1e-6)


def test_the_cpp_program_is_compiled_by_the_line_below_it_and_answers_the_same(folder):
    needs("g++")
    done(["sh", "compile.sh"], folder)
    said = done(["./run", "input.raw"], folder)
    assert answers(said) == pytest.approx(expected(folder, "xnnpack-fp32"), abs=1e-6)
    assert len(answers(done(["./run"], folder))) == len(answers(said))
    refused = subprocess.run(["./run", "nowhere.raw"], cwd=folder, capture_output=True, text=True)
    assert refused.returncode == 2 and refused.stderr == "nowhere.raw is missing or too short\n"


def test_the_cpp_program_answers_the_same_on_an_emulated_raspberry_pi(folder, tmp_path, monkeypatch):
    if lacks := missing():
        pytest.skip(lacks)
    monkeypatch.setenv("LOKMA_HOME", str(HOME))
    try:
        board = {"QEMU_LD_PREFIX": board_root("pi4"), "QEMU_CPU": BOARDS["pi4"].cpu}
    except Missing as error:
        pytest.skip(str(error))
    done(["sh", "compile.sh"], folder, SDK=unpacked_sdk(tmp_path), CXX="aarch64-linux-gnu-g++")
    said = done(["qemu-aarch64", "./run", "input.raw"], folder, **board)
    assert answers(said) == pytest.approx(expected(folder, "xnnpack-fp32"), abs=1e-6)


def unpacked_sdk(into):
    """The aarch64 executorch wheel that lokma's own engine is built from."""
    found = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    try:
        wheel = module._executorch_wheel("manylinux_2_28_aarch64")
    except SystemExit as error:
        pytest.skip(str(error))
    with zipfile.ZipFile(wheel) as packed:
        wanted = ("executorch/include/", "executorch/lib/")
        packed.extractall(into, [name for name in packed.namelist() if name.startswith(wanted)])
    return into / "executorch"


def program(content, language):
    return re.search(rf"```{language}\n(.*?)```", snippets(content), re.DOTALL).group(1)


@pytest.fixture
def digits():
    with zipfile.ZipFile(examples.path("digits.zip")) as packed:
        return json.loads(packed.read("manifest.json"))


def test_a_label_is_never_broken_over_two_lines(digits):
    names = [f'a long name, with "quotes" {number}' for number in range(10)]
    digits["spec"]["labels"] = [{"id": name, "en": name, "tr": name} for name in names]
    lines = program(digits, "cpp").splitlines()
    for name in names:
        assert sum(json.dumps(name) in line for line in lines) == 1
    assert max(map(len, lines)) <= 120


def test_a_thousand_labels_are_numbers(digits):
    digits["spec"]["labels"] = [{"id": f"class {n}", "en": "", "tr": ""} for n in range(1000)]
    assert "labels = {};" in program(digits, "cpp") and "labels = [];" in program(digits, "js")


def test_a_bundle_without_pte_has_no_cpp_program(digits):
    digits["artifacts"] = [artifact for artifact in digits["artifacts"] if artifact["engine"] == "onnxruntime"]
    text = snippets(digits)
    assert "```js" in text and "```cpp" not in text and "```sh" not in text


def test_a_regression_prints_its_value(digits):
    digits["spec"] |= {"task": "regression", "labels": []}
    digits["spec"]["outputs"][0] |= {"name": "price", "shape": ["batch", 1]}
    assert "print(answer.value)" in program(digits, "python")
    assert '"price"' in program(digits, "cpp")
