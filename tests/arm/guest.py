"""A pytest plugin on the emulated board: the host's tiny models, and which tests are left to the host."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.cli import VERBS
from edge_runtime.spec import ModelSpec

TINY = Path(os.environ["LOKMA_ARM_TINY"])
KILLS = "kills processes hundreds of times: the host's file system answers, not the processor"
LOWERS = "lowers a model by torch"
WRITES = "writes another .pte by the executorch package"
PROPERTY = "property tests: hundreds of inputs for the same Python"
ROOM = "verbs of rooms that are not in the wheel"
# a file, or a file and how its test's name begins: why it says nothing here, or cannot run
LEFT_OUT = {
    "test_hatch_build.py": "builds the wheel",
    "test_host.py": "compares with benchmarks; test_golden.py asks for the board's name",
    "test_measure.py": "statistics, compared with scipy",
    "test_remote.py": "what OpenSSH carries between two machines",
    "test_signature.py": "what the host's ssh-keygen says",
    "test_wheel.py": "builds the wheels",
    "test_check.py::test_an_engine_that_ends_its_process": "breaks the path that the guest is imported by",
    "test_engines.py::test_a_pte_that_asks_for_more_memory": WRITES,
    "test_engines.py::test_a_pte_that_names_an_operator": WRITES,
    "test_engines.py::test_a_pte_without_a_spec": WRITES,
    "test_engines.py::test_the_quantized_kernels_are_loaded": LOWERS,
    "test_install.py::test_a_kill_at": KILLS,
    "test_predictor.py::test_a_picture_is_answered_as_eager_torch": "compares with torch",
    "test_predictor.py::test_a_complex_tensor": "gives a torch tensor",
    "test_preprocess.py::test_pixels_are_torchvisions": "compares with torchvision; test_golden.py with x86's pixels",
    "test_profile.py::test_a_pte_that_was_not_lowered": LOWERS,
    "test_run.py::test_a_closed_stdin": "starts the command by the host's shell",
    "test_store.py::test_a_kill_at": KILLS,
}


class Written:
    """A `Tiny` of tests/conftest.py as `tiny.py` wrote it."""

    def __init__(self, source: Path, into: Path) -> None:
        shutil.copytree(source, into)  # a test may write into it
        (self.zip,) = into.glob("*.zip")
        self.folder = self.zip.with_suffix("")
        manifest = json.loads((self.folder / "manifest.json").read_bytes())
        self.spec = ModelSpec.from_dict(manifest["spec"])
        self.artifacts = {entry["id"]: (self.folder / entry["file"]).read_bytes() for entry in manifest["artifacts"]}
        self.goldens = [
            (self.folder / case["file"]).read_bytes() if "file" in case else case["input"]
            for case in manifest["golden"]
        ]
        self.inputs = np.load(into / "inputs.npy").view(Tensor)
        self.answers = lambda: np.load(into / "answers.npy")


class Tensor(np.ndarray):
    """As much of a torch tensor as the tests ask of one."""

    def numpy(self):
        return np.asarray(self)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef, request):
    """Answers for the two fixtures that make a model."""
    if fixturedef.argname not in ("pictures", "policy"):
        return None
    folder = request.getfixturevalue("tmp_path_factory").mktemp("tiny") / "copy"
    written = Written(TINY / fixturedef.argname, folder)
    fixturedef.cached_result = (written, fixturedef.cache_key(request), None)
    return written


def pytest_ignore_collect(collection_path):
    """Files that are left out are not even read: they import what is not here."""
    return True if collection_path.name in LEFT_OUT else None


def pytest_collection_modifyitems(config, items):
    """Takes out what is left to the host, and counts it."""
    reasons = {item: why_not_here(item) for item in items}
    config.left_out = Counter(filter(None, reasons.values()))
    files, said = {item.path.name for item in items}, " ".join(config.left_out)
    if stale := [key for key in LEFT_OUT if key.split("::")[0] in files and key not in said]:
        raise pytest.UsageError(f"LEFT_OUT names tests that do not exist: {', '.join(stale)}")
    config.hook.pytest_deselected(items=[item for item in items if reasons[item]])
    items[:] = [item for item in items if not reasons[item]]


def why_not_here(item):
    """The row of `LEFT_OUT` and its reason, or None."""
    if item.get_closest_marker("hypothesis"):
        return PROPERTY
    name = f"{item.path.name}::{item.name}"
    rooms = [verb for verb, (_, main, _) in VERBS.items() if not main.startswith("edge_runtime.")]
    if item.path.name == "test_cli.py" and any(f"[{verb}]" in name or f"lokma {verb} " in name for verb in rooms):
        return ROOM
    return next((f"{key}…: {why}" for key, why in LEFT_OUT.items() if name.startswith(key)), None)


def pytest_terminal_summary(terminalreporter, config):
    """Every file and test that the host alone runs, with its reason."""
    terminalreporter.section("left to the host")
    for name, why in LEFT_OUT.items():
        if "::" not in name:
            terminalreporter.line(f"file  {name}: {why}")
    for row, count in config.left_out.items():
        terminalreporter.line(f"{count:4}  {row}")
