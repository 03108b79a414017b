"""How long the dashboard's main table takes over many records, and how much memory: a process of its own each time.

`python -m benchmarks.results speed` makes the records (seeded, in a temporary folder), asks, prints and records.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.environment import host
from benchmarks.paired import Row, row
from benchmarks.results import compact, schema
from edge_runtime.errors import EngineError
from train.provenance import commit

MAX_SECONDS, MAX_BYTES = 2.0, 1_000_000_000
LATENCIES = {"fresh": 950, "compacted": 100}  # 950 make a line of about 10 kB
PART = 50_000  # records in one compacted file
# The newest run of each bundle on each machine, a line a system: what the dashboard shows first.
MAIN_TABLE = """
WITH newest AS (
  SELECT bundle, host_fingerprint, arg_max(run, time) AS run FROM records
  WHERE kind = 'bench' GROUP BY bundle, host_fingerprint)
SELECT r.* FROM records r JOIN newest USING (bundle, host_fingerprint, run)
WHERE kind = 'bench' ORDER BY bundle, host_fingerprint, p50_ns
"""
# From the first line of a process on, as a page that is opened does; VmHWM is that process's own peak.
CHILD = """
import json, sys, time
began = time.monotonic()
from benchmarks import results
from benchmarks.results.speed import MAIN_TABLE
from edge_runtime.worker import peak_rss_bytes
store = results.connect(sys.argv[1])
shown = len(store.sql(MAIN_TABLE))
seconds = time.monotonic() - began
there = store.sql("SELECT count(*) AS n FROM records")[0]["n"]
print(json.dumps({"seconds": seconds, "bytes": peak_rss_bytes(), "shown": shown, "records": there}))
"""


def rows(fresh: int, compacted: int, repeats: int = 3) -> list[Row]:
    """Makes the records, asks `repeats` times, and appends one record of what was measured."""
    found: list[Row] = []
    samples: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="lokma-records-") as scratch:
        for name, count in (("fresh", fresh), ("compacted", compacted)):
            place = Path(scratch) / name
            place.mkdir()
            size = PART if name == "compacted" else count
            for start in range(0, count, size):
                made = made_records(range(start, min(count, start + size)), LATENCIES[name])
                with (place / f"part-{start}.jsonl").open("wb") as handle:
                    handle.writelines(map(schema.line, made))
                if name == "compacted":
                    compact.compact(place)
            samples[name] = [_asked(place) for _ in range(repeats)]
            found += _rows_of(name, count, samples[name])
    entry = results.record(
        kind="budget",
        commit=commit(),
        bundle={},
        artifact={},
        target="device",
        host=host(),
        scenario={"budget": "records", "run": uuid.uuid4().hex},
        latency_ns=[],
        rows=found,
        samples=samples,
        validity={"valid": True, "flags": []},
    )
    results.append([entry], results.folder() / f"{host()['fingerprint']}.jsonl")
    return found


def made_records(numbers: range, latencies: int) -> Iterator[dict[str, Any]]:
    """Records that look like those of `lokma bench`: 100 bundles on 20 machines, five systems a run."""
    for number in numbers:
        draw = random.Random(number)
        run, system = divmod(number, 5)
        times = [int(draw.lognormvariate(15.5, 0.2)) for _ in range(latencies)]
        yield {
            "schema_version": results.SCHEMA_VERSION,
            "id": uuid.UUID(int=draw.getrandbits(128)).hex,
            "time": (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=run)).isoformat(),
            "kind": "bench",
            "commit": f"{run % 50:040x}",
            "bundle": {"name": f"bundle-{run % 100}", "version": 1, "task": "multiclass", "sha256": f"{run:064x}"},
            "artifact": {"id": f"system-{system}", "engine": "onnxruntime", "size_bytes": 13_000_000},
            "target": "device",
            "host": {"fingerprint": f"{run // 100 % 20:012x}", "cpu": "made up", "cores": 4, "memory_bytes": 1 << 33},
            "scenario": {"name": "SingleStream", "run": f"{run:032x}", "threads": 2},
            "latency_ns": times,
            "p50_interval_ns": [min(times), max(times)],
            "stages_ns": {"decode": 1000, "preprocess": 2000, "inference": 3000, "postprocess": 500},
            "cold_start_p50_ns": {"total": 100_000_000},
            "peak_rss_bytes": 50_000_000,
            "energy_joules": None,
            "accuracy": {"metric": "top-1", "value": 0.98, "correct": 147, "n": 150, "interval": [0.94, 0.99]},
            "validity": {"valid": True, "flags": []},
            "notes": [],
            **schema.derived(times),
        }  # fmt: skip


def said(one: Row) -> str:
    """A row in one line."""
    mark = "holds" if one["holds"] else "FAILS"
    return f"{mark}  {one['name']:<48} {one['value']:10.2f}  (bound {one['bound']:g}) {one['note']}"


def _rows_of(name: str, count: int, asked: list[dict[str, Any]]) -> list[Row]:
    seconds, memory = max(one["seconds"] for one in asked), max(one["bytes"] for one in asked)
    title, note = (
        f"main table over {count:,} {name} records",
        f"{asked[0]['shown']} lines shown; the worst of {len(asked)}",
    )
    whole = all(one["records"] == count for one in asked)
    return [
        row(f"{title}: s", seconds, MAX_SECONDS, whole and seconds <= MAX_SECONDS, len(asked), note),
        row(f"{title}: MB", memory / 1e6, MAX_BYTES / 1e6, whole and memory <= MAX_BYTES, len(asked), note),
    ]


def _asked(place: Path) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", CHILD, str(place)], capture_output=True, text=True)
    if done.returncode:
        raise EngineError(f"asking the records failed: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
