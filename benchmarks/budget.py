"""What every budget and study does with its rows: a parser, a line for each, a record, and the exit code.

A row says `name, value, bound, holds, n, note` (`benchmarks.paired.row`); `holds` is None while it cannot be told. A
command of rows is then short:

```
def main(argv):
    args = budget.parser("phone_budget", __doc__, GROUPS).parse_args(argv)
    return budget.answered("phone_budget", lambda: budget.show(measured(budget.chosen(args.only, GROUPS)), args.json))
```
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from benchmarks import results
from benchmarks.environment import host
from benchmarks.paired import Row
from benchmarks.report import mark
from edge_runtime.errors import BadRequest, LokmaError
from train.provenance import commit


def parser(name: str, doc: str | None, groups: Collection[str] = (), what: str = "GROUP") -> argparse.ArgumentParser:
    """The parser of `python -m benchmarks.NAME`: `--json`, and `--only` where there are groups to choose from."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=(doc or "").splitlines()[0])
    made.add_argument("--json", action="store_true", help="one object a line")
    if groups:
        made.add_argument("--only", metavar=what, help=f"only some, joined by commas: {', '.join(groups)}")
    return made


def chosen(only: str | None, known: Collection[str], what: str = "group") -> list[str]:
    """The names that `--only` asks for, all where it is not given.

    Raises:
        BadRequest: a name is not known.
    """
    names = [name.strip() for name in only.split(",")] if only else list(known)
    if unknown := sorted(set(names) - set(known)):
        raise BadRequest(f"there is no {what} {', '.join(unknown)}; known: {', '.join(known)}")
    return names


def line(row: Row) -> str:
    """A row as it is printed."""
    value = "-" if row["value"] is None else f"{row['value']:.4g}"
    bound = "" if row["bound"] is None else f"bound {row['bound']:g}, "
    return f"{mark(row):<12} {row['name']:<64} {value:>9}  ({bound}n {row['n']}) {row['note']}".rstrip()


def show(rows: Iterable[Row], as_json: bool = False) -> bool:
    """Prints each row as it comes; True where all hold."""
    holds = []
    for row in rows:
        print(json.dumps(row) if as_json else line(row), flush=True)
        holds.append(bool(row["holds"]))
    return all(holds)


def record(scenario: Mapping[str, Any], rows: Sequence[Row], flags: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    """The record of a group of rows; the rows that cannot be told are among its flags.

    Args:
        scenario: `budget`, and whatever tells this record from the next: `group`, `run`.
        rows: what was found.
        flags: why the machine was not fit to be measured on.
        more: other fields, and what replaces the ones here: `kind`, `bundle`, `samples`, `notes`.
    """
    doubts = [*flags, *(row["name"] for row in rows if row["holds"] is None)]
    fields = {
        "kind": "budget",
        "commit": commit(),
        "bundle": {},
        "artifact": {},
        "target": "device",
        "host": host(),
        "scenario": dict(scenario),
        "latency_ns": [],
        "rows": list(rows),
        "validity": {"valid": not doubts, "flags": doubts},
    }
    return results.record(**{**fields, **more})


def with_age(entry: Mapping[str, Any]) -> list[Row]:
    """A record's rows; each note ends with its time and commit."""
    age = f"measured {entry['time']} at {entry.get('commit')}"
    return [{**one, "note": "; ".join(filter(None, [one["note"], age]))} for one in entry["rows"]]


def keep(*records: Mapping[str, Any]) -> None:
    """Appends records to this machine's own file."""
    results.append(list(records), results.folder() / f"{host()['fingerprint']}.jsonl")


def answered(name: str, work: Callable[[], bool]) -> int:
    """The exit code of a command: 0 where all its rows hold, 1 where one does not, else the error's own."""
    try:
        return 0 if work() else 1
    except LokmaError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
