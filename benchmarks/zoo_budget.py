"""The zoo: 24 networks of torchvision through the four main recipes, compared with eager torch on real pictures.

`python -m benchmarks.zoo_budget [--only NAME,…] [--json]` (`make zoo`) lowers each network (`benchmarks.zoo_models`
says which, and how a seed alone was made to answer) by each recipe, a cell, and asks the file and eager torch about
64 pictures. Each cell has a process and a core of its own, and a limit on its processor time, which a pause or other
work beside it does not use up: what fails, crashes or hangs is a row with its reason. One record a cell is appended as
it ends; a cell that is on record with the same code, tools and machine is not run again, unless it was killed. Within
90 minutes on two cores; exits 1 where a row of the budget does not hold.

Times are the processor's, one thread, for the other core works on another cell and the machine may do more.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import importlib.metadata
import json
import os
import queue
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from benchmarks import budget, paired, results, zoo_models
from benchmarks.environment import host
from benchmarks.paired import Row
from benchmarks.report import Record
from benchmarks.zoo_models import ZOO
from edge_runtime import engines
from edge_runtime.measure import quantile
from export.recipes import MAIN, RECIPES, Job
from export.verdict import PARITY
from train.provenance import code_sha256, commit

Cell = tuple[str, str]  # architecture, recipe
Outcome = dict[str, Any]  # status, reason, seconds, and what `measured` gives
CALIBRATION, PICTURES, WARM_UP = 128, 64, 3
LIMIT_S, HANGS_S, MAX_MINUTES, MUST_PASS = 900, 7200, 90, 22  # of the processor, and of the clock without pauses
FURTHER = 2.0  # times eager's own distance from float64: more than rounding in another order
TICK_S = 1.0
TOOLS = ("torch", "torchvision", "torchao", "executorch", "onnx", "onnxscript", "onnxruntime")
CODE = (
    "benchmarks.photographs", "benchmarks.zoo_models", "export.contract", "export.fold", "export.lean",
    "export.rounding", "export.to_executorch", "export.to_onnx", "export.xnnpack_partitioner",
    "export.xnnpack_quantizer", "train.data",
)  # fmt: skip


def cells(names: Sequence[str] = tuple(ZOO)) -> list[Cell]:
    """What is to be done: every network in fp32, and in int8 those that the table marks."""
    return [
        (name, recipe) for name in names for recipe in MAIN if ZOO[name].int8 or RECIPES[recipe].precision != "int8"
    ]


def measured(name: str, recipe: str) -> Outcome:
    """Lowers one network by one recipe and compares it with eager torch. Shapes, units: see `record`."""
    import numpy as np
    import torch

    from export.contract import InGraph, output_of
    from export.lowering import lower
    from export.verdict import parity

    spec = zoo_models.spec_of(name)
    train, test, data = zoo_models.pictures(ZOO[name].side, CALIBRATION, PICTURES)
    model = zoo_models.network(name, train[: zoo_models.STATISTICS])
    eager = output_of(InGraph(model, spec).eval(), torch.tensor(test)).numpy()
    exact = output_of(InGraph(copy.deepcopy(model), spec).eval().double(), torch.tensor(test)).numpy()
    calibration = torch.tensor(train)
    began = time.process_time()  # and not the clock: the machine is at other work too
    lowered = lower(recipe, Job(model, spec, calibration, calibration[:1]))
    lowering_s = time.process_time() - began
    session = engines.open_session(RECIPES[recipe].engine, lowered.data, 1, spec.inputs, spec.outputs)
    answers, latency_ns = [], []
    for sample in [*test[:WARM_UP], *test]:
        start = time.thread_time_ns()  # the process's moves in the system's ticks where it has a limit
        answer = session.run({"pixels": sample[None]})["probabilities"]
        latency_ns.append(time.thread_time_ns() - start)
        answers.append(np.array(answer, np.float32).ravel())
    return {
        "size_bytes": len(lowered.data),
        "sha256": hashlib.sha256(lowered.data).hexdigest(),
        "parity": parity(eager, np.stack(answers[WARM_UP:])),
        # how far eager torch itself is from the same network in double precision, and how far the file is
        "from_float64": {
            "eager": parity(exact, eager)["max_relative"],
            "file": parity(exact, np.stack(answers[WARM_UP:]))["max_relative"],
        },
        "labels_seen": len(set(eager.argmax(axis=1).tolist())),  # of 10: few would make agreement easy
        "time_share": lowered.details["delegation"]["time_share"],
        "outside": lowered.details["delegation"]["outside"],  # operator: its share of the time
        "lowering_s": lowering_s,
        "latency_ns": latency_ns[WARM_UP:],
        "data": data,
    }


def outcome(
    command: Sequence[str], answer: Path, precision: str, core: int | None, limit_s: int, hangs_s: float = HANGS_S
) -> Outcome:
    """Runs a process that writes what it measured to `answer`; its failure, crash or time-out is an outcome too.

    Args:
        command: what is run.
        answer: where it writes.
        precision: the recipe's.
        core: the processor's core that it may use; None for any.
        limit_s: of processor time; the system ends it there.
        hangs_s: of the clock, for one that waits for ever; a pause of this process and its child counts as a second.

    Returns:
        `status`: what `judged` says, "error", or "killed" (by a signal, or for its time); with `reason`, `seconds` of
        processor time and, where it ended well, what it measured.
    """

    def limited() -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 5))

    with tempfile.TemporaryFile("w+", errors="replace") as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, preexec_fn=limited)
        code, seconds = _ended(process, hangs_s)
        said.seek(0)
        lines = said.read().splitlines()
    if code is None:
        return _failed("killed", f"did nothing for {hangs_s:g} s", seconds)
    if code == -signal.SIGXCPU:
        return _failed("killed", f"took more than {limit_s:g} s of processor time", seconds)
    if code < 0:
        return _failed("killed", f"by {signal.Signals(-code).name}", seconds)
    if code or not answer.is_file():
        return _failed("error", _exception(lines), seconds)
    found: Outcome = json.loads(answer.read_text())
    status, reason = judged(precision, found)
    return {"status": status, "reason": reason, "seconds": seconds, **found}


def judged(precision: str, found: Outcome) -> tuple[str, str]:
    """What a cell that was measured came to, and why.

    fp32 is a "pass" where every best label is eager's and the probabilities are within its bound, "same labels"
    where they are beyond it, "differs" where a label is another; int8 "runs", it has no bound here.
    """
    one, bound = found["parity"], PARITY.get(precision)
    if bound is None:
        return "runs", ""
    if one["same_top1"] != one["n"]:
        return "differs", f"{one['n'] - one['same_top1']} of {one['n']} best labels are not eager's"
    if one["max_relative"] <= bound:
        return "pass", ""
    return "same labels", f"bound {bound:.0e} on the probabilities; {_apart(found)}"


def _apart(found: Mapping[str, Any]) -> str:
    """How far eager and the file are from the network in double precision, and whether that is only rounding."""
    if (apart := found.get("from_float64")) is None:
        return "how far each is from float64 is not on record"
    eager, file = apart["eager"], apart["file"]
    said = f"from float64 eager is {eager:.1e} and the file {file:.1e}"
    return f"{said}, MORE THAN {FURTHER:g} TIMES AS FAR" if file > FURTHER * eager else said


def _ended(process: subprocess.Popen[bytes], hangs_s: float) -> tuple[int | None, float]:
    """How a process ended, None where it had to be ended, and its seconds of processor time.

    Ticks are counted and not the clock: where this process and its child are stopped, no tick goes by.
    """
    for _ in range(max(1, round(hangs_s / TICK_S))):
        done, status, used = os.wait4(process.pid, os.WNOHANG)
        if done:
            process.returncode = os.waitstatus_to_exitcode(status)  # else it would be waited for again
            return process.returncode, used.ru_utime + used.ru_stime
        time.sleep(TICK_S)
    process.kill()
    used = os.wait4(process.pid, 0)[2]
    process.returncode = -signal.SIGKILL
    return None, used.ru_utime + used.ru_stime


def _failed(status: str, reason: str, seconds: float) -> Outcome:
    return {"status": status, "reason": reason, "seconds": seconds}


def _exception(lines: Sequence[str]) -> str:
    """The first line of the exception that ended a process, from its last traceback."""
    starts = [at for at, line in enumerate(lines) if line.startswith("Traceback (most recent")]
    after = lines[starts[-1] + 1 :] if starts else lines[-1:]
    return next((line for line in after if line.strip() and not line.startswith(" ")), "it said nothing")[:300]


def run(todo: Sequence[Cell], make: Callable[[Cell, int | None], Outcome]) -> Iterator[tuple[Cell, Outcome]]:
    """Makes the cells, as many at a time as there are cores, each pinned to its own; yields each as it ends."""
    free: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    cores: list[int | None] = [*os.sched_getaffinity(0)] if hasattr(os, "sched_getaffinity") else [None]
    for core in cores[: engines.default_threads()]:
        free.put(core)

    def on_a_core(cell: Cell) -> Outcome:
        core = free.get()
        try:
            return make(cell, core)
        finally:
            free.put(core)

    pool = ThreadPoolExecutor(free.qsize())
    try:
        futures = {pool.submit(on_a_core, cell): cell for cell in todo}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C: what has not begun does not begin


def in_a_child(cell: Cell, core: int | None) -> Outcome:
    """Measures one cell in a process of its own."""
    name, recipe = cell
    with tempfile.TemporaryDirectory(prefix="lokma-zoo-") as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "benchmarks.zoo_budget", "--cell", name, recipe, str(answer)]
        return outcome(command, answer, RECIPES[recipe].precision, core, LIMIT_S)


def made_by() -> dict[str, Any]:
    """What decides a cell: where any of it is another, the cell is done again."""
    return {
        "commit": commit(),
        "code": code_sha256(*CODE)[:12],  # a working tree with changes has no commit that says what they are
        "tools": {tool: importlib.metadata.version(tool) for tool in TOOLS},
        "host": host()["fingerprint"],
    }


def record(cell: Cell, found: Outcome, by: Mapping[str, Any]) -> dict[str, Any]:
    """One cell's record."""
    name, recipe = cell
    figures = {key: value for key, value in found.items() if key not in ("latency_ns", "size_bytes", "sha256")}
    return results.record(
        kind="zoo",
        commit=by["commit"],
        bundle={"name": name},
        artifact={"id": recipe, "size_bytes": found.get("size_bytes"), "sha256": found.get("sha256")},
        target="device",
        host=host(),
        scenario={"side": ZOO[name].side, "threads": 1, "made_by": dict(by)},
        latency_ns=found.get("latency_ns", []),
        validity={"valid": True, "flags": ["processor time, while another cell ran on the other core"]},
        **figures,
    )


