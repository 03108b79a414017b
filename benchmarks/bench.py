"""Measures systems on the same inputs, accuracy and latency together, and appends one record a system.

The systems of a bundle run each in its own process, in turn by blocks (`benchmarks.passes`). The later passes over
the same blocks against the earlier ones tell how much the machine itself varies (the A/A ratio). What cannot be
measured is a record too, with its `failure`.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results, run_records
from benchmarks.environment import as_installed, host
from benchmarks.evaluation import Work, work_of
from benchmarks.passes import PASSES, measure
from benchmarks.plan import Plan
from benchmarks.preflight import Clock, refuse_unfit
from benchmarks.run_records import Note
from benchmarks.targets import Asked, parsed, systems
from edge_runtime import engines, worker
from edge_runtime.bundle import MANIFEST, MAX_MANIFEST_BYTES, Bundle, open_bundle
from edge_runtime.errors import LokmaError

log = logging.getLogger(__name__)


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
    if len(bundles) == 1:
        opened = open_bundle(bundles[0])  # a wrong name is said first, not after a wait for a quiet machine
        for artifact in plan.artifacts or ():
            opened.artifact(artifact)
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
            found, stopped = [run_records.unopened(bundle, plan, error)], False
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

        found = sustained(chosen, work, plan.sustained_s)
    else:
        found = measure(chosen, work, plan.scenario, plan.cold_starts, _player(bundle, work))
    doubts = clock.doubts()
    records = [run_records.measured(note, system, found[system.name], doubts) for system in chosen]
    stopped = any(one.partial for one in found.values())
    records = [entry for entry in records if entry.get("failure", {}).get("what") != run_records.STOPPED]
    records += [run_records.failed(note, name, error) for name, error in failed]
    if ("phone", "") in parsed(plan.on):
        records += run_records.phones(note)
    return records, stopped


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


def _done(key: str) -> set[str]:
    """The systems that this plan has measured whole."""
    return {
        entry["scenario"]["system"]
        for entry in results.read().records
        if entry["scenario"].get("grid") == key and "failure" not in entry and not _is_partial(entry)
    }


def _is_partial(entry: dict[str, Any]) -> bool:
    return any(str(flag).startswith("partial") for flag in entry["validity"].get("flags", ()))


__all__ = ["PASSES", "Plan", "bench", "grid"]
