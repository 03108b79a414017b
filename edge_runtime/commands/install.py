"""`lokma install`: the device store, here or on another machine over ssh."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edge_runtime import store
from edge_runtime.arguments import Parser, parser_of
from edge_runtime.commands import progress
from edge_runtime.errors import BadBundle, BadRequest, one_line


def main(argv: list[str]) -> int:
    """Installs, lists or goes back; on another machine it returns the exit code of the lokma there."""
    parser = _parser()
    args = parser.parse_args(argv)
    if [args.bundle is not None, args.list, args.rollback is not None].count(True) != 1:
        raise BadRequest("give one of BUNDLE, --list and --rollback NAME; lokma install --help says more")
    if args.wheel and not args.on:
        raise BadRequest("--wheel goes with --on HOST; here lokma is installed already")
    if args.on:
        return _there(args)
    if args.list:
        return _list(args.json)
    from edge_runtime import install

    if args.rollback:
        done = install.rollback(args.rollback)
        return _say(args.json, {**_row(done), "changed": True}, f"{done.name} {done.active} is active again")
    with progress("edge_runtime.install"), progress("edge_runtime.tune"):
        outcome = install.install(args.bundle, tune=not args.no_tune)
    done = outcome.installed
    answer = {**_row(done), "changed": outcome.changed, "checks": outcome.checks, "tuned": outcome.tuned}
    if not outcome.changed:
        return _say(args.json, answer, f"{done.name} {done.active} is already active")
    before = "" if done.previous is None else f" (before: {done.previous})"
    text = f"{done.name} {done.active} is active{before}; tuned: {outcome.tuned}\ntry: lokma run {done.name} INPUT"
    return _say(args.json, answer, text)


def _parser() -> Parser:
    parser = parser_of("install", "Install a bundle on this device or, with --on, on another: check, tune, activate.")
    parser.add_argument("bundle", nargs="?", metavar="BUNDLE", help="a bundle folder or its .zip")
    parser.add_argument("--list", action="store_true", help="list what is installed")
    parser.add_argument("--rollback", metavar="NAME", help="make the version before the active one active again")
    parser.add_argument("--no-tune", action="store_true", help="do not measure which artifact is fastest")
    parser.add_argument("--on", metavar="USER@HOST", help="do it there, over ssh")
    parser.add_argument("--wheel", type=Path, help="with --on: put this wheel of lokma into ~/.lokma/venv there first")
    return parser


def _there(args: Any) -> int:
    from edge_runtime import remote

    flags = ["--json"] * args.json + ["--no-tune"] * args.no_tune
    with progress("edge_runtime.remote"):
        if args.bundle is not None:
            return remote.install_on(args.on, args.bundle, flags, args.wheel)
        what = ["--list"] if args.list else ["--rollback", args.rollback]
        return remote.lokma_on(args.on, ["install", *what, *flags], args.wheel)


def _list(as_json: bool) -> int:
    rows: list[dict[str, Any]] = []
    for name in store.installed_names():
        try:
            found = store.installed(name)
            if found is not None:
                rows.append(_row(found))
        except BadBundle as error:
            rows.append({"name": name, "error": str(error)})
    lines = [row.get("error") or f"{row['name']:<24} {row['active']:>6} {row['previous'] or '-':>6}" for row in rows]
    header = f"{'bundle':<24} {'active':>6} {'before':>6}"
    return _say(as_json, {"installed": rows}, "\n".join(map(one_line, [header, *lines] if rows else ["nothing yet"])))


def _row(found: store.Installed) -> dict[str, Any]:
    return {"name": found.name, "active": found.active, "previous": found.previous, "path": str(found.folder)}


def _say(as_json: bool, answer: dict[str, Any], text: str) -> int:
    print(json.dumps(answer) if as_json else text)
    return 0