def done(records: Sequence[Record], by: Mapping[str, Any]) -> dict[Cell, Record]:
    """The newest record of each cell that was made by the same code, tools and machine."""
    return _cells(records, {key: by[key] for key in ("code", "tools", "host")})


def newest(records: Sequence[Record], by: Mapping[str, Any]) -> dict[Cell, Record]:
    """The newest record of each cell by the same tools and machine: what is known, also where the code has changed."""
    return _cells(records, {key: by[key] for key in ("tools", "host")})


def _cells(records: Sequence[Record], by: Mapping[str, Any]) -> dict[Cell, Record]:
    made = sorted((entry for entry in records if entry["kind"] == "zoo"), key=lambda entry: str(entry["time"]))
    same = [entry for entry in made if by.items() <= entry["scenario"]["made_by"].items()]
    return {(entry["bundle"]["name"], entry["artifact"]["id"]): entry for entry in same}


def rows(found: Mapping[Cell, Record]) -> list[Row]:
    """The budget: how many networks give eager's labels in fp32, how near they are, and how long all cells took."""
    rows = []
    for recipe in (name for name in MAIN if RECIPES[name].precision == "fp32"):
        of = {name: found[name, recipe] for name in ZOO if (name, recipe) in found}
        ran = {name: entry for name, entry in of.items() if entry.get("parity")}
        same = [name for name, entry in ran.items() if entry["parity"]["same_top1"] == entry["parity"]["n"]]
        near = [name for name in same if ran[name]["parity"]["max_relative"] <= PARITY["fp32"]]
        open_cells = len(ZOO) - len(of)
        holds = len(same) >= MUST_PASS or (None if len(same) + open_cells >= MUST_PASS else False)
        notes = [f"{name}: {entry['status']}" for name, entry in of.items() if name not in same]
        notes += [f"{open_cells} not measured yet"] if open_cells else []
        title = f"{recipe}: networks whose best label is eager's on {PICTURES} of {PICTURES} pictures"
        rows.append(paired.row(title, len(same), MUST_PASS, holds, len(of), "; ".join(notes)))
        beyond = [f"{n}: {ran[n]['parity']['max_relative']:.1e}, {_apart(ran[n])}" for n in same if n not in near]
        title = f"{recipe}: of these within {PARITY['fp32']:.0e} of eager's probabilities"
        rows.append(paired.row(title, len(near), None, True, len(same), "; ".join(beyond)))
    missing = set(cells()) - set(found)
    minutes = sum(entry["seconds"] for entry in found.values()) / 60 / 2
    notes = [f"{len(missing)} cells not measured yet"] if missing else []
    notes += [f"{older} cells by older code"] if (older := _older(found)) else []
    holds = (None if missing else True) if minutes <= MAX_MINUTES else False
    name = "minutes of processor time for all cells, by two cores"
    return [*rows, paired.row(name, minutes, MAX_MINUTES, holds, len(found), "; ".join(notes))]


