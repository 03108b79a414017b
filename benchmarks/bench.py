"""Measures systems on the same inputs, accuracy and latency together, and appends one record a system.

The systems of a bundle run each in its own process, in turn by blocks (`benchmarks.passes`). The later passes over
the same blocks against the earlier ones tell how much the machine itself varies (the A/A ratio). What cannot be
measured is a record too, with its `failure`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import figures, network, report, results
from benchmarks.environment import as_installed, host
from benchmarks.evaluation import Work, work_of
from benchmarks.passes import PASSES, WARM_UP, Measured, block_size, measure
from benchmarks.preflight import Clock, refuse_unfit
from benchmarks.scenarios import Scenario
from benchmarks.targets import Asked, System, parsed, systems
from edge_runtime import engines, worker
from edge_runtime.bundle import MANIFEST, MAX_MANIFEST_BYTES, Bundle, open_bundle
from edge_runtime.errors import BadRequest, LokmaError, Missing
from train.provenance import commit

log = logging.getLogger(__name__)
STOPPED = "stopped"  # what Ctrl-C left unmeasured is no record: a resumed run measures it


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes:
        on: targets, see `benchmarks.targets.TARGETS`.
        run: the run that the bundle came from, for the torch baselines; None takes `runs/NAME`.
        threads: of every system; None takes the cores here, at most 4.
        cold_starts: fresh processes of each system; their median has a 95 % interval from 6 on.
        artifacts: ids; None takes all.
        networks: profiles of `benchmarks.network` between our own server and its client.
        data: what to judge on; None takes the bundle's own.
        wheel: of lokma, for a machine behind ssh that has none.
        scenario: how load is offered, and when it is enough.
        sustained_s: measure so long without a pause, one system after another, in place of the above.
        anyway: measure on an unfit machine too, and mark the records.
    """

    on: tuple[str, ...] = ("device", "eager")
    run: Path | None = None
    threads: int | None = None
    cold_starts: int = 7
    artifacts: tuple[str, ...] | None = None
    networks: tuple[str, ...] = ()
    data: Path | None = None
    wheel: Path | None = None
    scenario: Scenario = field(default_factory=Scenario)
    sustained_s: float | None = None
    anyway: bool = False

    def __post_init__(self) -> None:
        if (self.threads is not None and self.threads < 1) or self.cold_starts < 1:
            raise BadRequest(f"threads and cold starts must be at least 1; got {self.threads} and {self.cold_starts}")
        wanted = parsed(self.on)
        if self.networks and ("cloud", "") not in wanted:
            raise BadRequest("--network lies between `lokma serve` and its client: add cloud to --on")
        for profile in self.networks:  # an unknown one is refused before anything is measured
            network.describe(profile)

    def key(self, bundle_sha256: str) -> str:
        """The same for the same question about the same bundle on the same machine: what a resumed grid goes by."""
        fields = {
            "on": self.on,
            "threads": self.threads,
            "cold_starts": self.cold_starts,
            "artifacts": self.artifacts,
            "networks": self.networks,
            "data": None if self.data is None else str(self.data.resolve()),
            "scenario": self.scenario.to_dict(),
            "sustained_s": self.sustained_s,
            "bundle": bundle_sha256,
            "host": host()["fingerprint"],
        }
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def bench(bundle: str | Path, on: Sequence[str] = ("device", "eager"), **plan: Any) -> list[dict[str, Any]]:
    """Measures one bundle; see `Plan` for the arguments.

    Returns:
        The records, in the order of the systems.

    Raises:
        BadBundle, BadInput, BadRequest, Missing: as opening the bundle and its data do.
        GateFailed: this machine is not fit to be measured on.
    """
    return list(grid([bundle], Plan(on=tuple(on), **plan)))


def grid(bundles: Sequence[str | Path], plan: Plan, resume: bool = False) -> Iterator[dict[str, Any]]:
    """Measures every system of every bundle; what fails is a record, and the next goes on.

    Args:
        bundles: folders or zips.
        plan: how.
        resume: leave out what the same plan has measured here before, of the same bundle.

    Yields:
        The records, which are appended bundle by bundle.

    Raises:
        KeyboardInterrupt: Ctrl-C; what was measured by then is appended, marked partial, and yielded first.
        GateFailed: this machine is not fit to be measured on.
        BadBundle, BadInput, BadRequest, Missing: the only bundle cannot be opened, or its data is not here.
    """
    flags = refuse_unfit(plan.anyway)
    as_installed()
    path = results.folder() / f"{host()['fingerprint']}.jsonl"
    for bundle in bundles:
        try:
            found, stopped = _bundle(bundle, plan, flags, resume)
        except LokmaError as error:
            if len(bundles) == 1:
                raise
            log.warning("%s: %s", bundle, error)
            found, stopped = [_unopened(bundle, plan, error)], False
        results.append([entry for entry in found if entry["target"] != "phone" or "failure" in entry], path)
        yield from found
        if stopped:
            raise KeyboardInterrupt


