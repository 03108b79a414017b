"""Work on the records: `python -m benchmarks.results compact [FOLDER]`, `… sql QUERY`, `… crash`, `… speed`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from benchmarks.results import compact, crash, journal, speed, store
from edge_runtime.errors import LokmaError


def main(argv: list[str]) -> int:
    """Parses, calls one function, prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description="Work on the records.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("compact", help="turn fresh lines into Parquet")
    verb.add_argument("place", type=Path, nargs="?", help="a folder (LOKMA_RESULTS, else results)")
    verb = verbs.add_parser("sql", help="ask the view `records`; one object a line")
    verb.add_argument("query", help="such as \"SELECT bundle, artifact, p50_ns FROM records WHERE kind = 'bench'\"")
    verb = verbs.add_parser("crash", help="append from processes that are killed, and count what is lost")
    verb.add_argument("--appends", type=int, default=10_000, help="acknowledged ones (10000)")
    verb.add_argument("--processes", type=int, default=8, help="at once (8)")
    verb = verbs.add_parser("speed", help="time the main table over many records; appends what was measured")
    verb.add_argument("--fresh", type=int, default=20_000, help="records of 10 kB in JSONL (20000)")
    verb.add_argument("--compacted", type=int, default=1_000_000, help="records in Parquet (1000000)")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        return _run(args)
    except LokmaError as error:
        sys.stderr.write(f"benchmarks.results: {error}\n")
        return error.exit_code


def _run(args: argparse.Namespace) -> int:
    if args.verb == "compact":
        done = compact.compact(args.place or journal.folder())
        sys.stdout.write(f"{done.records} records of {done.files} files compacted, {done.rest} other lines kept\n")
    elif args.verb == "sql":
        for row in store.connect().sql(args.query):
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
    elif args.verb == "crash":
        found = crash.crash(args.appends, args.processes)
        sys.stdout.write(f"{found}\n")
        return 0 if found.holds else 1
    else:
        rows = speed.rows(args.fresh, args.compacted)
        sys.stdout.writelines(f"{speed.said(row)}\n" for row in rows)
        return 0 if all(row["holds"] for row in rows) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
