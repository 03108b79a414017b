"""Tiny seeded models, made with torch and lowered by the real recipes into real bundles.

Each is lowered once a session, when a test first asks for it: about ten seconds for the pictures.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.bundle import MANIFEST, SCHEMA_VERSION
from edge_runtime.engines import ENGINES, open_session
from edge_runtime.predictor import Predictor
from edge_runtime.spec import ImageSpec, Label, ModelSpec, Normalise, TensorSpec

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell that starts the tests in the background ignores Ctrl-C for them and all their children
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ModelSpec(
    name="tiny-shapes",
    task="multiclass",
    inputs=(TensorSpec("pixels", "uint8", ("batch", 16, 16, 3), "RGB, 0 to 255"),),
    outputs=(TensorSpec("probabilities", "float32", ("batch", 3), "probability"),),
    labels=(
        Label("circle", "circle", "daire"),
        Label("cross", "cross", "çarpı"),
        Label("star", "star", "yıldız"),
    ),
    image=ImageSpec(resize=18, crop=16, filter="bicubic"),
    normalise=Normalise((124.0, 116.0, 104.0), (58.0, 57.0, 57.5)),
)
POLICY = ModelSpec(
    name="tiny-balance",
    task="policy",
    inputs=(TensorSpec("observation", "float32", ("batch", 4), "m, m/s, rad, rad/s"),),
    outputs=(TensorSpec("q_values", "float32", ("batch", 2), "return"),),
    labels=(Label("left", "left", "sol"), Label("right", "right", "sağ")),
    normalise=Normalise((0.0, 0.1, 0.0, -0.1), (1.0, 2.0, 0.1, 2.0)),
)


@dataclass
class Tiny:
    """A tiny model in every form: `eager` is the contract in torch, `artifacts` the lowered bytes."""

    spec: ModelSpec
    eager: Any
    inputs: Any  # float32 or uint8 tensor of samples, in the user's units
    goldens: list[Any]  # encoded pictures, or rows
    artifacts: dict[str, bytes] = field(default_factory=dict)
    folder: Path = Path()
    zip: Path = Path()

    def answers(self) -> Any:
        """What eager torch answers to `inputs`."""
        from export.contract import output_of

        return output_of(self.eager, self.inputs).numpy()


@pytest.fixture(autouse=True)
def lokma_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a device store of its own."""
    monkeypatch.setenv("LOKMA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A CNN of 16 x 16 pictures with three labels."""
    import torch
    from torch import nn

    torch.manual_seed(7)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    with torch.no_grad():
        model[6].weight *= 12  # an untrained head answers 1/3 to everything
    inputs = torch.randint(0, 256, (12, 16, 16, 3), dtype=torch.uint8)
    goldens = [png(40 + 10 * index, 30 + 12 * index, seed=index) for index in range(3)]
    recipes = ("xnnpack-fp32", "onnx-fp32", "xnnpack-int8", "onnx-int8")
    return lowered(PICTURES, model, inputs, goldens, tmp_path_factory.mktemp("pictures"), recipes)


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """An MLP of four numbers with two actions."""
    import torch
    from torch import nn

    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    inputs = torch.randn(12, 4)
    recipes = ("xnnpack-fp32", "onnx-fp32")
    return lowered(POLICY, model, inputs, inputs[:3].tolist(), tmp_path_factory.mktemp("policy"), recipes)


def lowered(spec: ModelSpec, model: Any, inputs: Any, goldens: list[Any], folder: Path, recipes: Sequence[str]) -> Tiny:
    """Lowers by the recipes and writes the bundle as a folder and as a zip."""
    from export.contract import InGraph
    from export.lowering import lower
    from export.recipes import Job

    model.eval().requires_grad_(False)
    tiny = Tiny(spec, InGraph(model, spec).eval(), inputs, goldens)
    for name in recipes:
        tiny.artifacts[name] = lower(name, Job(model, spec, inputs, inputs[:2])).data
    tiny.folder = folder / spec.name
    write_bundle(tiny, tiny.folder)
    tiny.zip = folder / f"{spec.name}.zip"
    pack(tiny.folder, tiny.zip)
    return tiny


def write_bundle(tiny: Tiny, folder: Path) -> None:
    """Writes the artifacts, golden cases and manifest, as `export` does."""
    folder.mkdir(parents=True)
    entries, cases = [], [golden_case(index, given, tiny.spec, folder) for index, given in enumerate(tiny.goldens)]
    for name, data in tiny.artifacts.items():
        engine = "executorch" if name.startswith("xnnpack") else "onnxruntime"
        file = name + ENGINES[engine][2]
        (folder / file).write_bytes(data)
        entries.append(
            {
                "id": name,
                "file": file,
                "engine": engine,
                "precision": name.split("-")[1],
                "sha256": hashlib.sha256(data).hexdigest(),
                "size_bytes": len(data),
                "accuracy": {"text": "not measured"},
            }
        )
        session = open_session(engine, data, None, tiny.spec.inputs, tiny.spec.outputs)
        predictor = Predictor(tiny.spec, None, session, exact=True)  # type: ignore[arg-type]
        for case, given in zip(cases, tiny.goldens, strict=True):
            case["outputs"][name] = list(predictor.predict(given).values)
            case["reference"] = case["outputs"][name] if "reference" not in case else case["reference"]
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "name": tiny.spec.name,
        "version": 1,
        "needs_runtime": "0.1.0",
        "spec": tiny.spec.to_dict(),
        "artifacts": entries,
        "golden": cases,
        "provenance": {"seed": 0},
        "licences": {},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))


def golden_case(index: int, given: Any, spec: ModelSpec, folder: Path) -> dict[str, Any]:
    """A manifest's golden entry without its outputs; a picture and its tensor are written beside."""
    case: dict[str, Any] = {"id": f"golden-{index}", "outputs": {}}
    if not isinstance(given, bytes):
        return {**case, "input": given}
    from export.samples import tensor_file

    def written(file: str, data: bytes) -> dict[str, Any]:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_bytes(data)
        return {"file": file, "sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}

    tensor = written(f"golden/{index}.tensor.png", tensor_file(spec, given))
    return {**case, **written(f"golden/{index}.png", given), "tensor": tensor}


def pack(folder: Path, target: Path) -> None:
    """Zips a bundle folder."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))


@functools.cache
def png(width: int, height: int, seed: int) -> bytes:
    """A seeded picture: a gradient under noise, so that resizing errors show."""
    handle = io.BytesIO()
    picture(width, height, seed).save(handle, "PNG")
    return handle.getvalue()


def picture(width: int, height: int, seed: int) -> Any:
    """The same as a PIL image."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(seed)
    across = np.linspace(0, 255, width)[None, :, None] * draw.uniform(0, 1, 3)
    down = np.linspace(0, 255, height)[:, None, None] * draw.uniform(0, 1, 3)
    noise = draw.normal(0, 25, (height, width, 3))
    return Image.fromarray(((across + down) / 2 + noise).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def draw() -> Callable[[int, int, int], Any]:
    """`draw(width, height, seed)` gives a PIL image."""
    return picture


@pytest.fixture(scope="session")
def lokma() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`lokma("run", …)` runs the command line in a process of its own."""

    def run(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edge_runtime.cli", *map(str, arguments)]
        return subprocess.run(command, **{"capture_output": True, "text": True, "timeout": 60, **options})

    return run
