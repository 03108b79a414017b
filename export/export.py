"""From a model to a bundle: lower by each recipe, judge on real inputs, write whole or not at all.

>>> export("runs/digits", recipes="xnnpack-fp32").path                                  # doctest: +SKIP
PosixPath('bundles/digits')
>>> export(model, data="pictures", labels="cat,dog", input=96, mean=0.5, std=0.25)      # doctest: +SKIP
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge_runtime import __version__
from edge_runtime.bundle import MANIFEST, SCHEMA_VERSION, open_bundle
from edge_runtime.errors import BadBundle, BadRequest, GateFailed, LokmaError
from edge_runtime.spec import read_json
from edge_runtime.store import sha256_of
from edge_runtime.writing import whole_folder
from export.asked import Asked
from export.exported import Exported
from export.recipes import Recipe, chosen
from export.sources import Plan, Source, plan_of
from train.provenance import commit

log = logging.getLogger(__name__)
TOOLS = ("torch", "executorch", "torchao", "onnx", "onnxscript", "onnxruntime")


def export(
    thing: Any,
    recipes: str = "main",
    out: str | Path = "bundles",
    name: str | None = None,
    force: bool = False,
    **said: Any,
) -> Exported:
    """Exports a model to `out/NAME`.

    Args:
        thing: a run's folder, `file.py:function`, `torchvision:NAME`, a `.pt2`, an `.onnx`, or a `torch.nn.Module`.
        recipes: names joined by commas, or "auto", "main", "all".
        out: where bundles lie.
        name: the bundle's; None takes the thing's.
        force: export again even if nothing has changed.
        **said: what the thing does not say itself: the fields of `export.asked.Asked`, such as `data` and `labels`.

    Raises:
        BadRequest: an unknown recipe or option, something that must be said and was not, a folder that cannot be
            written, or one that holds something else.
        BadInput: nothing that can be exported is there; the message says why.
        BadData: the run is damaged, or its data or the user's own cannot be used.
        GateFailed: an fp32 artifact does not agree with the eager model, or none is left; nothing is written.
    """
    with contextlib.closing(plan_of(thing, Asked.of(**said))) as plan:
        check_recipes(recipes)
        target = target_of(plan, out, name)
        if plan.missing:
            raise BadRequest(f"{plan.what} does not say all that an export needs; give {'; '.join(plan.missing)}")
        key = _key(plan, recipes, said.get("outputs"))
        before = _manifest(target)
        if before and before.get("provenance", {}).get("key") == key and not force and _is_whole(target):
            return Exported(target, before, reused=True)
        version = int(before["version"]) + 1 if before else 1
        with whole_folder(target) as folder:
            manifest = _build(plan, recipes, folder, {"name": target.name, "version": version, "key": key})
    return Exported(target, manifest, reused=False)


def target_of(plan: Plan, out: str | Path, name: str | None) -> Path:
    """Where the bundle goes.

    Raises:
        BadRequest: the name is none, or something else stands there.
    """
    name = plan.name if name is None else name
    if not name or name.startswith(".") or Path(name).name != name:
        raise BadRequest(f"{name!r} cannot name a bundle; give a plain folder name (--out says where it goes)")
    target = Path(out) / name
    if target.exists() and not (target / MANIFEST).is_file():
        raise BadRequest(f"{target} exists and is not a bundle; it stays as it is. Choose another --name or --out")
    return target


def parts_of(recipes: str) -> list[str]:
    """The names in a list with commas."""
    return [part.strip() for part in recipes.split(",") if part.strip()]


def check_recipes(recipes: str) -> None:
    """Refuses an unknown recipe before anything is read; what "auto" takes is decided later."""
    named = [part for part in parts_of(recipes) if part != "auto"]
    if named or "auto" not in parts_of(recipes):
        chosen(",".join(named))


def applicable(recipes: str, rows: Mapping[str, Recipe], engines: tuple[str, ...], why: str) -> dict[str, Recipe]:
    """The rows whose engine can run the source; one that was asked for by its own name is never dropped in silence."""
    kept = {name: row for name, row in rows.items() if row.engine in engines}
    dropped = [name for name in rows if name not in kept]
    if not kept or any(name in parts_of(recipes) for name in dropped):
        raise BadRequest(f"{', '.join(dropped)} cannot be made: {why}")
    if dropped:
        log.warning("not made: %s; %s", ", ".join(dropped), why)
    return kept


def _build(plan: Plan, recipes: str, folder: Path, head: Mapping[str, Any]) -> dict[str, Any]:
    """Lowers, judges and writes everything into `folder`; returns the manifest."""
    import torch

    from export.contract import InGraph, output_of
    from export.judge import JUDGED, judge
    from export.samples import golden_file, tensor_file, tensors

    assert plan.spec is not None
    if plan.spec.task not in JUDGED:
        raise BadRequest(f"{plan.what} is a {plan.spec.task} model; this version judges {', '.join(JUDGED)}")
    source = plan.load()
    recipes = ",".join(source.auto if part == "auto" else part for part in parts_of(recipes))
    spec = source.spec
    rows = applicable(
        recipes,
        chosen(recipes, source.model, spec),
        tuple(e for e in source.engines if e in plan.engines),
        source.why or plan.why,
    )
    eager = InGraph(source.model, spec).eval()
    samples = _samples(plan, source, eager)
    calibration = torch.from_numpy(tensors(spec, samples.calibration))
    artifacts = [_lower(recipe_id, row, source, calibration, folder) for recipe_id, row in rows.items()]
    golden_inputs = [golden_file(spec, given) or list(given) for given in samples.golden]
    reference = output_of(eager, torch.from_numpy(tensors(spec, golden_inputs))).numpy()
    golden_tensors = [tensor_file(spec, given) for given in golden_inputs]
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "name": head["name"],
        "version": head["version"],
        "needs_runtime": __version__,
        "spec": spec.to_dict(),
        "artifacts": artifacts,
        "golden": [
            _golden(number, *case, folder)
            for number, case in enumerate(zip(golden_inputs, golden_tensors, reference, strict=True))
        ],
        "left_out": [],
        "provenance": _provenance(plan, source, samples, str(head["key"])),
        "licences": dict(source.licences),
    }
    _write_manifest(folder, manifest)
    judge(folder, manifest, source, eager, samples)
    for artifact in artifacts:
        _refuse_bad_parity(artifact)
    _leave_out_failed(folder, manifest)
    from export.card import card

    (folder / "MODEL_CARD.md").write_text(card(manifest), encoding="utf-8")
    _write_manifest(folder, manifest)
    return manifest


def _samples(plan: Plan, source: Source, eager: Any) -> Any:
    """The run's own samples, or those of the user's data."""
    import torch

    from export.contract import output_of
    from export.samples import enough, of_examples, samples_of

    def act(row: Any) -> int:
        return int(output_of(eager, torch.tensor([list(row)])).argmax())

    if plan.data is None:
        return samples_of(source.spec, {key: source.metrics["data"][key] for key in ("name", "sha256")}, act)
    index = {label.id: number for number, label in enumerate(source.spec.labels)}
    train, test = ([(given, index[label]) for given, label in side] for side in (plan.data.train, plan.data.test))
    return enough(of_examples(source.spec, plan.data.name, plan.data.sha256, train, test))


def _lower(recipe_id: str, recipe: Recipe, source: Source, calibration: Any, folder: Path) -> dict[str, Any]:
    module, function = recipe.lower.split(":")
    lower: Callable[..., tuple[bytes, dict[str, Any]]] = getattr(importlib.import_module(module), function)
    log.info("lowering %s", recipe_id)
    data, details = lower(source.model, source.spec, calibration)
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


def _golden(
    number: int, given: bytes | list[float], tensor: bytes | None, reference: Any, folder: Path
) -> dict[str, Any]:
    """The case's entry; pictures are written beside. The artifacts' own outputs are added by `judge`."""
    case: dict[str, Any] = {
        "id": f"golden-{number}",
        "reference": [float(v) for v in reference],
        "outputs": {},
    }
    if tensor is not None:
        case["tensor"] = _written(folder, f"golden/{number}.tensor.png", tensor)
    if isinstance(given, bytes):
        return {**case, **_written(folder, f"golden/{number}.png", given)}
    return {**case, "input": given}


def _written(folder: Path, file: str, data: bytes) -> dict[str, Any]:
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_bytes(data)
    return {"file": file, "sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}


def _provenance(plan: Plan, source: Source, samples: Any, key: str) -> dict[str, Any]:
    metrics = source.metrics
    return {
        "key": key,
        "source": {"kind": plan.kind, "what": Path(plan.what).name},  # where it lies here is nobody's business
        "recipe": metrics.get("recipe"),
        "seed": metrics.get("seed"),
        "model_sha256": source.weights_sha256,
        "commit": {"training": metrics.get("commit"), "export": commit()},
        "data": {"name": samples.name, "sha256": samples.sha256, "skipped": len(samples.skipped)},
        "training": metrics.get("results", {}),
        "tools": {"lokma": __version__, **{tool: importlib.metadata.version(tool) for tool in TOOLS}},
    }


def _key(plan: Plan, recipes: str, outputs: Any) -> str:
    """Changes when anything does that the bundle depends on: weights, spec, data, recipes, tools or the code."""
    assert plan.spec is not None
    rooms = Path(__file__).parent.parent
    files = [*sorted((rooms / "export").glob("*.py")), *sorted((rooms / "train").glob("*.py"))]
    code = [sha256_of(path) for path in (*files, rooms / "edge_runtime" / "preprocess.py")]
    parts = {
        "source": [plan.kind, plan.content(), outputs],
        "spec": plan.spec.to_dict(),
        "data": plan.data.sha256 if plan.data else None,
        "recipes": "auto" if "auto" in parts_of(recipes) else sorted(chosen(recipes)),
        "tools": {tool: importlib.metadata.version(tool) for tool in TOOLS},
        "code": code,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _manifest(target: Path) -> dict[str, Any] | None:
    """What stands there, signed or not: its version counts on."""
    try:
        manifest = read_json((target / MANIFEST).read_bytes(), MANIFEST)
    except (OSError, LokmaError):
        return None
    return manifest if type(manifest.get("version")) is int else None


def _is_whole(target: Path) -> bool:
    try:
        bundle = open_bundle(target)
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
