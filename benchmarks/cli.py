"""`lokma bench BUNDLE…`: a thin skin over `benchmarks.bench`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.bench import grid
from benchmarks.plan import Plan
from benchmarks.scenarios import BOUND_NS, NAMES, PRESETS, Scenario
from benchmarks.targets import TARGETS
from edge_runtime.arguments import Parser
from edge_runtime.errors import BadRequest, NotMeasured


def main(argv: list[str]) -> int:
    """Parses, measures, prints the table; the exit code is `outcome`'s."""
    args = _parser().parse_args(argv)
    if not args.json:
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        logging.getLogger("benchmarks").setLevel(logging.INFO)
    if args.layers:
        return _layers(args)
    if args.against:
        raise BadRequest("--against names the artifact that --layers compares with; give both")
    records: list[dict[str, Any]] = []
    try:
        for entry in grid(args.bundles, _plan(args), args.resume):
            records.append(entry)
            if args.json:
                print(json.dumps(entry, ensure_ascii=False), flush=True)
    finally:  # also after Ctrl-C: what was measured is shown
        if records and not args.json:
            print(report.whole(records))
    return outcome(records)


def outcome(records: Sequence[Mapping[str, Any]]) -> int:
    """1 where something failed; what is not here to be measured (`NotMeasured`) is a row, and 3 where that is all."""
    absent = [entry.get("failure", {}).get("what") == NotMeasured.__name__ for entry in records]
    if any("failure" in entry and not gone for entry, gone in zip(records, absent, strict=True)):
        return 1
    return NotMeasured.exit_code if records and all(absent) else 0


def _plan(args: Any) -> Plan:
    from benchmarks.sustained import seconds_of

    rules = {"qps": args.qps, "bound_ns": round(args.bound_ms * 1e6), "seed": args.seed}
    plain = Scenario(args.scenario, **rules)
    return Plan(
        on=_listed(args.on),
        run=args.run,
        threads=args.threads,
        cold_starts=args.cold_starts,
        artifacts=_listed(args.artifacts) or None,
        networks=_listed(args.network),
        data=args.data,
        wheel=args.wheel,
        scenario=Scenario.preset(args.preset, args.scenario, **rules) if args.preset else plain,
        sustained_s=seconds_of(args.sustained) if args.sustained else None,
        anyway=args.anyway,
    )


def _layers(args: Any) -> int:
    from benchmarks.layers import layers, table

    if len(args.bundles) != 1:
        raise BadRequest("--layers takes one bundle apart; give one")
    artifacts = _listed(args.artifacts)
    found = layers(args.bundles[0], artifacts[0] if artifacts else None, args.against, args.threads)
    print(json.dumps(found) if args.json else table(found))
    return 0


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _parser() -> Parser:
    parser = Parser(
        prog="lokma bench",
        description="Measure bundles; append one record a system to results/ (LOKMA_RESULTS). What fails is a row.",
    )
    add = parser.add_argument
    add("bundles", nargs="+", type=Path, metavar="BUNDLE", help="a bundle folder, or its .zip")
    where = f"targets joined by commas, of {', '.join(TARGETS)}; cloud=URL is any server, ssh://user@host a machine"
    add("--on", default="device,eager", help=where)
    add("--artifacts", default="", metavar="IDS", help="joined by commas (all)")
    add("--network", default="", metavar="PROFILES", help="emulated between `lokma serve` and its client: lan,lte")
    add("--run", type=Path, help="the run that the bundle came from, for eager and gpu (runs/NAME)")
    add("--data", type=Path, metavar="FOLDER", help="judge on this: pictures in folders named by labels, or a .csv")
    add("--scenario", default=NAMES[0], help=f"MLPerf's {', '.join(NAMES)} ({NAMES[0]})")
    least = ", ".join(f"{name} {seconds:g} s and {queries} queries" for name, (seconds, queries) in PRESETS.items())
    add("--preset", metavar="NAME", help=f"measure at least: {least}")
    add("--qps", type=float, help="the rate at which Server's queries arrive, or that Offline expects")
    add("--bound-ms", type=float, default=BOUND_NS / 1e6, metavar="MS", help="Server's p99 must stay within (100)")
    add("--seed", type=int, default=0, help="draws Server's arrivals and samples (0)")
    add("--sustained", metavar="30m", help="so long without a pause: minute 1 against minute N")
    add("--threads", type=int, help="of every system (the cores here, at most 4)")
    add("--cold-starts", type=int, default=7, help="fresh processes of each system (7)")
    add("--wheel", type=Path, help="lokma's wheel, for a machine behind ssh that has none")
    add("--resume", action="store_true", help="leave out what the same command has measured here before")
    add("--anyway", action="store_true", help="measure on an unfit machine too, and mark the records")
    add("--layers", action="store_true", help="each operator's time, in place of measuring")
    add("--against", metavar="ID", help="another artifact beside it, with --layers")
    add("--json", action="store_true", help="print one record a line")
    return parser
