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

Record = Mapping[str, Any]
STAGES = ("decode", "preprocess", "queue", "network", "inference", "postprocess")
ON_DEVICES = ("device", "phone", "ssh")  # targets that run a bundle's own files
NOT_WHOLE = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)


@dataclass(frozen=True)
class Accuracy:
    """How good the answers were: `value` is a share of 1 for top-1, a mean return for a policy."""

    metric: str
    value: float
    right: int | None
    n: int
    low: float
    high: float
    data: str = ""
    elsewhere: str = ""  # the processor where this very file was judged, if not here


@dataclass(frozen=True)
class Measurement:
    """One system of one run; None where the record says that it was not measured."""

    id: str
    time: datetime
    system: str
    target: str
    engine: str
    precision: str
    sha256: str
    size_bytes: int | None
    p50_ns: int
    p90_ns: int
    p99_ns: int | None
    p50_interval_ns: tuple[int, int] | None
    stages_ns: Mapping[str, int]
    cold_ns: int | None
    peak_rss_bytes: int | None
    accuracy: Accuracy | None
    valid: bool
    cpu: str
    n: int
    record: Record
    notes: str = ""
    host: str = ""  # the machine's fingerprint


@dataclass(frozen=True)
class Failure:
    """A system that could not be measured, and the record's own words why."""

    system: str
    target: str
    detail: str


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
    failures: tuple[Failure, ...] = ()

    @property
    def baseline(self) -> Measurement | None:
        """Eager torch, the course's way."""
        return next((one for one in self.systems if one.target == "eager"), None)

    @property
    def device(self) -> tuple[Measurement, ...]:
        """The model files that ran on the device, a phone or a machine reached by ssh being one too."""
        return tuple(one for one in self.systems if one.target in ON_DEVICES)

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
            _run([record])  # read once here, so that one bad record spoils no run
            grouped.setdefault(str(record["scenario"]["run"]), []).append(record)
        except NOT_WHOLE:
            unreadable += 1
    found = sorted(map(_run, grouped.values()), key=lambda run: run.time, reverse=True)
    return Runs(tuple(found), unreadable)


def from_row(row: Mapping[str, Any]) -> Measurement:
    """A measurement from the scalar columns of the view `records`, without its raw samples.

    Raises:
        ValueError, TypeError, KeyError: the row lacks what a measurement needs.
    """
    interval = (row["p50_low_ns"], row["p50_high_ns"])
    known = row["accuracy"] is not None and row["accuracy_low"] is not None
    return Measurement(
        id=row["id"],
        time=moment(row["time"]),
        system=str(row["artifact"]),
        target=row["target"],
        engine=str(row["engine"] or ""),
        precision=str(row["precision"] or ""),
        sha256=str(row["artifact_sha256"] or ""),
        size_bytes=row["size_bytes"],
        p50_ns=int(row["p50_ns"]),
        p90_ns=int(row["p90_ns"]),
        p99_ns=_whole(row["p99_ns"]),
        p50_interval_ns=(int(interval[0]), int(interval[1])) if None not in interval else None,
        stages_ns={stage: int(row[f"{stage}_ns"] or 0) for stage in STAGES},
        cold_ns=_whole(row["cold_ns"]),
        peak_rss_bytes=_whole(row["peak_rss_bytes"]),
        accuracy=Accuracy(
            str(row["metric"]),
            float(row["accuracy"]),
            _whole(row["correct"]),
            int(row["accuracy_n"]),
            float(row["accuracy_low"]),
            float(row["accuracy_high"]),
        )
        if known
        else None,
        valid=bool(row["valid"]),
        cpu=str(row["host_cpu"] or "?"),
        n=int(row["n"] or 0),
        record={},
        notes=str(row["notes"] or ""),
        host=str(row["host_fingerprint"] or ""),
    )


def moment(time: str | datetime) -> datetime:
    """A record's time, in UTC."""
    return (datetime.fromisoformat(time) if isinstance(time, str) else time).astimezone(UTC)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _run(group: list[Record]) -> Run:
    first = group[0]
    bundle, host = first["bundle"], first["host"]
    measured = [_measurement(record) for record in group if record["latency_ns"]]
    systems = sorted(measured, key=lambda one: (one.target not in ON_DEVICES, one.p50_ns))
    flags = [flag for record in group for flag in record["validity"].get("flags") or []]
    flags += ["" for record in group if not record["validity"].get("valid") and not record["validity"].get("flags")]
    notes = [note for record in group for note in record.get("notes") or []]
    return Run(
        id=str(first["scenario"]["run"]),
        time=moment(first["time"]),
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
        failures=tuple(_failure(record) for record in group if not record["latency_ns"]),
    )


def _failure(record: Record) -> Failure:
    why = record["failure"]
    said = ": ".join(str(why[key]) for key in ("what", "detail") if why.get(key))
    return Failure(str(record["artifact"].get("id") or "?"), str(record["target"]), said)


def _measurement(record: Record) -> Measurement:
    artifact, interval, cold = record["artifact"], record.get("p50_interval_ns"), record.get("cold_start_p50_ns")
    starts = record.get("cold_start_ns") or []
    if cold is None and len(starts) == 1:  # a phone's one start is its own median
        cold = starts[0] if isinstance(starts[0], Mapping) else {"total": starts[0]}
    size = artifact.get("size_bytes")
    if size is not None and int(size) <= 0:
        raise ValueError("a file of no size")
    return Measurement(
        id=str(record["id"]),
        time=moment(record["time"]),
        system=str(artifact["id"]),
        target=str(record["target"]),
        engine=str(artifact.get("engine") or ""),
        precision=str(artifact.get("precision") or ""),
        sha256=str(artifact.get("sha256") or ""),
        size_bytes=_whole(size),
        p50_ns=int(record["p50_ns"]),
        p90_ns=int(record["p90_ns"]),
        p99_ns=_whole(record.get("p99_ns")),
        p50_interval_ns=(int(interval[0]), int(interval[1])) if interval else None,
        stages_ns={stage: int((record.get("stages_ns") or {}).get(stage) or 0) for stage in STAGES},
        cold_ns=int(cold["total"]) if cold else None,
        peak_rss_bytes=_whole(record.get("peak_rss_bytes") or None),
        accuracy=_accuracy(record.get("accuracy")),
        valid=bool(record["validity"].get("valid")),
        cpu=str(record["host"].get("cpu") or "?"),
        n=int(record["n"]),
        record=record,
        notes="; ".join(map(str, record.get("notes") or [])),
        host=str(record["host"].get("fingerprint") or ""),
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
