"""The export's budget: what lowering, judging and exporting again must reach.

`python -m benchmarks.export_budget [--json]` reads the rows of the two long commands, `export_times_budget` and
`zoo_budget`, from their newest records of this machine and says how old they are; checks what the manifests in
`bundles/` say, the speed verdicts against a measurement of its own; and exports twice what is small, about four
minutes in all. It appends one record a group, prints each row and exits 1 where one does not hold.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import budget, paired, results
from benchmarks import export_times_budget as export_times
from benchmarks.environment import busy, host
from benchmarks.paired import Row, Samples, row
from benchmarks.photographs import generated, photographs
from benchmarks.report import Record
from edge_runtime import engines, worker
from edge_runtime.bundle import MANIFEST
from edge_runtime.errors import EngineError
from edge_runtime.measure import interleaved, quantile, ratio_interval
from export.ladder import INTEGER
from train.provenance import commit

BUNDLES = Path("bundles")
FOOD, FOODS, ON_BOARDS, ON_BOARDS_INPUTS = "foodvision-mini", "foodvision", "xnnpack-int8", 32
MAX_TIME, GOAL_TIME, MAX_SIZE, MAX_AGAIN_S, MAX_PARITY = 0.75, 0.5, 0.3, 5.0, 1e-4
MAX_DROP, MAX_ON_BOARDS = 0.01, 1e-6
REPEATS, BLOCKS, AGAIN = 30, 5, 3
Found = tuple[list[Row], Samples]
# her file, as short as one gets, with the import that takes the time
HERS = """import torch

def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(8, 2),
    ).eval()
"""
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from export.cli import main; sys.exit(main(sys.argv[1:]))"


def times(scratch: Path) -> Found:  # noqa: ARG001
    """Lowering EfficientNet-B2 against the plain scripts, as `benchmarks.export_times_budget` measured it."""
    cells = export_times.newest(_here())
    value, name = export_times.ratio(cells), "EfficientNet-B2, four main artifacts: lokma against the plain scripts"
    if value is None:
        lacks = ", ".join(cell for cell in export_times.CELLS if cell not in cells)
        return [row(name, None, MAX_TIME, None, 0, f"not measured: {lacks}; {HOW}")], {}
    took = {cell: entry["latency_ns"][0] / 1e9 for cell, entry in cells.items()}
    timed = [entry for cell, entry in cells.items() if cell != "profile"]
    flags = sorted({flag for entry in timed for flag in entry["validity"]["flags"]})
    said = "; ".join(
        [
            "one pair",
            *(f"{cell} {seconds:.0f} s" for cell, seconds in took.items() if cell != "profile"),
            f"{'meets' if value <= GOAL_TIME else 'misses'} the goal {GOAL_TIME}",
            _age(cells["lokma"]),
            *flags,
        ]
    )
    return [row(name, value, MAX_TIME, None if flags else value <= MAX_TIME, 1, said)], {
        cell: [seconds] for cell, seconds in took.items()
    }


def zoo(scratch: Path) -> Found:  # noqa: ARG001
    """The rows of the newest zoo."""
    from benchmarks import zoo_budget

    made = [entry for entry in _here() if entry["kind"] == "zoo"]
    if not made:
        return [row("zoo: networks that pass", None, zoo_budget.MUST_PASS, None, 0, "not measured: make zoo")], {}
    rows = zoo_budget.rows(zoo_budget.newest(made, made[-1]["scenario"]["made_by"]))
    for one in rows:
        one |= {"name": f"zoo: {one['name']}", "note": "; ".join(filter(None, [one["note"], _age(made[-1])]))}
    return rows, {}


def manifests(scratch: Path) -> Found:  # noqa: ARG001
    """What each bundle here says of its fp32 artifacts, and each food bundle of its int8 ones."""
    found: list[Row] = []
    for path in sorted(BUNDLES.glob(f"*/{MANIFEST}")):
        manifest = json.loads(path.read_bytes())
        for artifact in manifest["artifacts"]:
            if artifact["precision"] != "fp32":
                continue
            name, parity = f"{manifest['name']} {artifact['id']}", artifact["parity"]
            value, same, n = parity["max_relative"], parity["same_top1"], parity["n"]
            found.append(row(f"{name}: relative error against eager", value, MAX_PARITY, value <= MAX_PARITY, n))
            found.append(row(f"{name}: same best label as eager", same, n, same == n, n))
        if manifest["name"].startswith(FOODS):
            found += [*_sizes(manifest), _accuracy(manifest), *_boards(manifest)]
    if not (BUNDLES / FOOD / MANIFEST).is_file():
        found.append(row(f"{FOOD}: int8 against fp32, size", None, MAX_SIZE, None, 0, NOT_HERE))
    return found, {}


def _sizes(manifest: Mapping[str, Any]) -> Iterator[Row]:
    for int8, fp32 in _pairs(manifest):
        ratio, name = int8["size_bytes"] / fp32["size_bytes"], f"{manifest['name']} {int8['id']}"
        yield row(f"{name}: size against {fp32['id']}", ratio, MAX_SIZE, ratio <= MAX_SIZE, 1)


def _accuracy(manifest: Mapping[str, Any]) -> Row:
    """How many int8 artifacts lose at most one point: one has to; more pictures may still show it of an open one."""
    verdicts = {one["id"]: one["verdict"]["accuracy"] for one, _ in _pairs(manifest)}
    passed = [name for name, said in verdicts.items() if said["answer"] == "pass" and said["max_drop"] <= MAX_DROP]
    is_open = any(said["answer"] == "inconclusive" for said in verdicts.values())
    notes = [f"{name}: {said['answer']}, {said['changed']} of {said['n']} changed" for name, said in verdicts.items()]
    notes += [] if passed else [f"more pictures: lokma export RUN {HOW_TO_JUDGE}"]
    name = f"{manifest['name']}: int8 artifacts that lose at most one point"
    return row(name, len(passed), 1, bool(passed) or (None if is_open else False), len(verdicts), "; ".join(notes))


def _boards(manifest: Mapping[str, Any]) -> Iterator[Row]:
    """Static int8 of XNNPACK on each emulated board against this machine, as the bundle's ladder holds it."""
    artifact = next((one for one in manifest["artifacts"] if one["id"] == ON_BOARDS), None)
    if artifact is None:
        return
    name = f"{manifest['name']} {ON_BOARDS}"
    hops = [hop for hop in artifact.get("ladder") or () if ", emulated" in hop["hop"]]
    if not hops:
        yield row(f"{name} on emulated boards", None, MAX_ON_BOARDS, None, 0, f"lokma export RUN {HOW_TO_JUDGE}")
    for hop in hops:
        bound = 0.0 if hop["hop"].endswith(INTEGER) else MAX_ON_BOARDS
        same = hop["same_top1"] == hop["n"]
        holds = hop["max_abs"] <= bound and same and hop["n"] >= ON_BOARDS_INPUTS
        note = f"largest difference; same best label on {hop['same_top1']} of {hop['n']}"
        yield row(f"{name}, {hop['hop']}, against here", hop["max_abs"], bound, holds, hop["n"], note)


