"""The runtime's budget: what the device side must reach against the course's way, read from the newest run.

`python -m benchmarks.runtime_budget [--json] [RECORDS]` prints each row and exits 1 where one does not hold.
Without RECORDS only runs of this very machine count. A time holds when the lower 95 % limit of its paired
ratio is at or below the bound and the upper at most 0.05 above; where the machine was busy, or one of the two
systems varied by more than 5 % against itself, the row is too noisy to tell.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.environment import host
from benchmarks.report import Record, is_noisy, ratios, runs, same_against_itself
from edge_runtime.errors import LokmaError, Missing

BUNDLE, POLICY = "foodvision-mini", "cartpole"
BOUNDS = {"time to answer": 0.45, "cold start": 0.2, "peak memory": 0.4}
MIN_RIGHT, MAX_LOST, MIN_RETURN = 144, 2, 475.0
Row = dict[str, Any]


def rows(records: Sequence[Record]) -> list[Row]:
    """Every row of the budget.

    Raises:
        Missing: a bundle was not measured yet.
    """
    food, policy = _run(records, BUNDLE), _run(records, POLICY)
    return [*_ratio_rows(food), *_accuracy_rows(food), *_return_rows(policy)]


def _run(records: Sequence[Record], name: str) -> list[Record]:
    for group in reversed(runs(records)):
        if group[0]["bundle"]["name"] == name and any(entry["target"] == "eager" for entry in group):
            return group
    raise Missing(f"no run of {name} with its eager baseline on this machine is on record: lokma bench bundles/{name}")


def _ratio_rows(group: Sequence[Record]) -> list[Row]:
    base = next(entry for entry in group if entry["target"] == "eager")
    return [_ratio_row(entry, base, name) for entry in group if entry is not base for name in BOUNDS]


def _ratio_row(entry: Record, base: Record, name: str) -> Row:
    title, bound = f"{entry['artifact']['id']}: {name} against eager", BOUNDS[name]
    values = ratios(entry, base).get(name)
    if values is None:
        return _row(title, None, bound, None, 0, "not measured on this system")
    if name == "peak memory":
        return _row(title, values[0], bound, values[0] <= bound, 1)
    low, high = values[1:]
    holds: bool | None = low <= bound and high <= bound + 0.05
    n, note = len(entry["cold_start_ns"]), f"95 %: {low:.3f} to {high:.3f}"
    noisy = any(flag.startswith("other work") for flag in entry["validity"]["flags"])
    if name == "time to answer":
        n, own = len(entry["latency_ns"]), [same_against_itself(one) for one in (entry, base)]
        note += "; A/A " + " and ".join(f"{a:.2f} ({b:.2f} to {c:.2f})" for a, b, c in own)
        noisy = noisy or is_noisy(entry) or is_noisy(base)
    return _row(
        title, values[0], bound, None if noisy else holds, n, f"too noisy, run it again; {note}" if noisy else note
    )


def _accuracy_rows(group: Sequence[Record]) -> list[Row]:
    by_id = {entry["artifact"]["id"]: entry["accuracy"] for entry in group}
    found = []
    for name, accuracy in by_id.items():
        right = accuracy["correct"]
        if "int8" not in name:
            found.append(_row(f"{name}: right of {accuracy['n']}", right, MIN_RIGHT, right >= MIN_RIGHT, accuracy["n"]))
        if "fp32" in name:
            same = sum(a == b for a, b in zip(accuracy["predictions"], by_id["eager"]["predictions"], strict=True))
            title = f"{name}: same best label as eager from the photo on"
            found.append(_row(title, same, accuracy["n"], same == accuracy["n"], accuracy["n"]))
        if "int8" in name:
            lost = by_id[name.replace("int8", "fp32")]["correct"] - right
            found.append(_row(f"{name}: lost against its fp32", lost, MAX_LOST, lost <= MAX_LOST, accuracy["n"]))
    return found


def _return_rows(group: Sequence[Record]) -> list[Row]:
    return [
        _row(
            f"{entry['artifact']['id']}: lower 95 % bound of the mean return",
            entry["accuracy"]["interval"][0],
            MIN_RETURN,
            entry["accuracy"]["interval"][0] >= MIN_RETURN,
            entry["accuracy"]["n"],
        )
        for entry in group
    ]


def markdown(records: Sequence[Record]) -> str:
    """The rows as a Markdown section, for RESULTS.md."""
    lines = [
        f"| {row['name']} | {row['value']:.3g} | {row['bound']:g} | {_mark(row)} | {row['n']} | {row['note']} |"
        for row in rows(records)
        if row["value"] is not None
    ]
    head = "| what | value | bound | | n | |\n|---|---|---|---|---|---|"
    return "## The budget\n\n" + "\n".join(
        ["`make bench-check` prints these rows for this machine.\n", head, *lines, ""]
    )


def _mark(row: Row) -> str:
    return {True: "holds", False: "FAILS", None: "noisy"}[row["holds"]]


def _row(name: str, value: float | None, bound: float, holds: bool | None, n: int, note: str = "") -> Row:
    return {"name": name, "value": value, "bound": bound, "holds": holds, "n": n, "note": note}


def main(argv: list[str]) -> int:
    """Prints the rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtime_budget", description=__doc__.splitlines()[0])
    parser.add_argument("records", type=Path, nargs="?", help="records of any machine, such as results/reference.jsonl")
    parser.add_argument("--json", action="store_true", help="one object a line")
    args = parser.parse_args(argv)
    records = results.read(args.records).records
    if args.records is None:
        here = host()["fingerprint"]
        records = tuple(entry for entry in records if entry["host"].get("fingerprint") == here)
    try:
        found = rows(records)
    except LokmaError as error:
        print(f"runtime_budget: {error}", file=sys.stderr)
        return error.exit_code
    for name in () if args.json else (BUNDLE, POLICY):
        first = _run(records, name)[0]
        print(f"{name}: measured {first['time']}, commit {first.get('commit')}, {first['host']['cpu']}")
    for row in found:
        print(json.dumps(row) if args.json else _line(row))
    return 0 if all(row["holds"] for row in found) else 1


def _line(row: Row) -> str:
    value = "   -" if row["value"] is None else f"{row['value']:8.3f}"
    return f"{_mark(row)}  {row['name']:<58} {value}  (bound {row['bound']:g}, n {row['n']}) {row['note']}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
