"""`lokma check`: hashes, golden cases and, with `--data`, the accuracy; exit code 1 if one fails."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.arguments import parser_of
from edge_runtime.check import check
from edge_runtime.commands import progress, show
from edge_runtime.errors import GateFailed


def main(argv: list[str]) -> int:
    """Prints each check; raises GateFailed with the first that failed."""
    parser = parser_of("check", "Prove that a bundle answers here as it did where it was exported.")
    parser.add_argument("path", help="a bundle folder, its .zip, or the name of an installed one")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="measure the accuracy again: pictures as LABEL/… or train|test/LABEL/… (the test side), "
        "or a .csv with the model's columns and one for the labels",
    )
    args = parser.parse_args(argv)
    with progress("edge_runtime.check"):
        report = check(args.path, args.data)
    show(report, args.json)
    if not report["ok"]:
        failed = [f"{entry['name']}: {entry['detail']}" for entry in report["checks"] if entry["ok"] is False]
        raise GateFailed(f"{args.path} failed the check: {failed[0]}")
    return 0
