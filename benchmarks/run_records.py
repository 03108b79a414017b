"""The records of a run: what a system reached, what could not be measured and why, and what phones have posted."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import figures, report, results
from benchmarks.environment import host
from benchmarks.evaluation import Work
from benchmarks.passes import WARM_UP, Measured, block_size
from benchmarks.plan import Plan
from benchmarks.scenarios import Scenario
from benchmarks.targets import System
from edge_runtime.bundle import Bundle
from edge_runtime.errors import LokmaError, NotMeasured
from train.provenance import commit

STOPPED = "stopped"  # what Ctrl-C left unmeasured is no record: a resumed run measures it


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


def measured(note: Note, system: System, found: Measured, doubts: Sequence[str]) -> dict[str, Any]:
    """The record of a system that was measured, as far as it came."""
    inputs = len(note.work.inputs)
    latencies, a_pass = figures.latencies_of(found, inputs)
    if not latencies:
        stop = {"what": STOPPED, "detail": "stopped by Ctrl-C before it was measured"}
        lost = figures.unanswered(found)
        none = {"what": "NoAnswer", "detail": f"no query was answered: {lost['kinds']}"} if lost else stop
        return _nothing(note, system.name, system.target, system.artifact, found.failure or none, system.fields)
    asked, plan = note.plan.scenario.name, note.plan
    if not found.offered and asked != Scenario().name:  # what there is are the passes that judge it
        plan = replace(plan, scenario=Scenario())
    intervals, reasons = figures.latency_figures(latencies, a_pass)
    spent, why, odd = figures.spent_of(found, note.threads)
    judgement = figures.judged(note.bundle, found, note.work)
    memory = {} if found.peak_rss_bytes else {"peak_rss_bytes": "not measured: this system does not say, or it ended"}
    flags = [*note.flags, *system.fields.get("flags", ()), *doubts, *odd]
    if found.partial:
        flags.append("partial: stopped by Ctrl-C")
    if found.failure:
        flags.append(f"partial: it failed on the way: {found.failure['detail']}")
    if plan.scenario.name != asked:
        flags.append(f"partial: it stopped before {asked} was measured; these are {plan.scenario.name}'s times")
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
            **replace(note, plan=plan).scenario(system.name),
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
    elif passes > 1 and report.is_noisy(whole):
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


def failed(note: Note, target: str, error: LokmaError) -> dict[str, Any]:
    """A target that could not even be started."""
    failure = {"what": type(error).__name__, "detail": str(error)}
    artifact = {"id": target, "engine": "", "precision": "", "sha256": None, "size_bytes": None}
    return _nothing(note, target, target, artifact, failure, {})


def unopened(path: str | Path, plan: Plan, error: LokmaError) -> dict[str, Any]:
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


def phones(note: Note) -> list[dict[str, Any]]:
    """The newest record of each phone that measured this bundle: they are shown, not measured here."""
    newest: dict[Any, dict[str, Any]] = {
        (entry["host"].get("fingerprint"), entry["artifact"].get("id")): entry
        for entry in results.read().records
        if entry["kind"] == "bench" and entry["target"] == "phone" and entry["bundle"].get("name") == note.bundle.name
        and not entry.get("failure")
    }  # fmt: skip
    if newest:
        return list(newest.values())
    why = NotMeasured(
        f"not measured: no phone has posted a record of {note.bundle.name}; `lokma phone` serves its page"
    )
    return [failed(note, "phone", why)]
