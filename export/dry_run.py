"""`lokma export THING --dry-run`: what would be done, and what must be said first. Nothing is written."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_runtime.spec import ModelSpec
from export.asked import Asked
from export.build import applicable
from export.export import target_of
from export.recipes import DEFAULT, advice, check_recipes, chosen, parts_of
from export.sources import Plan, plan_of
from export.terms import MAX_DROP, Terms

READ = ("run", "exported program", "onnx", "module")  # to read another kind runs her code, or fetches weights


def planned(
    thing: Any,
    recipes: str = DEFAULT,
    out: str | Path = "bundles",
    name: str | None = None,
    max_drop: float = MAX_DROP,
    unlabelled: Any = (),
    keep_failed: bool = False,
    boards: bool = False,
    **said: Any,
) -> dict[str, Any]:
    """What `export` would do with the same arguments, as plain data; runs no user's code and fetches nothing."""
    if boards:
        from export.boards import require

        require()
    terms = Terms.of(max_drop, unlabelled, keep_failed)
    with contextlib.closing(plan_of(thing, Asked.of(**said))) as plan:
        check_recipes(recipes)
        data = plan.data
        sides = None if data is None else {"name": data.name, "train": len(data.train), "test": len(data.test)}
        return {
            "source": {"kind": plan.kind, "what": plan.what},
            "bundle": str(target_of(plan, out, name)),
            "spec": plan.spec.to_dict() if plan.spec else None,
            "recipes": _recipes(plan, recipes),
            "data": sides or ("the run's own" if plan.kind == "run" else None),
            "terms": {
                "max_drop": max_drop,
                "unlabelled": len(terms.unlabelled),
                "keep_failed": keep_failed,
                "boards": boards,
            },
            "missing": list(plan.missing),
        }


def _recipes(plan: Plan, recipes: str) -> dict[str, str | None]:
    """Each recipe that would be taken, and why where auto takes it; None where the names say it all."""
    parts = parts_of(recipes)
    if "auto" not in parts:
        return dict.fromkeys(applicable(recipes, chosen(recipes), plan.engines, plan.why))
    named = dict.fromkeys(chosen(",".join(part for part in parts if part != "auto"))) if len(set(parts)) > 1 else {}
    if plan.missing or plan.kind not in READ:
        return {**named, "auto": "chosen once the model is read"}
    source = plan.load()
    if source.auto != "auto":
        return {**named, **dict.fromkeys(chosen(source.auto))}
    return {**named, **advice(source.model, source.spec)}


def text_of(plan: Mapping[str, Any]) -> str:
    """The plan as lines to read."""
    data = plan["data"]
    if isinstance(data, dict):
        data = f"{data['name']}: {data['train']} inputs to calibrate on, {data['test']} to judge by"
    lines = [
        f"source   {plan['source']['kind']}: {plan['source']['what']}",
        f"bundle   {plan['bundle']}",
        *(_spec_lines(ModelSpec.from_dict(plan["spec"])) if plan["spec"] else ["spec     not known yet"]),
        *_recipe_lines(plan["recipes"]),
        f"data     {data or 'none'}",
        f"terms    {_terms(**plan['terms'])}",
        *(f"missing  {ask}" for ask in plan["missing"]),
    ]
    return "\n".join(lines)


def _recipe_lines(recipes: Mapping[str, str | None]) -> list[str]:
    told = [f"{name}: {why}" for name, why in recipes.items() if why]
    plain = [name for name, why in recipes.items() if not why]
    return [f"recipes  {line}" for line in ([", ".join(plain)] if plain else []) + told]


def _spec_lines(spec: ModelSpec) -> list[str]:
    labels = ", ".join(label.id for label in spec.labels[:10]) + (", …" if len(spec.labels) > 10 else "")
    given = spec.inputs[0]
    lines = [f"spec     {spec.task}, {len(spec.labels)} labels: {labels}", f"input    {given.dtype} {given.shape}"]
    if spec.image:
        image = spec.image
        lines.append(f"picture  short side to {image.resize} px ({image.filter}), the middle {image.crop} px")
    if spec.normalise:
        lines.append(f"inside   (x - {_short(spec.normalise.mean)}) / {_short(spec.normalise.std)}")
    return lines


def _terms(max_drop: float, unlabelled: int, keep_failed: bool, boards: bool) -> str:
    said = [f"int8 may lose {max_drop:g} {'point' if max_drop == 1 else 'points'}"]
    said += [f"{unlabelled} pictures without labels judge too"] if unlabelled else []
    said += ["what fails stays in"] if keep_failed else []
    return "; ".join([*said, *(["emulated boards are asked too"] if boards else [])])


def _short(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values[:4]) + (", …)" if len(values) > 4 else ")")
