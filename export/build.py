"""Fills a bundle's folder: lower by each recipe, judge on real inputs, leave out what failed, describe.

`export.export` decides whether that is needed and makes the folder appear whole or not at all.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_runtime import __version__
from edge_runtime.bundle import MANIFEST, SCHEMA_VERSION
from edge_runtime.errors import BadRequest, GateFailed
from export.lowering import TOOLS, entry, lower_all
from export.recipes import RECIPES, Job, Recipe, chosen, parts_of
from export.sources import Plan, Source
from export.terms import Terms
from train.provenance import commit

log = logging.getLogger(__name__)
PROBES = 32  # real inputs that the parity ladder runs on


def build(
    plan: Plan,
    recipes: str,
    folder: Path,
    head: Mapping[str, Any],
    terms: Terms,
    boards: bool = False,
    fresh: bool = False,
) -> dict[str, Any]:
    """Lowers, judges and writes everything into `folder`; returns the manifest.

    Args:
        plan: what is exported.
        recipes: names joined by commas, or "auto", "main", "all".
        folder: an empty one.
        head: the bundle's name, version and key.
        terms: on which quantized artifacts are judged.
        boards: asks the emulated Raspberry Pis too.
        fresh: lowers also what the cache holds.
    """
    import torch

    from export.contract import InGraph, output_of
    from export.judge import JUDGED, judge
    from export.ladder import climb
    from export.mixed import mend, replaced
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
    samples = _samples(plan, source, eager, terms)
    calibration = torch.from_numpy(tensors(spec, samples.calibration))
    probe = torch.from_numpy(tensors(spec, (samples.evaluation or samples.calibration)[:PROBES]))
    jobs = {recipe: Job(source.model, spec, calibration, probe) for recipe in rows}
    lower = functools.partial(lower_all, fresh=fresh)
    lowered = lower(jobs)
    artifacts = [entry(recipe, found, folder) for recipe, found in lowered.items()]
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
        "provenance": _provenance(plan, source, samples, str(head["key"]), terms),
        "licences": dict(source.licences),
    }
    _write_manifest(folder, manifest)
    judge(folder, manifest, source, eager, samples, terms.max_drop)
    if mended := mend(jobs, lowered, artifacts, samples, lower):
        lowered |= mended
        for artifact in artifacts:
            if artifact["id"] in mended:
                replaced(artifact, mended[artifact["id"]], folder)
        _write_manifest(folder, manifest)
        judge(folder, manifest, source, eager, samples, terms.max_drop, mended)
    climb(folder, manifest, jobs, lowered, boards)
    for artifact in artifacts:
        _refuse_bad_parity(artifact)
    if not terms.keep_failed:
        _leave_out_failed(folder, manifest)
    if boards:
        from export.instructions import instructions

        instructions(folder, manifest)
    from export.card import card

    (folder / "MODEL_CARD.md").write_text(card(manifest), encoding="utf-8")
    _write_manifest(folder, manifest)
    return manifest


def applicable(recipes: str, rows: Mapping[str, Recipe], engines: tuple[str, ...], why: str) -> dict[str, Recipe]:
    """The rows whose engine can run the source, and the fp32 rows that the quantized ones are judged against.

    One that was asked for by its own name is never dropped in silence.
    """
    kept = {name: row for name, row in rows.items() if row.engine in engines}
    dropped = [name for name in rows if name not in kept]
    if not kept or any(name in parts_of(recipes) for name in dropped):
        raise BadRequest(f"{', '.join(dropped)} cannot be made: {why}")
    if dropped:
        log.warning("not made: %s; %s", ", ".join(dropped), why)
    engines_kept = {row.engine for row in kept.values()}
    wanted = {name for name, row in RECIPES.items() if row.precision == "fp32" and row.engine in engines_kept}
    if more := sorted(wanted - set(kept)):
        log.info("made too: %s; without it nothing says what quantizing costs", ", ".join(more))
    return {name: row for name, row in RECIPES.items() if name in kept or name in wanted}


def _samples(plan: Plan, source: Source, eager: Any, terms: Terms) -> Any:
    """The run's own samples, or those of the user's data."""
    import torch

    from export.contract import output_of
    from export.samples import enough, of_examples, samples_of

    def act(row: Any) -> int:
        return int(output_of(eager, torch.tensor([list(row)])).argmax())

    if plan.data is None:
        data = {key: source.metrics["data"][key] for key in ("name", "sha256")}
        return samples_of(source.spec, data, act, terms)
    index = {label.id: number for number, label in enumerate(source.spec.labels)}
    train, test = ([(given, index[label]) for given, label in side] for side in (plan.data.train, plan.data.test))
    return enough(of_examples(source.spec, plan.data.name, plan.data.sha256, train, test, terms))


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


def source_of(plan: Plan) -> dict[str, str]:
    """What the bundle says that it was made of; where that lies here is nobody's business."""
    return {"kind": plan.kind, "what": Path(plan.what).name}


def _provenance(plan: Plan, source: Source, samples: Any, key: str, terms: Terms) -> dict[str, Any]:
    metrics = source.metrics
    return {
        "key": key,
        "source": source_of(plan),
        "recipe": metrics.get("recipe"),
        "seed": metrics.get("seed"),
        "model_sha256": source.weights_sha256,
        "commit": {"training": metrics.get("commit"), "export": commit()},
        "data": {"name": samples.name, "sha256": samples.sha256, "skipped": len(samples.skipped)},
        "unlabelled": {"n": len(samples.unlabelled), "sha256": terms.sha256, "left_out": dict(samples.dropped)},
        "training": metrics.get("results", {}),
        "tools": {"lokma": __version__, **{tool: importlib.metadata.version(tool) for tool in TOOLS}},
    }


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
