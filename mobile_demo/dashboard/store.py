"""What the pages ask of the records: SQL over the view `records` of `benchmarks.results.connect`, scalars only.

>>> from benchmarks import results
>>> Records(results.connect(results.folder())).bundles()                                # doctest: +SKIP
['cartpole', 'foodvision-mini']
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from edge_runtime.errors import LokmaError
from mobile_demo.dashboard.runs import NOT_WHOLE, ON_DEVICES, Measurement, from_row, moment

Row = dict[str, Any]
REMEMBERED = 500  # answers, and whole records
SHOWN = 60  # systems of the table; the rest are counted
DEVICES = 500
RUNS = 30  # of a bundle on a device that can be chosen
SYSTEMS = 64  # of one run
LISTED = 200
STUDIES = 30  # of a bundle, of all kinds


class Store(Protocol):
    """What `benchmarks.results.connect` gives."""

    dropped: int

    def sql(self, query: str, parameters: Sequence[Any] = (), /) -> list[Row]:
        """The rows of a query over the view `records`."""

    def records(self, ids: Sequence[str], /) -> Mapping[str, Mapping[str, Any] | None]:
        """Whole records by their ids; None for one that contradicts itself."""


@dataclass(frozen=True)
class Device:
    """A machine or phone that reported."""

    fingerprint: str
    cpu: str
    cores: int
    memory_bytes: int
    targets: tuple[str, ...]
    bundles: tuple[str, ...]
    records: int
    newest: datetime


@dataclass(frozen=True)
class Field:
    """The answers to *was it right?* about one file, and its accuracy on the test side."""

    bundle: str
    artifact: str
    precision: str
    devices: int
    right: int
    n: int
    newest: datetime


class Records:
    """The questions; every answer is a plain value that the views turn into words.

    A store holds what was there when it was opened, so each answer is remembered; visitors ask one at a time, since
    a connection of DuckDB serves no two at once.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, tuple[Any, ...]], list[Row]] = {}
        self._whole: dict[str, Mapping[str, Any] | None] = {}
        self._one_at_a_time = threading.Lock()

    @property
    def dropped(self) -> int:
        """Lines that could not be read as records."""
        return self._store.dropped

    def _sql(self, query: str, parameters: Sequence[Any] = ()) -> list[Row]:
        asked = (query, tuple(parameters))
        with self._one_at_a_time:
            if asked not in self._known:
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known[asked] = self._store.sql(query, list(parameters))
            return self._known[asked]

    def record(self, identifier: str) -> Mapping[str, Any] | None:
        """A whole record with its raw samples; None where it contradicts itself or is gone."""
        return next(iter(self.whole([identifier])), None)

    def whole(self, ids: Sequence[str]) -> list[Mapping[str, Any]]:
        """Whole records by their ids; one that contradicts itself or is gone is left out."""
        with self._one_at_a_time:
            unknown = [one for one in ids if one not in self._whole]
            if len(self._whole) + len(unknown) > REMEMBERED:
                self._whole.clear()
                unknown = list(ids)
            try:
                self._whole |= self._store.records(unknown)
            except LokmaError:
                return []
            return [found for one in ids if (found := self._whole.get(one)) is not None]

    def _summary(self) -> list[Row]:
        """Who measured which bundle where: few rows for many records, asked once."""
        return self._sql(
            "SELECT kind, bundle, target, host_fingerprint AS fingerprint, arg_max(host_cpu, time) AS cpu, "
            "arg_max(host_cores, time) AS cores, arg_max(host_memory_bytes, time) AS memory, count(*) AS n, "
            "count(p50_ns) AS timed, max(time) AS newest FROM records GROUP BY ALL"
        )

    def bundles(self) -> list[str]:
        """Names of the bundles that were measured, the one measured last first."""
        newest: dict[str, str] = {}
        for row in self._summary():
            if row["kind"] == "bench" and row["bundle"] is not None:
                newest[row["bundle"]] = max(newest.get(row["bundle"], ""), row["newest"])
        return sorted(sorted(newest), key=newest.__getitem__, reverse=True)

    def targets(self, bundle: str) -> list[str]:
        """Where a bundle was measured."""
        rows = [row for row in self._summary() if row["kind"] == "bench" and row["bundle"] == bundle and row["timed"]]
        return sorted({row["target"] for row in rows})

    def devices(self, bundle: str | None = None) -> list[Device]:
        """Who reported (measurements of a bundle, or anything), the newest first."""
        grouped: dict[str, list[Row]] = {}
        for row in self._summary():
            asked = bundle is None or (row["bundle"] == bundle and row["kind"] == "bench")
            if asked and row["fingerprint"] is not None:
                grouped.setdefault(row["fingerprint"], []).append(row)
        found = [_device(fingerprint, rows) for fingerprint, rows in sorted(grouped.items())]
        return sorted(found, key=lambda one: one.newest, reverse=True)[:DEVICES]

    def runs(self, bundle: str, device: str) -> list[tuple[str, datetime]]:
        """The runs of a bundle on a device: those that measured a file on one, newest first, then the others."""
        rows = self._sql(
            "SELECT run, max(time) AS newest FROM records WHERE kind = 'bench' AND bundle = ? "
            f"AND host_fingerprint = ? AND run IS NOT NULL GROUP BY run "
            f"ORDER BY count(*) FILTER (target IN {ON_DEVICES}) > 0 DESC, newest DESC, run LIMIT {RUNS}",
            [bundle, device],
        )
        return [(row["run"], moment(row["newest"])) for row in rows]

    def run(self, bundle: str, run: str) -> list[Mapping[str, Any]]:
        """The whole records of one run."""
        rows = self._sql(
            f"SELECT id FROM records WHERE kind = 'bench' AND bundle = ? AND run = ? ORDER BY time, id LIMIT {SYSTEMS}",
            [bundle, run],
        )
        return self.whole([row["id"] for row in rows])

    def newest(
        self, bundle: str, targets: Sequence[str] = (), device: str | None = None
    ) -> tuple[list[Measurement], int]:
        """The newest measurement of each system on each device, fastest first, and how many there are in all."""
        chosen = "kind = 'bench' AND bundle = ? AND p50_ns IS NOT NULL"
        values: list[Any] = [bundle]
        if targets:
            chosen += f" AND target IN ({', '.join('?' * len(targets))})"
            values += targets
        if device:
            chosen += " AND host_fingerprint = ?"
            values.append(device)
        rows = self._sql(
            "SELECT unnest(arg_max(records, time)), count(*) OVER () AS total FROM records "
            f"WHERE {chosen} GROUP BY artifact, engine, precision, target, host_fingerprint, scenario, threads, "
            # the notes of a server's record name the network between
            f"CASE WHEN target = 'cloud' THEN notes END ORDER BY arg_max(p50_ns, time) LIMIT {SHOWN}",
            values,
        )
        return _measured(rows), int(rows[0]["total"]) if rows else 0

    def all_of(self, bundle: str, device: str | None = None) -> list[Measurement]:
        """The measurements of a bundle, newest first, as far as a list that is chosen from may be long."""
        rows = self._sql(
            "SELECT * FROM records WHERE kind = 'bench' AND bundle = ? AND p50_ns IS NOT NULL "
            f"AND (? IS NULL OR host_fingerprint = ?) ORDER BY time DESC, id LIMIT {LISTED}",
            [bundle, device, device],
        )
        return _measured(rows)

    def measurement(self, identifier: str) -> Measurement | None:
        """One measurement by its id."""
        rows = self._sql("SELECT * FROM records WHERE id = ?", [identifier])
        return from_row(rows[0]) if rows else None

    def studies(self, bundle: str, name: str) -> list[Mapping[str, Any]]:
        """The whole records of a study of a bundle, the newest first."""
        rows = self._sql(
            f"SELECT id FROM records WHERE kind = 'study' AND bundle = ? ORDER BY time DESC, id LIMIT {STUDIES}",
            [bundle],
        )
        found = self.whole([row["id"] for row in rows])
        return [one for one in found if one["scenario"].get("study") == name]

    def bundle_sha256(self, bundle: str) -> str:
        """The manifest's hash in the newest measurement of a bundle; empty where none has one."""
        rows = self._sql(
            "SELECT arg_max(bundle_sha256, time) AS sha256 FROM records WHERE kind = 'bench' AND bundle = ?", [bundle]
        )
        return str(rows[0]["sha256"] or "") if rows else ""

    def accuracy_of(self, sha256: str) -> Measurement | None:
        """The newest measurement of this very file that has an accuracy, wherever it ran."""
        rows = self._sql(
            "SELECT * FROM records WHERE artifact_sha256 = ? AND accuracy IS NOT NULL AND p50_ns IS NOT NULL "
            "ORDER BY time DESC LIMIT 1",
            [sha256],
        )
        return from_row(rows[0]) if rows else None

    def judged(self, bundle: str) -> list[tuple[str, str]]:
        """(id, artifact) of the newest measurement of each artifact that has an accuracy."""
        rows = self._sql(
            "SELECT arg_max(id, time) AS id, artifact FROM records WHERE kind = 'bench' AND bundle = ? "
            "AND accuracy IS NOT NULL GROUP BY artifact ORDER BY artifact",
            [bundle],
        )
        return [(row["id"], row["artifact"]) for row in rows]

    def field(self) -> list[Field]:
        """Field accuracy a file."""
        rows = self._sql(
            "SELECT bundle, artifact, any_value(precision) AS precision, count(DISTINCT host_fingerprint) AS devices, "
            "count(*) FILTER (answer_right) AS right, count(*) AS n, max(time) AS newest FROM records "
            "WHERE kind = 'field' AND answer_right IS NOT NULL GROUP BY bundle, artifact "
            "ORDER BY newest DESC, artifact LIMIT 100"
        )
        return [
            Field(
                row["bundle"],
                str(row["artifact"]),
                str(row["precision"] or ""),
                int(row["devices"]),
                int(row["right"]),
                int(row["n"]),
                moment(row["newest"]),
            )
            for row in rows
        ]

    def newest_of(self, fingerprint: str) -> Mapping[str, Any] | None:
        """A device's newest measurement, whole: what it said of itself."""
        rows = self._sql(
            "SELECT arg_max(id, time) AS id FROM records WHERE kind = 'bench' AND host_fingerprint = ?",
            [fingerprint],
        )
        return self.record(rows[0]["id"]) if rows and rows[0]["id"] else None


def _measured(rows: Sequence[Row]) -> list[Measurement]:
    """The rows that are whole measurements."""
    found = []
    for row in rows:
        with contextlib.suppress(*NOT_WHOLE):
            found.append(from_row(row))
    return found


def _device(fingerprint: str, rows: Sequence[Row]) -> Device:
    newest = max(rows, key=lambda row: row["newest"])
    return Device(
        fingerprint,
        str(newest["cpu"] or "?"),
        int(newest["cores"] or 0),
        int(newest["memory"] or 0),
        tuple(sorted({row["target"] for row in rows if row["target"]})),
        tuple(sorted({row["bundle"] for row in rows if row["bundle"] and row["kind"] in ("bench", "field")})),
        sum(int(row["n"]) for row in rows),
        moment(newest["newest"]),
    )
