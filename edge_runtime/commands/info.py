"""`lokma info`: what a bundle or a bare artifact is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edge_runtime.arguments import parser_of
from edge_runtime.bundle import open_bundle
from edge_runtime.errors import one_line
from edge_runtime.predictor import is_bare, load


def main(argv: list[str]) -> int:
    """Prints what is known of a bundle or a bare artifact."""
    parser = parser_of("info", "Describe a bundle folder, its .zip, or a bare .onnx or .pte.")
    parser.add_argument("path")
    args = parser.parse_args(argv)
    if is_bare(Path(args.path)):
        spec = load(args.path).spec
        manifest: Any = {"name": spec.name, "spec": spec.to_dict(), "artifacts": []}
    else:
        bundle = open_bundle(args.path)
        spec, manifest = bundle.spec, bundle.manifest
    if args.json:
        print(json.dumps(manifest))
        return 0
    labels = ", ".join(label.id for label in spec.labels[:12])
    print(f"{manifest['name']}: {spec.task}, {labels or 'no labels'}")
    if spec.unsure_below is not None:
        print(f"  not sure where the best label has less than {spec.unsure_below:.1%}")
    for artifact in manifest["artifacts"]:
        accuracy = artifact.get("accuracy")
        measured = one_line(str(accuracy.get("text", ""))) if isinstance(accuracy, dict) else ""
        size = f"{artifact['size_bytes'] / 1e6:7.2f} MB"
        print(f"  {artifact['id']:<14} {size}  {artifact['engine']:<12} {measured}".rstrip())
    return 0
