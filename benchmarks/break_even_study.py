"""The break-even sentence against the measured crossing: the cloud behind emulated links of growing round trips.

`python -m benchmarks.break_even BUNDLE [--device eager] [--grid 0,5,10,20,40]`, as root. Predicted from the plain veth
alone, then measured on each link, device and cloud in turn; agrees where the two crossings lie at most one step of the
grid apart. Where the device wins everywhere, a slower one shows the crossing: `--device-threads 1`, or `eager`. What
the cloud, a device and power cost (`--per-1000`, `--device-price`, `--kwh`, `--radio`) only who pays knows: untold,
nothing is said of it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import statistics
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import budget, client, eager, network, paired, results, serving
from benchmarks.break_even import Prices, Sides, chart, found, round_trip_ms, sentence
from benchmarks.compare import golden_inputs
from benchmarks.environment import host
from benchmarks.paired import Row
from edge_runtime import engines, worker
from edge_runtime.bundle import Bundle, open_bundle
from edge_runtime.errors import BadRequest, LokmaError
from edge_runtime.spec import DTYPES
from train.provenance import commit

STUDY, GRID_MS, MBIT, SECONDS, WARM_UP = "break-even", (0.0, 5.0, 10.0, 20.0, 40.0), 100.0, 8.0, 20


@dataclass(frozen=True)
class Setting:
    """Who is measured: an artifact's id or `eager`, each side with its threads."""

    bundle: Bundle
    device: str
    cloud: str
    device_threads: int
    cloud_threads: int
    run: Path

    def on_device(self) -> worker.Worker:
        """A process of the device's side."""
        if self.device == "eager":
            return eager.start(self.run, self.device_threads)
        return worker.device(self.bundle.source.path, self.device, self.device_threads)


@dataclass(frozen=True)
class Point:
    """What was measured on one link: medians (ns), what the server itself took, and the round trip as measured."""

    rtt_ms: float
    device_ns: float
    cloud_ns: float
    server_ns: float
    measured: dict[str, float]
    n: int
    device_joules: float | None = None  # of one answer; None where the machine does not say


def study(
    setting: Setting, grid_ms: Sequence[float], prices: Prices, mbit: float = MBIT, seconds: float = SECONDS
) -> tuple[Row, dict[str, Any]]:
    """Predicts, measures, appends one record.

    Returns:
        The row, and what `found` says.

    Raises:
        BadRequest: the grid does not grow from 0 or more.
        Missing, EngineError: a network cannot be emulated here, or does not keep its profile.
    """
    if list(grid_ms) != sorted(set(grid_ms)) or len(grid_ms) < 2 or grid_ms[0] < 0:
        raise BadRequest(f"a grid of round trips grows from 0 or more; got {', '.join(f'{one:g}' for one in grid_ms)}")
    with golden_inputs(setting.bundle) as inputs:
        lan = point(setting, inputs, network.PROFILES["lan"], seconds)
        sides = Sides(lan.device_ns, lan.cloud_ns, lan.measured["rtt_ms"], payload_of(setting.bundle), lan.server_ns,
                      device_joules=lan.device_joules)  # fmt: skip
        points = []
        for rtt in grid_ms:
            profile = network.Profile(rtt, 0, mbit, mbit, 0, "the grid of the break-even study")
            points.append(point(setting, inputs, profile, seconds))
            sys.stderr.write(f"{points[-1]}\n")
    row = agreement(grid_ms, points, round_trip_ms(sides, mbit))
    said = found(sides, grid_ms[-1], mbit, prices)
    entry = results.record(
        kind="study",
        commit=commit(),
        bundle={"name": setting.bundle.name, "version": setting.bundle.version},
        artifact={"id": setting.device},
        target="device",
        host=host(),
        scenario={"study": STUDY, "run": uuid.uuid4().hex, "threads": setting.device_threads, "cloud": setting.cloud,
                  "cloud_threads": setting.cloud_threads, "emulated": True, "seconds": seconds, "mbit": mbit},
        latency_ns=[],
        rows=[row],
        lan=vars(lan),
        points=[vars(one) for one in points],
        break_even=said,
        validity={"valid": row["holds"] is not None, "flags": [] if row["holds"] is not None else [row["note"]]},
    )  # fmt: skip
    results.append([entry], results.folder() / f"{host()['fingerprint']}.jsonl")
    return row, said


