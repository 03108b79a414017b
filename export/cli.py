"""`lokma export THING`: a thin skin over `export.export`."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from edge_runtime.arguments import Parser
from edge_runtime.commands import show
from edge_runtime.errors import BadRequest
from edge_runtime.spec import FILTERS
from export.asked import OUTPUTS
from export.dry_run import planned, text_of
from export.export import export
from export.recipes import DEFAULT, RECIPES
from export.sources import SOURCES
from export.terms import MAX_DROP

SAID = ("data", "labels", "input", "weights", "mean", "std", "resize", "filter", "outputs", "target")


def main(argv: list[str]) -> int:
    """Parses, exports, prints one line an artifact; or verifies a bundle, and prints one line a check."""
    args = _parser().parse_args(argv)
    if not args.json:
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        logging.getLogger("export").setLevel(logging.INFO)
    # torchao 0.18 registers an enum in a way that torch 2.14 calls deprecated: nothing a user can act on
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    if args.verify:
        from export.verify import verify

        report = verify(args.verify, args.data, args.boards, args.target)
        show(report, args.json)
        return 0 if report["ok"] else 1
    if args.thing is None:
        raise BadRequest("say what to export, or give --verify BUNDLE; `lokma export --help` lists the kinds")
    said = {name: getattr(args, name) for name in SAID if getattr(args, name) is not None}
    terms = {
        "max_drop": args.max_drop,
        "unlabelled": args.unlabelled,
        "keep_failed": args.keep_failed,
        "boards": args.boards,
    }
    if args.dry_run:
        plan = planned(args.thing, args.recipes, args.out, args.name, **terms, **said)
        print(json.dumps(plan, ensure_ascii=False) if args.json else text_of(plan))
        return 2 if plan["missing"] else 0
    exported = export(args.thing, args.recipes, args.out, args.name, args.force, **terms, **said)
    print(json.dumps(exported.manifest, ensure_ascii=False) if args.json else exported)
    failed = any(
        (artifact["verdict"] or {}).get("accuracy", {}).get("answer") == "fail"
        for artifact in exported.manifest["artifacts"]
    )
    return 1 if failed or exported.manifest.get("left_out") else 0


def _parser() -> Parser:
    kinds = "\n".join(f"  {row.form}" for row in SOURCES)
    parser = Parser(
        prog="lokma export",
        description="Quantize and lower a model into a bundle, and judge it on real data.",
        epilog=f"THING is one of\n{kinds}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("thing", metavar="THING", nargs="?", help="what to export; the kinds are listed below")
    parser.add_argument(
        "--recipes",
        default=DEFAULT,
        help=f"{DEFAULT} (what fits the model's operators), main, all, or names joined by commas: {', '.join(RECIPES)}",
    )
    parser.add_argument("--out", type=Path, default=Path("bundles"), help="where bundles lie (bundles)")
    parser.add_argument("--name", help="the bundle's name (the thing's)")
    parser.add_argument("--force", action="store_true", help="export again even if nothing has changed")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done and what is missing")
    parser.add_argument("--json", action="store_true", help="print the manifest, or the plan, as JSON")
    ladder = parser.add_argument_group("how answers are compared step by step")
    ladder.add_argument(
        "--verify", metavar="BUNDLE", help="compare a bundle's artifacts again, on --data or its own cases"
    )
    ladder.add_argument(
        "--boards", action="store_true", help="also on emulated Raspberry Pis 3, 4 and 5: takes minutes"
    )
    judged = parser.add_argument_group("on what terms quantized artifacts are judged")
    judged.add_argument(
        "--max-drop", type=float, default=MAX_DROP, metavar="POINTS", help="accuracy that int8 may lose (1)"
    )
    judged.add_argument(
        "--unlabelled",
        action="append",
        default=[],
        metavar="FOLDER",
        help="more real pictures, labels ignored: how many answers change on them counts too; may be repeated",
    )
    judged.add_argument("--keep-failed", action="store_true", help="an artifact that fails stays in the bundle, marked")
    more = parser.add_argument_group("what a run says itself and anything else may have to be told")
    more.add_argument("--data", metavar="PATH", help="a folder train|test/LABEL/… or LABEL/…, or a .csv")
    more.add_argument("--target", metavar="COLUMN", help="the column of the .csv that holds the label")
    more.add_argument("--labels", metavar="A,B,C", help="the names of the outputs, in the model's order")
    more.add_argument("--weights", metavar="FILE", help="a state dict for torchvision:NAME (.pth or .safetensors)")
    more.add_argument("--input", type=int, metavar="N", help="the side of the picture that the model takes, px")
    more.add_argument("--resize", type=int, metavar="N", help="the short side before the crop, px (the input's)")
    more.add_argument("--filter", choices=FILTERS, help="how pictures are resized (bilinear)")
    more.add_argument("--mean", metavar="R,G,B", help="subtracted from pixels of 0 to 1, or from columns")
    more.add_argument("--std", metavar="R,G,B", help="what they are divided by")
    more.add_argument("--outputs", choices=OUTPUTS, help="what the model gives, where its last operator hides it")
    return parser