def _older(found: Mapping[Cell, Record]) -> int:
    """How many cells other code made than the newest one's."""
    made = sorted(found.values(), key=lambda entry: str(entry["time"]))
    return sum(entry["scenario"]["made_by"]["code"] != made[-1]["scenario"]["made_by"]["code"] for entry in made)


def markdown(records: Sequence[Record]) -> str:
    """The newest zoo as a section of RESULTS.md; empty where none is on record."""
    made = [entry["scenario"]["made_by"] for entry in records if entry["kind"] == "zoo"]
    if not made:
        return ""
    found = newest(records, made[-1])
    some = max(found.values(), key=lambda entry: entry["time"])
    commits = " and ".join(sorted({str(entry["commit"]) for entry in found.values()}))
    head = "| network | recipe | status | size | relative error | best label | median | delegated | lowering |"
    said = (
        f"`make zoo` lowered {len(ZOO)} networks of torchvision, seeded, their BatchNorm statistics and heads set from "
        f"pictures, and compared each file with eager torch on {PICTURES} pictures of {_data(found)}. {some['time']}, "
        f"commit {commits}, {some['host']['cpu']}: the median of an answer and lowering are this processor's time, one "
        "thread, while the other core was at work too. Delegated is the share of the time in XNNPACK or in "
        "onnxruntime's fused kernels.\n"
    )
    said_rows = [_said(row) for row in rows(found)]
    lines = [_line(cell, found[cell]) for cell in cells() if cell in found]
    return "\n".join(["## The zoo\n", said, *said_rows, "", head, "|---|---|---|---|---|---|---|---|---|", *lines, ""])


