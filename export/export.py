"""From a run to a bundle: lower by each recipe, judge on real inputs, write whole or not at all.

>>> export("runs/digits", recipes="xnnpack-fp32").path                                  # doctest: +SKIP
PosixPath('bundles/digits')
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime import __version__
from edge_runtime.bundle import MANIFEST, SCHEMA_VERSION, open_bundle
from edge_runtime.errors import BadBundle, BadRequest, GateFailed, LokmaError
from edge_runtime.store import sha256_of, whole_folder
from export.recipes import Recipe, chosen
from train.provenance import commit
from train.run import check_run

log = logging.getLogger(__name__)
TOOLS = ("torch", "executorch", "torchao", "onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Exported:
    """Where the bundle is, its manifest, and whether it stood there already, unchanged."""

    path: Path
    manifest: Mapping[str, Any]
    reused: bool


def export(
    run: str | Path,
    recipes: str = "all",
    out: str | Path = "bundles",
    name: str | None = None,
    force: bool = False,
) -> Exported:
    """Exports a run to `out/NAME`.

    Args:
        run: a folder that `lokma train` wrote.
        recipes: names joined by commas, or "all".
        out: where bundles lie.
        name: the bundle's; None takes the run's.
        force: export again even if nothing has changed.

    Raises:
        BadRequest: an unknown recipe, a folder that cannot be written, or one that holds something else.
        BadInput: no run is there.
        BadData: the run is damaged, or the data it was trained on is not here.
        GateFailed: an fp32 artifact does not agree with the eager model, or none is left; nothing is written.
    """
    run, rows = Path(run), chosen(recipes)
    check_run(run)
    name = run.resolve().name if name is None else name
    if not name or name.startswith(".") or Path(name).name != name:
        raise BadRequest(f"{name!r} cannot name a bundle; give a plain folder name (--out says where it goes)")
    target = Path(out) / name
    if target.exists() and not (target / MANIFEST).is_file():
        raise BadRequest(f"{target} exists and is not a bundle; it stays as it is. Choose another --name or --out")
    key = _key(run, rows)
    before = _manifest(target)
    if before and before.get("provenance", {}).get("key") == key and not force and _is_whole(target):
        return Exported(target, before, reused=True)
    version = int(before["version"]) + 1 if before else 1
    with whole_folder(target) as folder:
        manifest = _build(run, rows, folder, {"name": name, "version": version, "key": key})
    return Exported(target, manifest, reused=False)


def _build(run_path: Path, rows: Mapping[str, Recipe], folder: Path, head: Mapping[str, Any]) -> dict[str, Any]:
    """Lowers, judges and writes everything into `folder`; returns the manifest."""
    import torch

    from export.contract import InGraph, output_of
    from export.judge import JUDGED, judge
    from export.samples import golden_file, samples_of, tensors
    from train.run import load_run

    run = load_run(run_path)
    if run.spec.task not in JUDGED:
        raise BadRequest(f"{run_path} is a {run.spec.task} model; this version judges {', '.join(JUDGED)}")
    eager = InGraph(run.model, run.spec).eval()

    def act(row: Any) -> int:
        return int(output_of(eager, torch.tensor([list(row)])).argmax())

    samples = samples_of(run.spec, {key: run.metrics["data"][key] for key in ("name", "sha256")}, act)
    calibration = torch.from_numpy(tensors(run.spec, samples.calibration))
    artifacts = [_lower(recipe_id, row, run, calibration, folder) for recipe_id, row in rows.items()]
    golden_inputs = [golden_file(run.spec, given) or list(given) for given in samples.golden]
    reference = output_of(eager, torch.from_numpy(tensors(run.spec, golden_inputs))).numpy()
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "name": head["name"],
        "version": head["version"],
        "needs_runtime": __version__,
        "spec": run.spec.to_dict(),
        "artifacts": artifacts,
        "golden": [_golden(i, g, r, folder) for i, (g, r) in enumerate(zip(golden_inputs, reference, strict=True))],
        "left_out": [],
        "provenance": _provenance(run, samples, str(head["key"])),
        "licences": run.metrics.get("licences", {}),
    }
    _write_manifest(folder, manifest)
    judge(folder, manifest, run, eager, samples)
    for artifact in artifacts:
        _refuse_bad_parity(artifact)
    _leave_out_failed(folder, manifest)
    from export.card import card

    (folder / "MODEL_CARD.md").write_text(card(manifest), encoding="utf-8")
    _write_manifest(folder, manifest)
    return manifest


def _lower(recipe_id: str, recipe: Recipe, run: Any, calibration: Any, folder: Path) -> dict[str, Any]:
    module, function = recipe.lower.split(":")
    lower: Callable[..., tuple[bytes, dict[str, Any]]] = getattr(importlib.import_module(module), function)
    log.info("lowering %s", recipe_id)
    data, details = lower(run.model, run.spec, calibration)
    file = recipe_id + recipe.suffix
    (folder / file).write_bytes(data)
    return {
        "id": recipe_id,
        "file": file,
        "engine": recipe.engine,
        "precision": recipe.precision,
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_bytes": len(data),
        "recipe": recipe_id,
        "engine_version": importlib.metadata.version(recipe.engine),
        **details,
    }


def _golden(number: int, given: bytes | list[float], reference: Any, folder: Path) -> dict[str, Any]:
    """The case's entry; a picture is written beside. The artifacts' own outputs are added by `judge`."""
    case: dict[str, Any] = {
        "id": f"golden-{number}",
        "reference": [float(v) for v in reference],
        "outputs": {},
    }
    if isinstance(given, bytes):
        (folder / "golden").mkdir(exist_ok=True)
        file = f"golden/{number}.png"
        (folder / file).write_bytes(given)
        return {**case, "file": file, "sha256": hashlib.sha256(given).hexdigest(), "size_bytes": len(given)}
    return {**case, "input": given}


def _provenance(run: Any, samples: Any, key: str) -> dict[str, Any]:
    return {
        "key": key,
        "recipe": run.metrics["recipe"],
        "seed": run.metrics["seed"],
        "model_sha256": run.metrics["model_sha256"],
        "commit": {"training": run.metrics.get("commit"), "export": commit()},
        "data": {"name": samples.name, "sha256": samples.sha256},
        "training": run.metrics.get("results", {}),
        "tools": {"lokma": __version__, **{tool: importlib.metadata.version(tool) for tool in TOOLS}},
    }


def _key(run: Path, rows: Mapping[str, Recipe]) -> str:
    """Changes when anything does that the bundle depends on: weights, spec, recipes, tools or the code."""
    rooms = Path(__file__).parent.parent
    files = [*sorted((rooms / "export").glob("*.py")), *sorted((rooms / "train").glob("*.py"))]
    code = [sha256_of(path) for path in (*files, rooms / "edge_runtime" / "preprocess.py")]
    parts = {
        "weights": sha256_of(run / "model.safetensors"),
        "spec": json.loads((run / "spec.json").read_text(encoding="utf-8")),
        "recipes": sorted(rows),
        "tools": {tool: importlib.metadata.version(tool) for tool in TOOLS},
        "code": code,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _manifest(target: Path) -> dict[str, Any] | None:
    try:
        return dict(open_bundle(target).manifest)
    except LokmaError:
        return None


def _is_whole(target: Path) -> bool:
    bundle = open_bundle(target)
    try:
        for artifact in bundle.artifacts:
            bundle.content(artifact)
    except BadBundle:
        return False
    return True


def _refuse_bad_parity(artifact: Mapping[str, Any]) -> None:
    from export.verdict import PARITY

    bound, parity = PARITY.get(artifact["precision"]), artifact["parity"]
    if bound is not None and (parity["max_relative"] > bound or parity["same_top1"] != parity["n"]):
        raise GateFailed(
            f"{artifact['id']} does not agree with the eager model: relative error {parity['max_relative']:.1e} "
            f"(at most {bound:.0e}), same best label on {parity['same_top1']} of {parity['n']}; no bundle was written"
        )


def _leave_out_failed(folder: Path, manifest: dict[str, Any]) -> None:
    """Takes the artifacts whose accuracy verdict is *fail* out of the bundle, and notes why."""
    failed = [a for a in manifest["artifacts"] if (a["verdict"] or {}).get("accuracy", {}).get("answer") == "fail"]
    manifest["left_out"] = [{"id": a["id"], "reason": a["verdict"]["accuracy"]["reason"]} for a in failed]
    manifest["artifacts"] = [a for a in manifest["artifacts"] if a not in failed]
    for artifact in failed:
        (folder / artifact["file"]).unlink()
        for case in manifest["golden"]:
            del case["outputs"][artifact["id"]]
    if not manifest["artifacts"]:
        raise GateFailed(f"no artifact kept its accuracy ({manifest['left_out'][0]['reason']}); no bundle was written")


def _write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    (folder / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