def _bundle(path: str | Path, plan: Plan, flags: Sequence[str], resume: bool) -> tuple[list[dict[str, Any]], bool]:
    """The records of one bundle, and whether Ctrl-C came."""
    bundle = open_bundle(path)
    digest = hashlib.sha256(bundle.source.read(MANIFEST, MAX_MANIFEST_BYTES)).hexdigest()
    work = work_of(bundle, plan.data)
    threads = plan.threads or engines.default_threads()
    asked = Asked(bundle, Path(plan.run or Path("runs") / bundle.name), threads, plan.artifacts, plan.networks,
                  plan.wheel, work.inputs)  # fmt: skip
    chosen, failed = systems(plan.on, asked)
    key = plan.key(digest)
    done = _done(key) if resume else set()
    if done:
        log.info("measured before, and left out: %s", ", ".join(sorted(done)))
    chosen = [system for system in chosen if system.name not in done]
    log.info("%d systems, %d inputs from %s", len(chosen), len(work.inputs), work.data["name"])
    note = Note(bundle, digest, work, plan, key, uuid.uuid4().hex, threads, tuple(flags))
    clock = Clock()
    if plan.sustained_s is not None:
        from benchmarks.sustained import sustained

        measured = sustained(chosen, work, plan.sustained_s)
    else:
        measured = measure(chosen, work, plan.scenario, plan.cold_starts, _player(bundle, work))
    doubts = clock.doubts()
    records = [_record(note, system, measured[system.name], doubts) for system in chosen]
    stopped = any(one.partial for one in measured.values())
    records = [entry for entry in records if entry.get("failure", {}).get("what") != STOPPED]
    records += [_failed(note, name, error) for name, error in failed]
    if ("phone", "") in parsed(plan.on):
        records += _phones(note)
    return records, stopped


@dataclass(frozen=True)
class Note:
    """What all records of a run share."""

    bundle: Bundle
    sha256: str
    work: Work
    plan: Plan
    key: str
    run: str
    threads: int
    flags: tuple[str, ...]

    def fields(self) -> dict[str, Any]:
        """The record's fields."""
        bundle = self.bundle
        return {
            "kind": "bench",
            "commit": commit(),
            "bundle": {
                "name": bundle.name,
                "version": bundle.version,
                "task": bundle.spec.task,
                "sha256": self.sha256,
            },
            "host": host(),
        }

    def scenario(self, system: str) -> dict[str, Any]:
        """The record's scenario, without what came of it."""
        return {
            **self.plan.scenario.to_dict(),
            "run": self.run,
            "grid": self.key,
            "system": system,
            "threads": self.threads,
            "warm_up": WARM_UP,
        }


def _player(bundle: Bundle, work: Work) -> Any:
    """What plays a policy by a worker's answers; None for other tasks."""
    if bundle.spec.task != "policy":
        return None

    def played(child: worker.Worker) -> list[float]:
        from train.episodes import TEST_SEEDS, play

        def act(row: Sequence[float]) -> int:
            values = child.ask([[float(value) for value in row]])[0]["values"]
            return max(range(len(values)), key=values.__getitem__)

        return [float(value) for value in play(act, TEST_SEEDS, work.data["name"]).returns]

    return played


