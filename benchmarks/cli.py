"""`lokma bench BUNDLE`: a thin skin over `benchmarks.bench`."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from benchmarks import report
from benchmarks.bench import bench
from benchmarks.targets import TARGETS
from edge_runtime.arguments import Parser


def main(argv: list[str]) -> int:
    """Parses, measures, prints the table."""
    parser = Parser(
        prog="lokma bench",
        description="Measure a bundle; append one record a system to results/ (LOKMA_RESULTS).",
    )
    parser.add_argument("bundle", type=Path, help="a bundle folder")
    parser.add_argument("--on", default="device,eager", help=f"targets joined by commas, of {', '.join(TARGETS)}")
    parser.add_argument("--run", type=Path, help="the run that the bundle came from, for eager (runs/NAME)")
    parser.add_argument("--threads", type=int, help="of every system (the cores here, at most 4)")
    parser.add_argument("--cold-starts", type=int, default=7, help="fresh processes of each system (7)")
    parser.add_argument("--json", action="store_true", help="print one record a line")
    args = parser.parse_args(argv)
    if not args.json:
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        logging.getLogger("benchmarks").setLevel(logging.INFO)
    records = bench(args.bundle, args.on.split(","), args.run, args.threads, args.cold_starts)
    if args.json:
        print("\n".join(json.dumps(entry, ensure_ascii=False) for entry in records))
    else:
        print(f"{report.table(records)}\n\n{report.against_eager(records)}")
    return 0