def _data(found: Mapping[Cell, Record]) -> str:
    return " or ".join(sorted({entry["data"] for entry in found.values() if "data" in entry})) or "none"


def _said(row: Row) -> str:
    """A row of the budget as a line of the section."""
    bound = "" if row["bound"] is None else f", bound {row['bound']}"
    return f"- {row['name']}: {row['value']:.3g} (n {row['n']}{bound})" + (f"; {row['note']}" if row["note"] else "")


def _line(cell: Cell, entry: Mapping[str, Any]) -> str:
    """A cell as a row of the table; a failed one says why instead of figures."""
    side, status, one = entry["scenario"]["side"], entry["status"], entry.get("parity")
    if one is None:
        reason = entry["reason"].replace("|", "\\|")
        return f"| {cell[0]}, {side} px | {cell[1]} | {status}: {reason} | | | | | | |"
    figures = (
        f"{entry['artifact']['size_bytes'] / 1e6:.1f} MB",
        f"{one['max_relative']:.1e}",
        f"{one['same_top1']} of {one['n']}",
        f"{quantile(entry['latency_ns'], 0.5) / 1e6:.1f} ms",
        f"{entry['time_share']:.0%}",
        f"{entry['lowering_s']:.0f} s",
    )
    said = f"{status}: {reason}" if (reason := entry["reason"]) else status
    return f"| {cell[0]}, {side} px | {cell[1]} | {said} | {' | '.join(figures)} |"


def main(argv: list[str]) -> int:
    """Runs what is not on record yet and prints the rows."""
    parser = budget.parser("zoo_budget", __doc__, ZOO, "NAME")
    parser.add_argument("--cell", nargs=3, metavar=("NAME", "RECIPE", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)

    def work() -> bool:
        if args.cell:
            Path(args.cell[2]).write_text(json.dumps(measured(*args.cell[:2])))
            return True
        return _run(budget.chosen(args.only, ZOO, "network"), args.json)

    return budget.answered("zoo_budget", work)


def _run(names: Sequence[str], as_json: bool) -> bool:
    by, records = made_by(), results.read().records
    found = done(records, by)
    wanted = cells(names)
    todo = [cell for cell in wanted if cell not in found or found[cell]["status"] == "killed"]
    say = (lambda _: None) if as_json else (lambda line: print(line, flush=True))
    for cell in wanted:
        if cell not in todo:
            say(f"{_line(cell, found[cell])} on record, {found[cell]['time']}")
    for number, (cell, made) in enumerate(run(todo, in_a_child), start=1):
        found[cell] = record(cell, made, by)
        budget.keep(found[cell])
        say(f"{_line(cell, found[cell])} {number} of {len(todo)}")
    return budget.show(rows(newest(records, by) | found), as_json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
