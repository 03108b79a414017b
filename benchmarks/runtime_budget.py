"""The runtime's budget: what the device side must reach, against the course's way and against bare engines.

`python -m benchmarks.runtime_budget [--json]` reads the rows against the course's way from the newest run of
this machine (`lokma bench`), measures the others (`benchmarks.runtime_rows`, about ten minutes), appends one
record a group, prints each row and exits 1 where one does not hold. The first time it builds the model that
it measures, which takes another seven minutes. Given RECORDS, it measures nothing and prints what they say.

A time holds when the lower 95 % limit of its paired ratio is at or below the bound and the upper at most
0.05 above; where the machine was busy, or one of the two systems varied by more than 5 % against itself, the
row is too noisy to tell.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import budget, decode_drift, efficientnet_b2, paired, results
from benchmarks.environment import as_installed, host
from benchmarks.paired import Row
from benchmarks.photographs import photographs
from benchmarks.report import Record, is_noisy, mark, ratios, runs, same_against_itself
from benchmarks.runtime_rows import GROUPS, Setting
from edge_runtime import engines
from edge_runtime.errors import Missing
from edge_runtime.spec import ModelSpec

BUNDLE, POLICY = "foodvision-mini", "cartpole"
BOUNDS = {"time to answer": 0.45, "cold start": 0.2, "peak memory": 0.4}
MIN_RIGHT, MAX_LOST, MIN_RETURN = 144, 2, 475.0
LITE = Path("bundles") / BUNDLE
PHOTOS = 10


def rows(records: Sequence[Record]) -> list[Row]:
    """The rows against the course's way, from the newest run of each bundle.

    Raises:
        Missing: a bundle was not measured yet.
    """
    food, policy = _run(records, BUNDLE), _run(records, POLICY)
    return [*_ratio_rows(food), *_accuracy_rows(food), *_return_rows(policy)]


def _run(records: Sequence[Record], name: str) -> list[Record]:
    for group in reversed(runs(records)):
        here = [entry for entry in group if entry["target"] in ("device", "eager") and entry["latency_ns"]]
        if group[0]["bundle"]["name"] == name and {"device", "eager"} <= {entry["target"] for entry in here}:
            return here
    raise Missing(f"no run of {name} with its eager baseline on this machine is on record: lokma bench bundles/{name}")


def _ratio_rows(group: Sequence[Record]) -> list[Row]:
    base = next(entry for entry in group if entry["target"] == "eager")
    return [_ratio_row(entry, base, name) for entry in group if entry is not base for name in BOUNDS]


def _ratio_row(entry: Record, base: Record, name: str) -> Row:
    title, bound = f"{entry['artifact']['id']}: {name} against eager", BOUNDS[name]
    values = ratios(entry, base).get(name)
    if values is None:
        return paired.row(title, None, bound, None, 0, "not measured on this system")
    if name == "peak memory":
        return paired.row(title, values[0], bound, values[0] <= bound, 1)
    low, high = values[1:]
    holds: bool | None = low <= bound and high <= bound + 0.05
    n, note = len(entry["cold_start_ns"]), f"95 %: {low:.3f} to {high:.3f}"
    noisy = any(flag.startswith("other work") for flag in entry["validity"]["flags"])
    if name == "time to answer":
        n, own = len(entry["latency_ns"]), [same_against_itself(one) for one in (entry, base)]
        note += "; A/A " + " and ".join(f"{a:.2f} ({b:.2f} to {c:.2f})" for a, b, c in own)
        noisy = noisy or is_noisy(entry) or is_noisy(base)
    return paired.row(
        title, values[0], bound, None if noisy else holds, n, f"too noisy, run it again; {note}" if noisy else note
    )


def _accuracy_rows(group: Sequence[Record]) -> list[Row]:
    by_id = {entry["artifact"]["id"]: entry["accuracy"] for entry in group}
    found = []
    for name, accuracy in by_id.items():
        right = accuracy["correct"]
        if "int8" not in name:
            found.append(
                paired.row(f"{name}: right of {accuracy['n']}", right, MIN_RIGHT, right >= MIN_RIGHT, accuracy["n"])
            )
        if "fp32" in name:
            same = sum(a == b for a, b in zip(accuracy["predictions"], by_id["eager"]["predictions"], strict=True))
            title = f"{name}: same best label as eager from the photo on"
            found.append(paired.row(title, same, accuracy["n"], same == accuracy["n"], accuracy["n"]))
        if "int8" in name:
            lost = by_id[f"{name.partition('-')[0]}-fp32"]["correct"] - right
            found.append(paired.row(f"{name}: lost against its fp32", lost, MAX_LOST, lost <= MAX_LOST, accuracy["n"]))
    return found


def _return_rows(group: Sequence[Record]) -> list[Row]:
    return [
        paired.row(
            f"{entry['artifact']['id']}: lower 95 % bound of the mean return",
            entry["accuracy"]["interval"][0],
            MIN_RETURN,
            entry["accuracy"]["interval"][0] >= MIN_RETURN,
            entry["accuracy"]["n"],
        )
        for entry in group
    ]


def measured(setting: Setting, names: Sequence[str]) -> Iterator[tuple[str, list[Row]]]:
    """Measures groups of rows, one after another, and appends a record of each as it is done.

    A run of fewer rounds than the budget asks is not recorded.

    Raises:
        EngineError: a measured process failed.
    """
    run = uuid.uuid4().hex
    with _home(setting.scratch / "home"):
        for name in names:
            found, samples = GROUPS[name](setting)
            if not setting.rounds:
                scenario = {"budget": "runtime", "group": name, "run": run, "threads": engines.default_threads()}
                budget.keep(budget.record(scenario, found, bundle={"name": efficientnet_b2.NAME}, samples=samples))
            yield name, found


@contextlib.contextmanager
def _home(path: Path) -> Iterator[None]:
    """A device store of its own for everything that is measured: the user's choices must not decide."""
    before = os.environ.get("LOKMA_HOME")
    os.environ["LOKMA_HOME"] = str(path)
    try:
        yield
    finally:
        os.environ.pop("LOKMA_HOME")
        if before is not None:
            os.environ["LOKMA_HOME"] = before


