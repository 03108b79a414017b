"""The runtime's budget: what the device side must reach against the course's way, read from the newest run.

`python -m benchmarks.runtime_budget [--json] [RECORDS]` prints each row and exits 1 where one does not hold.
A latency row holds when the lower 95 % limit of the paired ratio is at or below its bound and the upper
at most 0.05 above; where the A/A ratio of the same run is wider than 5 %, the row is too noisy to tell.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
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
    raise Missing(f"no run of {name} with its eager baseline is on record: lokma bench bundles/{name}")


def _ratio_rows(group: Sequence[Record]) -> list[Row]:
    base = next(entry for entry in group if entry["target"] == "eager")
    noise = same_against_itself(base)
    found = []
    for entry in (e for e in group if e is not base):
        for name, values in ratios(entry, base).items():
            low, high = (values[1], values[2]) if len(values) == 3 else (values[0], values[0])
            holds: bool | None = low <= BOUNDS[name] and high <= BOUNDS[name] + 0.05
            note = f"95 %: {low:.3f} to {high:.3f}; A/A {noise[0]:.2f} ({noise[1]:.2f} to {noise[2]:.2f})"
            if name == "time to answer" and is_noisy(base):
                holds, note = None, f"too noisy, run it again; {note}"
            title = f"{entry['artifact']['id']}: {name} against eager"
            found.append(_row(title, values[0], BOUNDS[name], holds, len(entry["latency_ns"]), note))
    return found


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


def _row(name: str, value: float, bound: float, holds: bool | None, n: int, note: str = "") -> Row:
    return {"name": name, "value": value, "bound": bound, "holds": holds, "n": n, "note": note}


def main(argv: list[str]) -> int:
    """Prints the rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtime_budget", description=__doc__.splitlines()[0])
    parser.add_argument("records", type=Path, nargs="?", help="a file or folder of records (LOKMA_RESULTS or results)")
    parser.add_argument("--json", action="store_true", help="one object a line")
    args = parser.parse_args(argv)
    try:
        found = rows(results.read(args.records).records)
    except LokmaError as error:
        print(f"runtime_budget: {error}", file=sys.stderr)
        return error.exit_code
    for row in found:
        mark = {True: "holds", False: "FAILS", None: "noisy"}[row["holds"]]
        text = f"{mark}  {row['name']:<58} {row['value']:8.3f}  (bound {row['bound']:g}, n {row['n']}) {row['note']}"
        print(json.dumps(row) if args.json else text)
    return 0 if all(row["holds"] for row in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