def _record(note: Note, system: System, found: Measured, doubts: Sequence[str]) -> dict[str, Any]:
    plan, inputs = note.plan, len(note.work.inputs)
    latencies, a_pass = figures.latencies_of(found, inputs)
    if not latencies:
        stop = {"what": STOPPED, "detail": "stopped by Ctrl-C before it was measured"}
        lost = figures.unanswered(found)
        none = {"what": "NoAnswer", "detail": f"no query was answered: {lost['kinds']}"} if lost else stop
        return _nothing(note, system.name, system.target, system.artifact, found.failure or none, system.fields)
    intervals, reasons = figures.latency_figures(latencies, a_pass)
    spent, why, odd = figures.spent_of(found, note.threads)
    judgement = figures.judged(note.bundle, found, note.work)
    memory = {} if found.peak_rss_bytes else {"peak_rss_bytes": "not measured: this system does not say, or it ended"}
    flags = [*note.flags, *system.fields.get("flags", ()), *doubts, *odd]
    if found.partial:
        flags.append("partial: stopped by Ctrl-C")
    if found.failure:
        flags.append(f"partial: it failed on the way: {found.failure['detail']}")
    if lost := figures.unanswered(found):
        what = ", ".join(f"{count} x {error}" for error, count in lost["kinds"].items())
        flags.append(f"{lost['n']} of {lost['of']} queries got no answer: {what}")
    seconds = found.wall_ns / 1e9
    flags += [] if plan.sustained_s is not None else plan.scenario.doubts(latencies, seconds)
    passes = 1 if found.offered else len(figures.kept(found, inputs)[0])
    block = max(1, a_pass // 15) if found.offered or plan.sustained_s is not None else block_size(note.work)
    whole = results.record(
        **note.fields(),
        artifact=system.artifact,
        target=system.target,
        versions=found.versions,
        scenario={
            **note.scenario(system.name),
            "passes": passes,
            "inputs_a_pass": a_pass,
            "block": block,
            "seconds": round(seconds, 3),
        },
        latency_ns=latencies,
        **intervals,
        stages_ns=figures.stages_of(found, inputs),
        cold_start_ns=found.cold,
        cold_start_p50_ns=figures.cold_medians(found.cold),
        peak_rss_bytes=found.peak_rss_bytes,
        **spent,
        accuracy=judgement,
        validity={"valid": not flags, "flags": flags},
        null_reasons={**reasons, **why, **memory},
        notes=list(system.notes),
    )
    whole |= {key: value for key, value in system.fields.items() if key != "flags"}
    if lost:
        whole["unanswered"] = lost
    if found.failure:
        whole["failure"] = found.failure
    if plan.sustained_s is not None:
        from benchmarks.sustained import summary

        whole["sustained"] = summary(found, plan.sustained_s)
    elif report.is_noisy(whole):
        _, low, high = report.same_against_itself(whole)
        said = [*flags, f"noisy: the later passes took {low:.2f} to {high:.2f} of the earlier ones' time"]
        whole["validity"] = {"valid": False, "flags": said}
    return whole


def _nothing(
    note: Note, name: str, target: str, artifact: dict[str, Any], failure: dict[str, str], fields: dict[str, Any]
) -> dict[str, Any]:
    """The record of what could not be measured."""
    whole = results.record(
        **note.fields(),
        artifact=artifact,
        target=target,
        versions={},
        scenario={**note.scenario(name), "passes": 0, "inputs_a_pass": 0, "block": 1},
        latency_ns=[],
        stages_ns={},
        cold_start_ns=[],
        cold_start_p50_ns=None,
        peak_rss_bytes=None,
        energy_joules=None,
        accuracy=None,
        failure=failure,
        validity={"valid": False, "flags": [*note.flags, failure["detail"]]},
        null_reasons={"latency_ns": failure["detail"]},
        notes=[],
    )
    return whole | {key: value for key, value in fields.items() if key != "flags"}


def _failed(note: Note, target: str, error: LokmaError) -> dict[str, Any]:
    """A target that could not even be started."""
    failure = {"what": type(error).__name__, "detail": str(error)}
    artifact = {"id": target, "engine": "", "precision": "", "sha256": None, "size_bytes": None}
    return _nothing(note, target, target, artifact, failure, {})


def _unopened(path: str | Path, plan: Plan, error: LokmaError) -> dict[str, Any]:
    """A bundle of the grid that cannot be opened, or whose data is not here."""
    failure = {"what": type(error).__name__, "detail": str(error)}
    return results.record(
        kind="bench",
        commit=commit(),
        bundle={"name": Path(path).name, "version": 0, "task": "", "sha256": ""},
        artifact={"id": "-", "engine": "", "precision": "", "sha256": None, "size_bytes": None},
        target="-",
        host=host(),
        versions={},
        scenario={**plan.scenario.to_dict(), "run": uuid.uuid4().hex, "system": "-", "block": 1, "inputs_a_pass": 0},
        latency_ns=[],
        accuracy=None,
        failure=failure,
        validity={"valid": False, "flags": [failure["detail"]]},
    )


def _done(key: str) -> set[str]:
    """The systems that this plan has measured whole."""
    return {
        entry["scenario"]["system"]
        for entry in results.read().records
        if entry["scenario"].get("grid") == key and "failure" not in entry and not _is_partial(entry)
    }


def _is_partial(entry: dict[str, Any]) -> bool:
    return any(str(flag).startswith("partial") for flag in entry["validity"].get("flags", ()))


def _phones(note: Note) -> list[dict[str, Any]]:
    """The newest record of each phone that measured this bundle: they are shown, not measured here."""
    newest: dict[Any, dict[str, Any]] = {
        (entry["host"].get("fingerprint"), entry["artifact"].get("id")): entry
        for entry in results.read().records
        if entry["kind"] == "bench" and entry["target"] == "phone" and entry["bundle"].get("name") == note.bundle.name
        and not entry.get("failure")
    }  # fmt: skip
    if newest:
        return list(newest.values())
    why = Missing(f"not measured: no phone has posted a record of {note.bundle.name}; `lokma phone` serves its page")
    return [_failed(note, "phone", why)]


__all__ = ["PASSES", "Plan", "bench", "grid"]
