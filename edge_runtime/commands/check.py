"""`lokma check`: hashes and golden cases; exit code 1 if one fails."""

from __future__ import annotations

import json
from pathlib import Path

from edge_runtime.arguments import parser_of
from edge_runtime.check import check
from edge_runtime.errors import GateFailed, one_line


def main(argv: list[str]) -> int:
    """Prints each check; raises GateFailed with the first that failed."""
    parser = parser_of("check", "Prove that a bundle answers here as it did where it was exported.")
    parser.add_argument("path", type=Path)
    args = parser.parse_args(argv)
    report = check(args.path)
    if args.json:
        print(json.dumps(report))
    else:
        for entry in report["checks"]:
            mark = {True: "ok", False: "FAILED", None: "-"}[entry["ok"]]
            print(f"{mark:<7} {entry['name']:<14} {one_line(entry['detail'])}")
    if not report["ok"]:
        failed = [f"{entry['name']}: {entry['detail']}" for entry in report["checks"] if entry["ok"] is False]
        why = failed[0] if failed else "no engine here can run any of its artifacts"
        raise GateFailed(f"{args.path} failed the check: {why}")
    return 0
