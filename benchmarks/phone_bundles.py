"""Bundles of large networks with seeded weights, for the phone page to carry: nothing is trained in them.

>>> seeded("vit_b_16", lowered).name                                                             # doctest: +SKIP
'phone-vit_b_16-1ca1abee4da2'
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import efficientnet_b2
from benchmarks.photographs import generated, spec_of
from edge_runtime import __version__, store
from edge_runtime.bundle import MANIFEST, SCHEMA_VERSION
from edge_runtime.spec import ModelSpec
from train.provenance import code_sha256

Lowered = Callable[[Any, ModelSpec, Any], bytes]
SEEDED = {"efficientnet_b2": 288, "vit_b_16": 224}  # the side in pixels


def seeded(name: str, lowered: Lowered) -> Path:
    """A bundle of one fp32 artifact of a torchvision network with seeded weights, made once and kept in the store.

    Args:
        name: a key of `SEEDED`.
        lowered: (network, spec, pixels) -> its `.onnx`, as the export writes it.
    """
    side = SEEDED[name]
    code = code_sha256("export.contract", "export.to_onnx", "benchmarks.phone_bundles")
    where = store.home() / "budget" / f"phone-{name}-{code[:12]}"
    if (where / MANIFEST).is_file():
        return where
    import torch
    import torchvision
    from PIL import Image

    from edge_runtime import engines
    from edge_runtime.predictor import Predictor

    labels = efficientnet_b2.LABELS
    spec = spec_of(name, side, labels)
    shots = [generated(side + 40, side + 90, seed) for seed in range(8)]
    pixels = torch.stack([torch.frombuffer(bytearray(_cut(one, spec.image)), dtype=torch.uint8) for one in shots])
    pixels = pixels.reshape(-1, side, side, 3)
    if name == efficientnet_b2.NAME.replace("-", "_"):
        model = efficientnet_b2.network(pixels)
    else:
        torch.manual_seed(0)
        model = torchvision.models.get_model(name, weights=None, num_classes=len(labels))
        torch.nn.init.normal_(model.heads.head.weight, std=0.5)  # torchvision starts it at 0: all answers were alike
        model = model.eval().requires_grad_(False)
    data = lowered(model, spec, pixels)
    (where / "golden").mkdir(parents=True, exist_ok=True)
    file = where / "onnx-fp32.onnx"
    file.write_bytes(data)
    session = engines.open_session("onnxruntime", file, None, spec.inputs, spec.outputs)
    predictor = Predictor(spec, None, session, exact=True)  # type: ignore[arg-type]  # no bundle is there yet
    cases = []
    for number, shot in enumerate(shots[:3]):
        raw, tensor = png(shot), png(Image.frombytes("RGB", (side, side), _cut(shot, spec.image)))
        case = {"id": f"golden-{number}", **_kept(where, f"golden/{number}.png", raw)}
        values = list(predictor.predict(raw).values)
        stored = _kept(where, f"golden/{number}.tensor.png", tensor)
        cases.append({**case, "tensor": stored, "reference": values, "outputs": {"onnx-fp32": values}})
    predictor.close()
    entry = {"id": "onnx-fp32", "engine": "onnxruntime", "precision": "fp32"}
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "version": 1,
        "needs_runtime": __version__,
        "spec": spec.to_dict(),
        "artifacts": [{**entry, "file": file.name, "sha256": _digest(data), "size_bytes": len(data)}],
        "golden": cases,
        "provenance": {"seed": 0, "weights": "seeded, not trained"},
        "licences": {},
    }
    (where / MANIFEST).write_text(json.dumps(manifest))
    return where


def _kept(where: Path, name: str, data: bytes) -> dict[str, Any]:
    (where / name).write_bytes(data)
    return {"file": name, "sha256": _digest(data), "size_bytes": len(data)}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def png(picture: Any) -> bytes:
    """A picture as the bytes of a PNG."""
    handle = io.BytesIO()
    picture.save(handle, "PNG")
    return handle.getvalue()


def _cut(picture: Any, image: Any) -> bytes:
    from edge_runtime.preprocess import to_pixels

    return to_pixels(picture, image)
