"""`lokma export RUN`: a thin skin over `export.export`."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from edge_runtime.arguments import Parser
from export.export import export
from export.recipes import RECIPES


def main(argv: list[str]) -> int:
    """Parses, exports, prints one line an artifact."""
    parser = Parser(prog="lokma export", description="Quantize and lower a run into a bundle.")
    parser.add_argument("run", type=Path, help="a folder that `lokma train` wrote")
    parser.add_argument("--recipes", default="all", help=f"names joined by commas; all: {', '.join(RECIPES)}")
    parser.add_argument("--out", type=Path, default=Path("bundles"), help="where bundles lie (bundles)")
    parser.add_argument("--name", help="the bundle's name (the run's)")
    parser.add_argument("--force", action="store_true", help="export again even if nothing has changed")
    parser.add_argument("--json", action="store_true", help="print the manifest as JSON")
    args = parser.parse_args(argv)
    if not args.json:
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        logging.getLogger("export").setLevel(logging.INFO)
    # torchao 0.18 registers an enum in a way that torch 2.14 calls deprecated: nothing a user can act on
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    exported = export(args.run, args.recipes, args.out, args.name, args.force)
    left_out = exported.manifest.get("left_out", [])
    if args.json:
        print(json.dumps(exported.manifest, ensure_ascii=False))
        return 1 if left_out else 0
    state = "nothing has changed, reused" if exported.reused else "written"
    print(f"{exported.path} (version {exported.manifest['version']}, {state})")
    for artifact in exported.manifest["artifacts"]:
        verdict = artifact["verdict"] or {}
        words = "; ".join(f"{kind}: {said['answer']} ({said['reason']})" for kind, said in verdict.items())
        print(f"  {artifact['id']:<13} {artifact['size_bytes'] / 1e6:6.2f} MB  {artifact['accuracy']['text']}  {words}")
    for entry in left_out:
        print(f"  {entry['id']:<13} left out: accuracy: fail ({entry['reason']})")
    return 1 if left_out else 0