def point(setting: Setting, inputs: Sequence[Any], profile: network.Profile, seconds: float) -> Point:
    """Device and cloud in turn, on one link."""
    path = setting.bundle.source.path
    with contextlib.ExitStack() as stack:
        link = stack.enter_context(network.opened("lan" if profile.rtt_ms is None else "grid", profile))
        serve = [sys.executable, "-m", "edge_runtime.cli", "serve", str(path.absolute()), "--artifact", setting.cloud,
                 "--threads", str(setting.cloud_threads), "--max-batch", "1", "--port", "0", "--json"]  # fmt: skip
        url = stack.enter_context(serving.served([*link.server_prefix, *serve, "--host", link.address]))
        cloud = stack.enter_context(client.start(url, path, prefix=link.client_prefix))
        device = stack.enter_context(setting.on_device())
        for child in (cloud, device):
            child.ask([inputs[0]] * WARM_UP)
        times: dict[str, list[float]] = {"device": [], "cloud": [], "server": []}
        joules: list[float | None] = []
        end, turns = time.monotonic() + seconds, itertools.cycle(inputs)
        while time.monotonic() < end:
            asked = [next(turns)] * 2
            for name, child in (("device", device), ("cloud", cloud), ("cloud", cloud), ("device", device)):
                answers = child.ask(asked, energy=name == "device")
                times[name] += [answer["total_ns"] for answer in answers]
                if name == "cloud":
                    times["server"] += [answer["ns"].get("inference", 0) for answer in answers]
                else:
                    joules.append(child.spent["joules"])
        told = [value for value in joules if value is not None]
        a_device_answer = sum(told) / len(times["device"]) if len(told) == len(joules) else None
        usual = {name: statistics.median(values) for name, values in times.items()}
        return Point(profile.rtt_ms or 0.0, usual["device"], usual["cloud"], usual["server"], link.measured,
                     len(times["cloud"]), a_device_answer)  # fmt: skip


def agreement(grid_ms: Sequence[float], points: Sequence[Point], predicted_ms: float) -> Row:
    """The row: whether the predicted crossing lies at most one step of the grid from the measured one.

    A crossing below the grid is taken at its first round trip, on both sides; one above it was not measured.
    """
    steps = [after - before for before, after in itertools.pairwise(grid_ms)]
    apart = [(one.device_ns - one.cloud_ns) / 1e6 for one in points]
    title, n = "break-even: predicted against measured crossing, ms of round trip", sum(one.n for one in points)
    if apart[0] <= 0:
        holds = predicted_ms <= grid_ms[1]
        note = f"the device is faster on the whole grid; predicted at {predicted_ms:.1f} ms; try a slower --device"
        return paired.row(title, max(0.0, predicted_ms - grid_ms[0]), steps[0], holds, n, note)
    place = next((number for number, value in enumerate(apart) if value <= 0), None)
    if place is None:
        note = f"not crossed by {grid_ms[-1]:g} ms; predicted at {predicted_ms:.1f} ms: give a longer --grid"
        return paired.row(title, None, None, None, n, note)
    before, after = apart[place - 1], apart[place]
    crossing = grid_ms[place - 1] + steps[place - 1] * before / (before - after)
    value, step = abs(predicted_ms - crossing), steps[place - 1]
    note = f"predicted {predicted_ms:.1f}, measured {crossing:.1f}; links emulated"
    return paired.row(title, value, step, value <= step, n, note)


def payload_of(bundle: Bundle) -> int:
    """The bytes that a client sends for one row."""
    takes = bundle.spec.inputs[0]
    return math.prod(takes.sample_shape) * DTYPES[takes.dtype][1]


def _price(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be 0 or more; got {text}")
    return value


def main(argv: list[str]) -> int:
    """Parses, studies, prints the chart, the sentence and the row."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.break_even", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--device", metavar="ID", help="an artifact, or eager (the bundle's first that runs here)")
    parser.add_argument("--cloud", metavar="ID", help="what the server runs (likewise)")
    parser.add_argument("--device-threads", type=int, default=1, help="(1)")
    parser.add_argument("--cloud-threads", type=int, help="(the cores here, at most 4)")
    parser.add_argument("--run", type=Path, help="for eager: the run that the bundle came from (runs/NAME)")
    parser.add_argument("--grid", default=",".join(f"{one:g}" for one in GRID_MS), help="round trips, ms (%(default)s)")
    parser.add_argument("--per-1000", type=_price, metavar="PRICE", help="of 1,000 answers of the cloud")
    parser.add_argument("--device-price", type=_price, metavar="PRICE", help="of one device, in the same money")
    parser.add_argument("--kwh", type=_price, metavar="PRICE", help="of a kilowatt-hour, in the same money")
    parser.add_argument("--radio", type=_price, metavar="JOULES", help="that sending a megabyte takes the device")
    parser.add_argument("--json", action="store_true", help="all that was found")
    args = parser.parse_args(argv)
    try:
        bundle = open_bundle(args.bundle)
        first = next((one.id for one in bundle.artifacts if engines.available(one.engine)), bundle.artifacts[0].id)
        for name in (args.device, args.cloud):
            if name not in (None, "eager"):
                bundle.artifact(name)
        threads, run = args.cloud_threads or engines.default_threads(), args.run or Path("runs") / bundle.name
        setting = Setting(bundle, args.device or first, args.cloud or first, args.device_threads, threads, run)
        try:
            grid = [float(one) for one in args.grid.split(",")]
        except ValueError as error:
            raise BadRequest(f"--grid takes round trips in ms joined by commas; got {args.grid!r}") from error
        row, said = study(setting, grid, Prices(args.per_1000, args.device_price, args.kwh, args.radio))
    except LokmaError as error:
        sys.stderr.write(f"break_even: {error}\n")
        return error.exit_code
    lines = f"{chart(said)}\n{sentence(said)}\n{budget.line(row)}"
    sys.stdout.write((json.dumps({"row": row, **said}) if args.json else lines) + "\n")
    return 0 if row["holds"] else 1