def speed(scratch: Path) -> Found:
    """Each int8 artifact of the food bundle against its fp32, measured anew, and what `tune` would choose of them."""
    from export.speed import speed_answer

    if not (BUNDLES / FOOD / MANIFEST).is_file():
        return [row(f"{FOOD}: speed verdicts", None, None, None, 0, NOT_HERE)], {}
    found: list[Row] = []
    samples: Samples = {}
    slower: list[str] = []
    for int8, fp32 in _pairs(_manifest()):
        flags = busy()
        taken = _taken((int8["id"], fp32["id"]), [str(path) for path in photographs(scratch, 3)])
        samples |= {f"{int8['id']} against {fp32['id']}: {name}": values for name, values in taken.items()}
        ratio, low, high = ratio_interval(taken[int8["id"]], taken[fp32["id"]])
        answer, verdict = speed_answer(low, high), int8["verdict"]["speed"]["answer"]
        slower += [int8["id"]] if answer == "slower" else []
        noisy = flags or any(map(paired.is_noisy, taken.values())) or len(taken[fp32["id"]]) < paired.MIN_PAIRS
        said = f"the manifest says {verdict}, here {answer} (95 %: {low:.3f} to {high:.3f})"
        holds = None if noisy else answer == verdict
        found.append(
            row(
                f"{FOOD} {int8['id']}: time against {fp32['id']}, as its verdict",
                ratio,
                None,
                holds,
                len(taken[fp32["id"]]),
                "; ".join([said, *flags, *(["too noisy, run it again"] if noisy else [])]),
            )
        )
    chosen = _tuned(scratch)
    name = f"{FOOD}: the tuned choice is an artifact that was slower than its fp32"
    return [*found, row(name, float(chosen in slower), 0, chosen not in slower, 1, f"tune took {chosen}")], samples


def again(scratch: Path) -> Found:
    """The second export of what has not changed: of a run without torch, of a file beyond its own import."""
    train = "from train import train; import sys; train('multiclass-digits', out=sys.argv[1], epochs=2)"
    _seconds(["-c", train, str(scratch / "runs")])
    (run,) = (scratch / "runs").iterdir()
    of_run = ["--recipes", "xnnpack-fp32", "--out", str(scratch / "bundles"), str(run)]
    _seconds(["-m", "edge_runtime.cli", "export", *of_run])
    samples: Samples = {"run": [_seconds(["-c", WITHOUT_TORCH, *of_run]) for _ in range(AGAIN)]}
    file = scratch / "hers.py"
    file.write_text(HERS)
    for number in range(64):  # no two the same: a test must be unseen
        folder = scratch / "data" / ("test" if number < 16 else "train") / ("calm" if number % 2 else "wild")
        folder.mkdir(parents=True, exist_ok=True)
        generated(32, 32, number).save(folder / f"{number}.png")
    data = ["--data", str(scratch / "data"), "--input", "32", "--mean", "0", "--std", "1"]
    of_file = ["-m", "edge_runtime.cli", "export", f"{file}:make", *of_run[:-1], *data]
    _seconds(of_file)
    samples["file"] = [_seconds(of_file) for _ in range(AGAIN)]
    alone = "import sys, runpy; runpy.run_path(sys.argv[1])['make']()"
    samples["her import"] = [_seconds(["-c", alone, str(file)]) for _ in range(AGAIN)]
    beyond = max(samples["file"]) - min(samples["her import"])
    flags = "; ".join(busy())
    return [
        _again_row("a run, unchanged: second export with torch blocked, s", max(samples["run"]), flags),
        _again_row("file.py:function, unchanged: second export beyond the import of the file, s", beyond, flags),
    ], samples


