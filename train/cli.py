"""`lokma train`: parse, call `train.train`, print."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_runtime.arguments import Parser
from edge_runtime.errors import BadData, BadInput
from train.recipes import RECIPES
from train.run import Run, check_run

SHOWN = 4  # numbers of a run in the list


def main(argv: list[str]) -> int:
    """Runs `lokma train`."""
    if "--list" in argv:
        _print_list("--json" in argv)
        return 0
    recipe = argv[0] if argv and not argv[0].startswith("-") else None
    parser = _parser(recipe)
    args = vars(parser.parse_args(argv))
    as_json, name = args.pop("json"), args.pop("recipe")
    if os.environ.get("RANK", "0") != "0":  # torchrun's: one process speaks for all
        from train.training import train

        train(name, **args)
        return 0
    logging.getLogger("train").setLevel(logging.INFO)
    handler = logging.StreamHandler(sys.stderr if as_json else sys.stdout)
    logging.getLogger("train").addHandler(handler)
    progress = Progress(sys.stderr if as_json else sys.stdout)
    try:
        from train.training import train

        run = train(name, watch=progress, **args)
    finally:
        progress.close()
        logging.getLogger("train").removeHandler(handler)
    _print_run(run, as_json)
    return 0


class Progress:
    """Shows the rows of a history as they come: one changing line on a terminal, ten lines elsewhere."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.tenth, self.open = stream, -1, False

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Shows a row's single numbers; intervals and lists stand in the run's files."""
        done, total = next(((row[a], row[b]) for a, b in (("epoch", "epochs"), ("step", "steps")) if a in row), (1, 1))
        numbers = "  ".join(
            f"{k} {v:.4g}" for k, v in row.items() if k not in ("epochs", "steps") and isinstance(v, int | float)
        )
        if self.stream.isatty():
            self.open = True
            print(f"\r\x1b[K{'█' * (20 * done // total):<20}  {numbers}", end="", file=self.stream, flush=True)
        elif 10 * done // total != self.tenth or done == total:
            self.tenth = 10 * done // total
            print(numbers, file=self.stream, flush=True)

    def close(self) -> None:
        """Ends the changing line."""
        if self.open:
            print(file=self.stream)


def _parser(recipe: str | None) -> Parser:
    listed = "\n".join(f"  {name:<20} {row.summary}" for name, row in sorted(RECIPES.items()))
    parser = Parser(
        prog=f"lokma train {recipe}" if recipe in RECIPES else "lokma train",
        description=RECIPES[recipe].summary if recipe in RECIPES else "Train a model by a recipe.",
        epilog=f"recipes:\n{listed}\n\n`lokma train RECIPE --help` shows a recipe's own arguments.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a name from the list below")
    parser.add_argument(
        "--list", action="store_true", default=argparse.SUPPRESS, help="show recipes and expected results"
    )
    parser.add_argument("--name", help="the run's name (default: the recipe's own)")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="where runs lie (runs)")
    parser.add_argument("--force", action="store_true", help="train again and replace the run that stands there")
    parser.add_argument(
        "--checkpoint-s", type=float, default=10.0, metavar="N",
        help="seconds between checkpoints; cut off, the same command goes on from the last (10)",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|mps", help="where to compute (auto)")
    parser.add_argument(
        "--precision", default="32-true", metavar="32-true|bf16-mixed|16-mixed", help="of the numbers (32-true)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")
    if recipe is not None:
        _add_options(parser, recipe)
    return parser


def _add_options(parser: Parser, recipe: str) -> None:
    from train.training import recipe_module

    own = parser.add_argument_group("this recipe's arguments")
    for field in dataclasses.fields(recipe_module(recipe).Args):
        about = field.metadata
        default = "the recipe's choice" if field.default in (None, "") else field.default
        own.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=about["kind"],
            default=argparse.SUPPRESS,  # what is not given is the recipe's to choose
            metavar="|".join(about["choices"]) or ("TEXT" if about["kind"] is str else "N"),
            help=f"{about['help']} ({default})".replace("%", "%%"),
        )


def _print_list(as_json: bool) -> None:
    for name, recipe in sorted(RECIPES.items()):
        reached = _reached(Path("runs") / recipe.run)
        if as_json:
            print(json.dumps({"recipe": name, **dataclasses.asdict(recipe), "reached": reached}))
            continue
        print(f"{name:<20} {recipe.summary}")
        print(f"{'':<20} expect {recipe.expected}; takes {recipe.takes}")
        if reached is not None:
            said = ", ".join(f"{key} {value:.4g}" for key, value in list(reached.items())[:SHOWN])
            print(f"{'':<20} runs/{recipe.run} reached {said}")


def _reached(path: Path) -> dict[str, float] | None:
    """The numbers of the run that lies there; None where none does, or it is damaged."""
    try:
        results = check_run(path)["results"]
    except (BadInput, BadData):
        return None
    return {key: value for key, value in results.items() if type(value) in (int, float)}


def _print_run(run: Run, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"run": str(run.path), "reused": run.reused, **run.metrics}, ensure_ascii=False))
        return
    for name, value in run.metrics["results"].items():
        print(f"{name:<14} {value:.4f}" if isinstance(value, float) else f"{name:<14} {value}")
    if not run.reused:
        print(f"trained in {run.metrics['seconds']:.0f} s")
    print(f"{run.path}; next: lokma export {run.path}")
