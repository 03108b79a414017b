"""From a model to a bundle: lower by each recipe, judge on real inputs, write whole or not at all.

>>> export("runs/digits", recipes="xnnpack-fp32").path                                  # doctest: +SKIP
PosixPath('bundles/digits')
>>> export(model, data="pictures", labels="cat,dog", input=96, mean=0.5, std=0.25)      # doctest: +SKIP
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_runtime.bundle import MANIFEST, open_bundle
from edge_runtime.errors import BadBundle, BadRequest, LokmaError
from edge_runtime.spec import read_json
from edge_runtime.store import sha256_of
from edge_runtime.writing import whole_folder
from export.asked import Asked
from export.build import build, source_of
from export.exported import Exported
from export.lowering import TOOLS
from export.recipes import DEFAULT, check_recipes, chosen, parts_of
from export.sources import Plan, plan_of
from export.terms import MAX_DROP, Terms

log = logging.getLogger(__name__)


def export(
    thing: Any,
    recipes: str = DEFAULT,
    out: str | Path = "bundles",
    name: str | None = None,
    force: bool = False,
    max_drop: float = MAX_DROP,
    unlabelled: Any = (),
    keep_failed: bool = False,
    boards: bool = False,
    **said: Any,
) -> Exported:
    """Exports a model to `out/NAME`.

    Args:
        thing: a run's folder, `file.py:function`, `torchvision:NAME`, a `.pt2`, an `.onnx`, or a `torch.nn.Module`.
        recipes: names joined by commas, or "auto" (what fits the model's operators), "main", "all".
        out: where bundles lie.
        name: the bundle's; None takes the thing's.
        force: export again even if nothing has changed.
        max_drop: points of accuracy that a quantized artifact may lose against fp32 and still pass.
        unlabelled: folders of more real pictures, which judge by how many answers change.
        keep_failed: leave an artifact whose accuracy verdict is *fail* in the bundle, marked.
        boards: ask emulated Raspberry Pis too: minutes for pictures of 224 px.
        **said: what the thing does not say itself: the fields of `export.asked.Asked`, such as `data` and `labels`.

    Raises:
        BadRequest: an unknown recipe or option, something that must be said and was not, a folder that cannot be
            written, or one that holds something else.
        BadInput: nothing that can be exported is there; the message says why.
        BadData: the run is damaged, or its data or the user's own cannot be used.
        GateFailed: an fp32 artifact does not agree with the eager model, or none is left; nothing is written.
        Missing: `boards` was asked for, and what emulates them is not here.
    """
    if boards:
        from export.boards import require

        require()
    terms = Terms.of(max_drop, unlabelled, keep_failed)
    with contextlib.closing(plan_of(thing, Asked.of(**said))) as plan:
        check_recipes(recipes)
        target = target_of(plan, out, name)
        if plan.missing:
            raise BadRequest(f"{plan.what} does not say all that an export needs; give {'; '.join(plan.missing)}")
        key = _key(plan, recipes, said.get("outputs"), terms, boards)
        before = _manifest(target)
        if before and before.get("provenance", {}).get("key") == key and not force and _is_whole(target):
            return Exported(target, before, reused=True)
        _warn_of_another(target, before, plan)
        version = int(before["version"]) + 1 if before else 1
        with whole_folder(target) as folder:
            head = {"name": target.name, "version": version, "key": key}
            manifest = build(plan, recipes, folder, head, terms, boards, force)
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


def _key(plan: Plan, recipes: str, outputs: Any, terms: Terms, boards: bool) -> str:
    """Changes when anything does that the bundle depends on: weights, spec, data, recipes, terms, tools or code."""
    assert plan.spec is not None
    rooms = Path(__file__).parent.parent
    files = [*sorted((rooms / "export").glob("*.py")), *sorted((rooms / "train").glob("*.py"))]
    code = [sha256_of(path) for path in (*files, rooms / "edge_runtime" / "preprocess.py")]
    parts = {
        "source": [plan.kind, plan.content(), outputs],
        "spec": plan.spec.to_dict(),
        "data": plan.data.sha256 if plan.data else None,
        "recipes": "auto" if "auto" in parts_of(recipes) else sorted(chosen(recipes)),
        "terms": terms.plain(),
        "boards": boards,
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


def _warn_of_another(target: Path, before: Mapping[str, Any] | None, plan: Plan) -> None:
    """Says so before the first minute is spent, where the bundle of another model is about to be replaced."""
    source = (before or {}).get("provenance", {}).get("source", {})
    if before and source and source != source_of(plan):
        what = f"{target} (version {before['version']}) was made of {source.get('what')}, and will be replaced"
        log.warning("%s once this export is whole; --name keeps both", what)


def _is_whole(target: Path) -> bool:
    try:
        bundle = open_bundle(target)
        for artifact in bundle.artifacts:
            bundle.content(artifact)
    except BadBundle:
        return False
    return True
