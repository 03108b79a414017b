"""The `.pte` path needs Pillow and the standard library alone; the `.onnx` path needs no torch."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOM = Path(__file__).resolve().parent.parent / "edge_runtime"
HEAVY = ["torch", "torchvision", "executorch", "onnx", "scipy"]
BLOCKED = """
import sys
banned = set(sys.argv.pop(1).split(","))
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in banned:
            raise ImportError(f"{name} is banned here")
sys.meta_path.insert(0, Blocker())
"""
RUN = """
from edge_runtime.cli import main
code = main(sys.argv[1:])
found = banned & {name.split(".")[0] for name in sys.modules}
sys.exit(f"imported {found}" if found else code)
"""


def blocked(banned, code, *arguments):
    command = [sys.executable, "-c", BLOCKED + code, ",".join(banned), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("form", ["folder", "zip", "xnnpack-fp32.pte"])
def test_lokma_run_answers_by_a_pte_without_numpy_torch_or_onnxruntime(pictures, form, tmp_path):
    (tmp_path / "a.png").write_bytes(pictures.goldens[0])
    bundle = pictures.folder / form if "." in form else getattr(pictures, form)
    done = blocked(["numpy", "onnxruntime", *HEAVY], RUN, "run", bundle, tmp_path / "a.png", "--json")
    assert done.returncode == 0 and '"engine": "executorch"' in done.stdout, done.stderr


def test_lokma_run_answers_by_an_onnx_without_torch(pictures, tmp_path):
    (tmp_path / "a.png").write_bytes(pictures.goldens[0])
    done = blocked(HEAVY, RUN, "run", pictures.zip, tmp_path / "a.png", "--artifact", "onnx-int8", "--json")
    assert done.returncode == 0 and '"engine": "onnxruntime"' in done.stdout, done.stderr


def test_lokma_check_and_info_need_no_torch(policy):
    for verb in ("check", "info"):
        assert blocked(HEAVY, RUN, verb, policy.zip).returncode == 0


def test_importing_the_runtime_imports_nothing_of_weight():
    code = "import edge_runtime; from edge_runtime import load, Prediction, examples"
    assert blocked(["numpy", "onnxruntime", *HEAVY], code).returncode == 0


@pytest.mark.parametrize(
    ("file", "source", "rule"),
    [
        ("new.py", "import torch", "TID251"),
        ("new.py", "from torch import nn", "TID251"),
        ("new.py", "import torchvision.transforms", "TID251"),
        ("engines/onnxruntime.py", "import torch", "TID251"),
        ("new.py", "import pickle", "TID251"),
        ("new.py", "import numpy as np", "TID253"),
        ("engines/onnxruntime.py", "import numpy as np", None),
        ("new.py", "def f():\n    import numpy", None),
    ],
)
@pytest.mark.skipif(importlib.util.find_spec("ruff") is None, reason="ruff is not installed here")
def test_ruff_refuses_what_the_runtime_must_not_import(file, source, rule):
    command = [sys.executable, "-m", "ruff", "check", "--output-format=concise", "--stdin-filename", ROOM / file, "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, timeout=60)
    found = {word for word in done.stdout.split() if word.startswith("TID")}
    assert found == ({rule} if rule else set()), done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted(ROOM.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOM)))
def test_no_module_of_the_runtime_names_torch_and_one_alone_names_onnxruntime(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    own = "engines/onnxruntime.py"
    assert not names & {*HEAVY, *([] if path.relative_to(ROOM).as_posix() == own else ["onnxruntime"])}