def _b2() -> Path:
    """EfficientNet-B2's bundle; the export room is imported only where it must be built."""
    if (efficientnet_b2.folder() / "manifest.json").is_file():
        return efficientnet_b2.folder()
    from export.lowering import lower
    from export.recipes import Job

    def lowered(name: str, model: Any, spec: ModelSpec, calibration: Any) -> tuple[bytes, Mapping[str, Any]]:
        found = lower(name, Job(model, spec, calibration, calibration[:1]))
        return found.data, found.details

    return efficientnet_b2.bundle(lowered)


def recorded(records: Sequence[Record]) -> list[Row]:
    """The rows that the newest record of each group holds, in the table's order."""
    newest = {
        e["scenario"]["group"]: e for e in records if e["kind"] == "budget" and e["scenario"]["budget"] == "runtime"
    }
    return [row for name in GROUPS if name in newest for row in newest[name]["rows"]]


def markdown(records: Sequence[Record]) -> str:
    """The rows as a Markdown section, for RESULTS.md."""
    lines = [
        f"| {row['name']} | {row['value']:.3g} | {_bound(row)} | {mark(row)} | {row['n']} | {row['note']} |"
        for row in [*rows(records), *recorded(records)]
        if row["value"] is not None
    ]
    head = "| what | value | bound | | n | |\n|---|---|---|---|---|---|"
    said = (
        "`make bench-check` measures these rows. Each ratio is of two systems that took turns in processes of their "
        "own, EfficientNet-B2 at 288 px where no other model is named, against the scripts in `benchmarks/rivals/`. "
        "A/A is a system against itself in the same run: where its interval leaves 0.95 to 1.05, a time is noisy and "
        "not passed.\n"
    )
    study = decode_drift.sentence(records)
    return "## The budget\n\n" + "\n".join([said, head, *lines, "", *([study, ""] if study else [])])


def _bound(row: Row) -> str:
    return "none" if row["bound"] is None else f"{row['bound']:g}"


def main(argv: list[str]) -> int:
    """Prints the rows."""
    parser = budget.parser("runtime_budget", __doc__, GROUPS)
    parser.add_argument("records", type=Path, nargs="?", help="print these records, such as results/reference.jsonl")
    parser.add_argument("--rounds", type=int, default=0, help="so few rounds prove the code and no bound; no record")
    args = parser.parse_args(argv)

    def work() -> bool:
        holds = budget.show(_read_rows(args), args.json)
        if args.records is None:
            names = budget.chosen(args.only, GROUPS)
            as_installed()
            with tempfile.TemporaryDirectory(prefix="lokma-budget-") as scratch:
                folder = Path(scratch)
                setting = Setting(_b2(), _lite(), tuple(photographs(folder, PHOTOS)), folder, args.rounds)
                began = time.monotonic()
                found = (row for _, rows in measured(setting, names) for row in rows)
                holds = budget.show(found, args.json) and holds
            if not args.json:
                print(f"measured in {(time.monotonic() - began) / 60:.1f} minutes")
        return holds

    return budget.answered("runtime_budget", work)


def _read_rows(args: argparse.Namespace) -> list[Row]:
    """The rows that are read from records: of RECORDS all, of this machine those against the course's way."""
    if args.only and args.records is None:
        return []
    records = results.read(args.records).records
    if args.records is not None:
        return [*rows(records), *recorded(records)]
    here = host()["fingerprint"]
    records = tuple(entry for entry in records if entry["host"].get("fingerprint") == here)
    found = rows(records)
    for name in () if args.json else (BUNDLE, POLICY):
        first = _run(records, name)[0]
        print(f"{name}: measured {first['time']}, commit {first.get('commit')}, {first['host']['cpu']}")
    return found


def _lite() -> Path:
    if not (LITE / "manifest.json").is_file():
        raise Missing(f"{LITE} is not here; make demo trains and exports it")
    return LITE.resolve()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