HOW = "python -m benchmarks.export_times_budget"
HOW_TO_JUDGE = "--unlabelled FOLDER --boards"
NOT_HERE = f"{BUNDLES / FOOD} is not here; make demo trains and exports it"
# name: what measures its rows, in the order of the printed table
GROUPS: dict[str, Callable[[Path], Found]] = {
    "times": times,
    "zoo": zoo,
    "manifests": manifests,
    "speed": speed,
    "again": again,
}


def _again_row(name: str, seconds: float, flags: str) -> Row:
    """The slowest of all; a busy machine can fail it, never pass it by mistake."""
    holds = seconds <= MAX_AGAIN_S
    return row(name, seconds, MAX_AGAIN_S, None if flags and not holds else holds, AGAIN, flags)


def _here() -> list[Record]:
    """The records of this machine, oldest first."""
    mine = host()["fingerprint"]
    return [entry for entry in results.read().records if entry["host"].get("fingerprint") == mine]


def _age(entry: Record) -> str:
    hours = (datetime.now(UTC) - datetime.fromisoformat(entry["time"])).total_seconds() / 3600
    same = "this commit" if entry["commit"] == commit() else f"commit {str(entry['commit'])[:9]}, not this one"
    return f"measured {hours:.1f} hours ago, {same}"


def _manifest() -> Any:
    return json.loads((BUNDLES / FOOD / MANIFEST).read_bytes())


def _pairs(manifest: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """Each int8 artifact with the fp32 one of its engine."""
    fp32 = {one["engine"]: one for one in manifest["artifacts"] if one["precision"] == "fp32"}
    return [
        (one, fp32[one["engine"]])
        for one in manifest["artifacts"]
        if one["precision"] == "int8" and one["engine"] in fp32
    ]


def _taken(names: Sequence[str], inputs: Sequence[Any]) -> Samples:
    """Medians of interleaved blocks of the inference alone, a pair of fresh processes a round."""
    samples: Samples = {name: [] for name in names}
    for repeat in range(REPEATS):
        with contextlib.ExitStack() as stack:
            children = {
                name: stack.enter_context(worker.device(BUNDLES / FOOD, name, engines.default_threads()))
                for name in names
            }
            blocks: Samples = {name: [] for name in names}
            for child in children.values():
                child.ask(inputs)
            for name in interleaved(list(names), BLOCKS, seed=repeat):
                blocks[name] += [answer["ns"]["inference"] for answer in children[name].ask(inputs)]
        for name in names:
            samples[name].append(quantile(blocks[name], 0.5))
    return samples


def _tuned(scratch: Path) -> str:
    command = [sys.executable, "-m", "edge_runtime.cli", "tune", str(BUNDLES / FOOD), "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "LOKMA_HOME": str(scratch / "home")}
    )
    if done.returncode:
        raise EngineError(f"lokma tune failed: {(done.stderr.strip() or 'it said nothing').splitlines()[-1]}")
    code = "import sys; from edge_runtime import load; print(load(sys.argv[1]).artifact.id)"
    return subprocess.run(
        [sys.executable, "-c", code, str(BUNDLES / FOOD)],
        capture_output=True, text=True, check=True, env={**os.environ, "LOKMA_HOME": str(scratch / "home")},
    ).stdout.strip()  # fmt: skip


def _seconds(arguments: Sequence[str]) -> float:
    return export_times.seconds([sys.executable, *arguments])


def measured(names: Sequence[str], scratch: Path) -> Iterator[Row]:
    """Measures groups of rows, one after another, and appends a record of each as it is done."""
    run = uuid.uuid4().hex
    for name in names:
        (scratch / name).mkdir()
        rows, samples = GROUPS[name](scratch / name)
        scenario = {"budget": "export", "group": name, "run": run, "threads": engines.default_threads()}
        budget.keep(budget.record(scenario, rows, bundle={"name": FOOD}, samples=samples))
        yield from rows


def main(argv: list[str]) -> int:
    """Prints the rows."""
    args = budget.parser("export_budget", __doc__, GROUPS).parse_args(argv)

    def work() -> bool:
        names = budget.chosen(args.only, GROUPS)
        with tempfile.TemporaryDirectory(prefix="lokma-budget-") as scratch:
            return budget.show(measured(names, Path(scratch)), args.json)

    return budget.answered("export_budget", work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
