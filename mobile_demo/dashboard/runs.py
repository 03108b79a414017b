"""Records as runs: a `Measurement` is one record that was found whole, a `Run` those measured together.

No figure is made here; what a record lacks is None.

>>> from benchmarks import results
>>> [run.bundle for run in runs(results.read().records).runs]                           # doctest: +SKIP
['cartpole', 'foodvision-mini']
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from benchmarks import report
from edge_runtime.worker import STAGES

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Accuracy:
    """How good the answers were: `value` is a share of 1 for top-1, a mean return for a policy."""

    metric: str
    value: float
    right: int | None
    n: int
    low: float
    high: float
    data: str


@dataclass(frozen=True)
class Measurement:
    """One system of one run, read from its record; None where the record says that it was not measured."""

    record: Record
    system: str
    target: str
    engine: str
    precision: str
    size_bytes: int
    p50_ns: int
    p90_ns: int
    p50_interval_ns: tuple[int, int] | None
    stages_ns: Mapping[str, int]
    cold_ns: int | None
    peak_rss_bytes: int | None
    accuracy: Accuracy | None
    valid: bool

    @property
    def name(self) -> str:
        """The system's name, with its target where that is not plain from it."""
        return self.system if self.target in ("device", "eager") else f"{self.system} · {self.target}"


@dataclass(frozen=True)
class Run:
    """What was measured together, device files before baselines; the facts that all its records share."""

    id: str
    time: datetime
    bundle: str
    version: int
    sha256: str
    task: str
    host: Mapping[str, Any]
    scenario: Mapping[str, Any]
    flags: tuple[str, ...]
    notes: tuple[str, ...]
    systems: tuple[Measurement, ...]

    @property
    def baseline(self) -> Measurement | None:
        """Eager torch, the course's way."""
        return next((one for one in self.systems if one.target == "eager"), None)

    @property
    def device(self) -> tuple[Measurement, ...]:
        """The model files that ran on the device."""
        return tuple(one for one in self.systems if one.target == "device")

    @property
    def thing(self) -> str:
        """The word for one input: a picture is decoded, an observation belongs to a policy."""
        if self.task == "policy":
            return "thing_observation"
        decoded = any(one.stages_ns.get("decode", 0) for one in self.systems)
        return "thing_picture" if decoded else "thing_input"


@dataclass(frozen=True)
class Runs:
    """All runs, newest first, and how many records of measurements lacked what the page needs."""

    runs: tuple[Run, ...]
    unreadable: int

    @property
    def bundles(self) -> list[str]:
        """The bundles' names, the one measured last first."""
        return list(dict.fromkeys(run.bundle for run in self.runs))

    def of(self, bundle: str) -> list[Run]:
        """The runs of one bundle, newest first."""
        return [run for run in self.runs if run.bundle == bundle]


def runs(records: Iterable[Record]) -> Runs:
    """Groups the records of benchmarks by run; other kinds of records are not this page's."""
    grouped: dict[str, list[Record]] = {}
    unreadable = 0
    for record in records:
        if record["kind"] != "bench":
            continue
        try:
            _measurement(record), _run([record])  # read once here, so that one bad record spoils no run
            grouped.setdefault(record["scenario"].get("run", record["id"]), []).append(record)
        except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError):
            unreadable += 1
    found = sorted(map(_run, grouped.values()), key=lambda run: run.time, reverse=True)
    return Runs(tuple(found), unreadable)


def _run(group: list[Record]) -> Run:
    first = group[0]
    bundle, host = first["bundle"], first["host"]
    systems = sorted(map(_measurement, group), key=lambda one: (one.target != "device", one.p50_ns))
    flags = [flag for record in group for flag in record["validity"].get("flags", [])]
    flags += ["" for record in group if not record["validity"].get("valid") and not record["validity"].get("flags")]
    notes = [note for record in group for note in record.get("notes") or []]
    return Run(
        id=str(first["scenario"].get("run", first["id"])),
        time=datetime.fromisoformat(first["time"]).astimezone(UTC),
        bundle=str(bundle["name"]),
        version=int(bundle["version"]),
        sha256=str(bundle.get("sha256", "")),
        task=str(bundle.get("task", "")),
        host={
            **{key: str(host.get(key) or "?") for key in ("fingerprint", "cpu", "cores", "system")},
            "memory_bytes": int(host.get("memory_bytes") or 0),
        },
        scenario=first["scenario"],
        flags=tuple(dict.fromkeys(map(str, flags))),
        notes=tuple(dict.fromkeys(map(str, notes))),
        systems=tuple(systems),
    )


def _measurement(record: Record) -> Measurement:
    artifact, interval, cold = (
        record["artifact"],
        record.get("p50_interval_ns"),
        record.get("cold_start_p50_ns"),
    )
    memory = record.get("peak_rss_bytes")
    if not report.block_medians(record) or int(artifact["size_bytes"]) <= 0:
        raise ValueError("no latencies, or no size")
    return Measurement(
        record=record,
        system=str(artifact["id"]),
        target=record["target"],
        engine=str(artifact["engine"]),
        precision=str(artifact["precision"]),
        size_bytes=int(artifact["size_bytes"]),
        p50_ns=int(record["p50_ns"]),
        p90_ns=int(record["p90_ns"]),
        p50_interval_ns=(int(interval[0]), int(interval[1])) if interval else None,
        stages_ns={stage: int((record.get("stages_ns") or {}).get(stage) or 0) for stage in STAGES},
        cold_ns=int(cold["total"]) if cold else None,
        peak_rss_bytes=int(memory) if memory else None,
        accuracy=_accuracy(record.get("accuracy")),
        valid=bool(record["validity"].get("valid")),
    )


def _accuracy(found: Mapping[str, Any] | None) -> Accuracy | None:
    if not found:
        return None
    value, low, high = (float(number) for number in (found["value"], *found["interval"]))
    if not all(map(math.isfinite, (value, low, high))):
        raise ValueError("an accuracy is not a finite number")
    right, data = found.get("correct"), found.get("data") or {}
    return Accuracy(
        metric=str(found["metric"]),
        value=value,
        right=None if right is None else int(right),
        n=int(found["n"]),
        low=low,
        high=high,
        data=str(data.get("name", "")),
    )
