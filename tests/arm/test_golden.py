"""On an emulated board: every artifact that the recipes make answers as it did on the host.

`make test-arm` runs this by `python tests/arm`, with the wheel that a Pi installs.
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

if "LOKMA_ARM_TINY" not in os.environ:
    pytest.skip("runs on an emulated board: make test-arm", allow_module_level=True)

from answers import bundles

import edge_runtime
from edge_runtime import examples
from edge_runtime.bundle import open_bundle

TINY = Path(os.environ["LOKMA_ARM_TINY"])
HOST = json.loads((TINY / "answers.json").read_text())
CASES = [(path.stem, artifact) for path in bundles(TINY) for artifact in open_bundle(path).artifacts]
# engine, precision: the largest difference from the host, relative to the largest value of the answer
AGREES = {
    ("executorch", "fp32"): 1e-5,
    ("onnxruntime", "fp32"): 1e-5,
    ("executorch", "int8"): 1e-6,  # integers are the same everywhere; the last softmax is float
    ("onnxruntime", "int8"): 2e-2,  # as edge_runtime/check.py: x86 without VNNI rounds int8 otherwise
    ("onnxruntime", "fp16"): 1e-2,
}
CANCELLED = 1e-6  # what float32 steps leave of an answer near zero that is a difference of values near one
CORES = {"0xd03": "(Cortex-A53): no dotprod", "0xd08": "(Cortex-A72): no dotprod", "0xd0b": "(Cortex-A76): has dotprod"}


@pytest.fixture(scope="module", params=[1, 2], ids="{}-threads".format)
def answers(request):
    """A process of its own: one has one number of threads for all its .pte."""
    command = [sys.executable, Path(__file__).with_name("answers.py"), TINY, str(request.param)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_this_is_the_board_and_its_lokma_is_the_wheel(answers):
    assert platform.machine() == answers["machine"] == "aarch64"
    assert not Path(edge_runtime.__file__).is_relative_to(Path(__file__).parents[2])


def test_the_doctor_knows_the_board_and_tries_both_engines(lokma):
    done = lokma("doctor", "--json")
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 0, done.stdout
    assert CORES[os.environ["LOKMA_ARM_PART"]] in found["cpu"]["detail"]
    for engine in ("executorch", "onnxruntime"):
        assert "answers the example" in found[engine]["detail"]


@pytest.mark.parametrize(("bundle", "artifact"), CASES, ids=[f"{bundle}-{artifact.id}" for bundle, artifact in CASES])
def test_every_artifact_answers_as_the_host_did(answers, bundle, artifact):
    asked = [key for key in HOST if key.startswith(f"{bundle} {artifact.id} ")]
    assert len(asked) >= 3
    bound = AGREES[artifact.engine, artifact.precision]
    for key in asked:
        got, stored = answers[key], HOST[key]
        difference = max(abs(x - y) for x, y in zip(got, stored, strict=True))
        assert difference <= bound * max(map(abs, stored)) + CANCELLED, key
        assert got.index(max(got)) == stored.index(max(stored)), key


def test_every_picture_has_the_hosts_pixels(answers):
    asked = [key for key in HOST if " pixels " in key]
    assert len(asked) == 164 and [key for key in asked if answers[key] != HOST[key]] == []


def test_every_recipe_is_among_them():
    for model in ("tiny-shapes", "tiny-balance"):
        assert [artifact.id for bundle, artifact in CASES if bundle == model] == HOST["recipes"]


@pytest.mark.parametrize("path", bundles(TINY), ids=lambda path: path.stem)
def test_the_check_command_passes(lokma, path):
    done = lokma("check", path)
    assert done.returncode == 0, done.stdout


def test_the_second_command_of_the_readme_answers_seven(lokma):
    done = lokma("run", examples.path("digits.zip"), examples.path("seven.png"))
    assert done.returncode == 0 and ": 7 " in done.stdout and done.stderr == ""
