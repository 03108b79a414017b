"""The model of the A/A study as a bundle: SqueezeNet 1.1 at 112 px with three labels, 2 to 5 ms an answer.

`lokma export` lowers `benchmarks/aa_network.py` once, half a minute; the bundle is kept under the store, named by the
tools and the code that made it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.photographs import generated
from edge_runtime import store
from edge_runtime.bundle import MANIFEST
from edge_runtime.errors import EngineError
from train.provenance import code_sha256

log = logging.getLogger(__name__)
NAME, SIDE, LABELS, ARTIFACT = "aa-squeezenet", 112, ("a", "b", "c"), "onnx-fp32"
PICTURES = {"train": 60, "test": 4}  # of each label: generated, for an export wants data
TOOLS = ("torch", "torchvision", "onnx", "onnxscript", "onnxruntime")
NORMALISE = ("--mean", "127.5,127.5,127.5", "--std", "127.5,127.5,127.5")


def bundle() -> Path:
    """The bundle's folder, made where it is not there yet.

    Raises:
        EngineError: `lokma export` failed; the message is its own.
    """
    versions = [importlib.metadata.version(tool) for tool in TOOLS]
    made_of = ",".join([*versions, code_sha256("benchmarks.aa_network", "export.to_onnx")])
    out = store.home() / "budget" / f"aa-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"
    if (out / NAME / MANIFEST).is_file():
        return out / NAME
    log.warning("exporting %s once: %s", NAME, out)
    source = f"{Path(__file__).with_name('aa_network.py')}:network"
    with tempfile.TemporaryDirectory(prefix="lokma-aa-") as scratch:
        _write_pictures(Path(scratch))
        command = [sys.executable, "-m", "edge_runtime.cli", "export", source, "--name", NAME, "--recipes", ARTIFACT,
                   "--out", str(out), "--data", scratch, "--input", str(SIDE), "--resize", str(SIDE),
                   "--filter", "bilinear", *NORMALISE, "--outputs", "logits"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise EngineError(f"the study's model could not be exported: {said[-1]}")
    return out / NAME


def _write_pictures(folder: Path) -> None:
    seed = 0
    for side, count in PICTURES.items():
        for label in LABELS:
            where = folder / side / label
            where.mkdir(parents=True)
            for _ in range(count):
                generated(SIDE, SIDE, seed).save(where / f"{seed}.png")
                seed += 1
