"""The model that the runtime's budget measures: torchvision's EfficientNet-B2 at 288 px, three labels, as a bundle.

Its weights are seeded, not trained: speed and memory do not depend on what a network has learned. Its
BatchNorm statistics come from pictures, because random ones let activations shrink to denormal numbers,
which processors compute many times slower. Lowering takes about seven minutes and happens once: the
folder is kept under the store, named by the versions of the tools, and the code, that made it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.photographs import generated, spec_of
from edge_runtime import __version__, engines, profile, store
from edge_runtime.bundle import MANIFEST, SCHEMA_VERSION
from edge_runtime.engines.executorch import ExecuTorchSession
from edge_runtime.errors import Missing
from edge_runtime.predictor import Predictor
from edge_runtime.spec import ModelSpec
from train.provenance import code_sha256

log = logging.getLogger(__name__)
NAME, WEIGHTS, SIDE, PICTURES, GOLDENS = "efficientnet-b2", "model.safetensors", 288, 48, 3
TOOLS = ("torch", "torchvision", "torchao", "executorch", "onnx", "onnxscript")
LOWERING = ("export.contract", "export.fold", "export.to_executorch", "export.to_onnx")
LABELS = ("pizza", "steak", "sushi")
SPEC = spec_of(NAME, SIDE, LABELS)
# artifact: (engine, precision), in the bundle's order
ARTIFACTS = {
    "xnnpack-fp32": ("executorch", "fp32"),
    "onnx-fp32": ("onnxruntime", "fp32"),
    "xnnpack-int8": ("executorch", "int8"),
}
# recipe, model, spec, calibration inputs: the file, and what the manifest says of it
Lower = Callable[[str, Any, ModelSpec, Any], tuple[bytes, Mapping[str, Any]]]


def folder() -> Path:
    """Where the bundle is kept; `model.safetensors` beside the artifacts is for eager torch."""
    versions = {tool: importlib.metadata.version(tool) for tool in TOOLS}
    parts = json.dumps([versions, code_sha256(*LOWERING), SPEC.to_dict(), PICTURES], sort_keys=True)
    return store.home() / "budget" / f"{NAME}-{hashlib.sha256(parts.encode()).hexdigest()[:12]}"


def bundle(lower: Lower) -> Path:
    """The bundle's folder, made where it is not there yet; a build that was cut off goes on.

    Args:
        lower: lowers by a recipe, from the export room.
    """
    where = folder()
    if (where / MANIFEST).is_file():
        return where
    import torch
    from safetensors.torch import save_file

    log.warning("building %s once, about seven minutes: %s", NAME, where)
    where.mkdir(parents=True, exist_ok=True)
    pictures = _pictures()
    calibration = torch.stack([torch.frombuffer(bytearray(p), dtype=torch.uint8) for p in pictures])
    calibration = calibration.reshape(-1, SIDE, SIDE, 3)
    model = network(calibration)
    save_file(model.state_dict(), where / WEIGHTS)
    entries = [_lowered(name, lower, model, calibration, where) for name in ARTIFACTS]
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "name": NAME,
        "version": 1,
        "needs_runtime": __version__,
        "spec": SPEC.to_dict(),
        "artifacts": entries,
        "golden": _goldens(entries, pictures[:GOLDENS], where),
        "provenance": {"seed": 0, "weights": "seeded, not trained"},
        "licences": {},
    }
    (where / MANIFEST).write_text(json.dumps(manifest, indent=1))
    return where


def network(calibration: Any) -> Any:
    """The seeded network in eval mode, its BatchNorm statistics taken from `calibration` (n, side, side, 3)."""
    import torch
    from torch import nn
    from torchvision.models import efficientnet_b2

    torch.manual_seed(0)
    model = efficientnet_b2(weights=None, num_classes=len(LABELS)).eval()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in norms:
        module.momentum = None  # the plain mean over all batches
        module.train()
    assert SPEC.normalise is not None
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (SPEC.normalise.mean, SPEC.normalise.std))
    with torch.no_grad():
        for batch in calibration.split(8):
            model((batch.permute(0, 3, 1, 2).float() - mean) / std)
    return model.eval().requires_grad_(False)


def _lowered(name: str, lower: Lower, model: Any, calibration: Any, where: Path) -> dict[str, Any]:
    """The artifact's manifest entry; its file and entry are kept, so that a cut-off build goes on from there."""
    entry_file = where / f"{name}.json"
    if entry_file.is_file():
        entry: dict[str, Any] = json.loads(entry_file.read_text())
        return entry
    log.warning("lowering %s", name)
    engine, precision = ARTIFACTS[name]
    data, details = lower(name, model, SPEC, calibration)
    file = name + engines.ENGINES[engine][2]
    (where / file).write_bytes(data)
    entry = {
        "id": name,
        "file": file,
        "engine": engine,
        "precision": precision,
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_bytes": len(data),
        "engine_version": importlib.metadata.version(engine),
        "verdict": None,  # seeded weights have no accuracy to lose
        **details,
    }
    entry_file.write_text(json.dumps(entry))
    return entry


def _goldens(entries: list[dict[str, Any]], pictures: list[bytes], where: Path) -> list[dict[str, Any]]:
    """The golden cases: each artifact's own answers; the first one's are the reference.

    Each `.pte`'s entry also gets what its backend took, measured.
    """
    from PIL import Image

    (where / "golden").mkdir(exist_ok=True)
    cases: list[dict[str, Any]] = []
    for number, pixels in enumerate(pictures):
        handle = io.BytesIO()
        Image.frombytes("RGB", (SIDE, SIDE), pixels).save(handle, "PNG")
        file, data = f"golden/{number}.png", handle.getvalue()
        (where / file).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        cases.append({"id": f"golden-{number}", "file": file, "sha256": digest, "size_bytes": len(data), "outputs": {}})
    for entry in entries:
        path = where / entry["file"]
        session = engines.open_session(entry["engine"], path, None, SPEC.inputs, SPEC.outputs)
        if isinstance(session, ExecuTorchSession):
            entry["delegation"] = profile.measured(session).to_dict()  # as export does, so that no load measures it
        predictor = Predictor(SPEC, None, session, exact=True)  # type: ignore[arg-type]  # no bundle is there yet
        for case in cases:
            case["outputs"][entry["id"]] = list(predictor.predict(where / case["file"]).values)
            case.setdefault("reference", case["outputs"][entry["id"]])
        predictor.close()
    return cases


def _pictures() -> list[bytes]:
    """Pixels (side x side x 3) of training pictures, evenly over the labels; generated ones where none are here."""
    from edge_runtime.preprocess import open_picture, to_pixels
    from train.data import image_data

    assert SPEC.image is not None
    try:
        train = image_data("foodvision-mini").train
    except Missing as error:
        log.warning("generated pictures set the statistics: %s", error)
        return [generated(SIDE, SIDE, seed).tobytes() for seed in range(PICTURES)]
    step = max(1, len(train) // PICTURES)
    return [to_pixels(open_picture(e.path, SPEC.image, exact=True), SPEC.image) for e in train[::step][:PICTURES]]
