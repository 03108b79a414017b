"""Measures systems on the same inputs: each in its own process, in turn by blocks, accuracy and latency together.

How a run goes: fresh processes in turn for the cold start; then one process a system, which answers all
evaluation inputs four times, a block at a time, the others asleep meanwhile. The later passes over the same
blocks against the earlier ones tell how much the machine itself varies (the A/A ratio).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import statistics
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import report, results
from benchmarks.environment import as_installed, busy, host
from benchmarks.targets import System, systems
from edge_runtime import engines, worker
from edge_runtime.bundle import MANIFEST, MAX_MANIFEST_BYTES, Bundle, open_bundle
from edge_runtime.errors import BadBundle, BadRequest
from edge_runtime.measure import interleaved, mean_interval, quantile, repeated_quantile_interval, wilson
from train.provenance import commit

log = logging.getLogger(__name__)
WARM_UP = 5
PASSES = 4
BLOCKS = 15  # a pass
ROWS = 1500  # a pass over observations, which take microseconds: enough that a block's median is steady


@dataclass(frozen=True)
class Work:
    """What every system answers: the inputs, and the right answers (empty for a policy)."""

    data: dict[str, Any]
    inputs: tuple[Any, ...]
    labels: tuple[int, ...]


def bench(
    bundle: str | Path,
    on: Sequence[str] = ("device", "eager"),
    run: str | Path | None = None,
    threads: int | None = None,
    cold_starts: int = 7,
) -> list[dict[str, Any]]:
    """Measures a bundle and appends one record a system to the results.

    Args:
        bundle: a bundle folder or its zip.
        on: target names, see `benchmarks.targets.TARGETS`.
        run: the run that the bundle came from, for the eager baseline; None takes `runs/NAME`.
        threads: of every system; None takes the cores here, at most 4.
        cold_starts: fresh processes of each system; their median has a 95 % interval from 6 on.

    Returns:
        The records, in the order of the systems.

    Raises:
        BadBundle, BadInput, BadRequest, Missing: as opening the bundle, its data and its systems do.
        EngineError: a measured process stopped.
    """
    if (threads is not None and threads < 1) or cold_starts < 1:
        raise BadRequest(f"threads and cold starts must be at least 1; got {threads} and {cold_starts}")
    opened = open_bundle(bundle)
    threads = threads or engines.default_threads()
    chosen = systems(list(on), opened, Path(run or Path("runs") / opened.name), threads)
    work = _work(opened)
    flags = busy()
    log.info("%d systems, %d inputs from %s", len(chosen), len(work.inputs), work.data["name"])
    as_installed()
    cold = _cold_starts(chosen, work, cold_starts)
    measured = _passes(chosen, work)
    scenario = {
        "name": "SingleStream",
        "run": uuid.uuid4().hex,
        "threads": threads,
        "passes": PASSES,
        "inputs_a_pass": len(work.inputs),
        "block": _block(work),
        "warm_up": WARM_UP,
    }
    records = [
        _record(opened, system, work, scenario, cold[system.name], measured[system.name], flags) for system in chosen
    ]
    results.append(records, results.folder() / f"{host()['fingerprint']}.jsonl")
    return records


def _work(bundle: Bundle) -> Work:
    """The bundle's own evaluation data, the same bytes for every system."""
    data = bundle.manifest.get("provenance", {}).get("data")
    if data is None:
        raise BadBundle(f"{bundle.source.path} does not say what data it is judged on; export it again")
    if bundle.spec.task == "policy":
        rows = tuple(tuple(golden.input) for golden in bundle.golden())
        if not rows:
            raise BadBundle(f"{bundle.source.path} has no golden observations to be timed on; export it again")
        return Work(data, rows * math.ceil(ROWS / len(rows)), ())
    from train.data import image_data

    pictures = image_data(data["name"], data["sha256"])
    return Work(
        {"name": pictures.name, "sha256": pictures.sha256, "split": "test"},
        tuple(str(example.path) for example in pictures.test),
        tuple(example.label for example in pictures.test),
    )


def _cold_starts(chosen: Sequence[System], work: Work, count: int) -> dict[str, list[dict[str, int]]]:
    """Fresh processes, in turn: spawn to the first answer."""
    found: dict[str, list[dict[str, int]]] = {system.name: [] for system in chosen}
    by_name = {system.name: system for system in chosen}
    for number, name in enumerate(interleaved(list(by_name), count)):
        with by_name[name].start() as child:
            child.ask(work.inputs[:1])
            found[name].append(child.cold)
        log.info("cold start %d of %d: %s", number + 1, len(by_name) * count, name)
    return found


@dataclass
class Measured:
    """What one system's process said."""

    answers: list[dict[str, Any]]
    versions: dict[str, str]
    peak_rss_bytes: int | None = None
    returns: list[float] | None = None


def _passes(chosen: Sequence[System], work: Work) -> dict[str, Measured]:
    """All inputs, `PASSES` times, block by block in turn."""
    size = _block(work)
    blocks = [work.inputs[i : i + size] for i in range(0, len(work.inputs), size)] * PASSES
    with contextlib.ExitStack() as stack:
        children = {system.name: stack.enter_context(system.start()) for system in chosen}
        found = {}
        for name, child in children.items():
            child.ask(work.inputs[:WARM_UP])
            found[name] = Measured([], child.versions)
            log.info("warm: %s", name)
        position = dict.fromkeys(children, 0)
        for name in interleaved(list(children), len(blocks)):
            found[name].answers += children[name].ask(blocks[position[name]])
            position[name] += 1
        for name, child in children.items():
            found[name].peak_rss_bytes = child.peak_rss_bytes
            if not work.labels:
                found[name].returns = _returns(child, work.data["name"])
    return found


def _returns(child: worker.Worker, environment: str) -> list[float]:
    from train.episodes import TEST_SEEDS, play

    def act(row: Sequence[float]) -> int:
        values = child.ask([[float(value) for value in row]])[0]["values"]
        return max(range(len(values)), key=values.__getitem__)

    return [float(value) for value in play(act, TEST_SEEDS, environment).returns]


def _record(
    bundle: Bundle,
    system: System,
    work: Work,
    scenario: dict[str, Any],
    cold: list[dict[str, int]],
    measured: Measured,
    flags: list[str],
) -> dict[str, Any]:
    latencies = [answer["total_ns"] for answer in measured.answers]
    stages = {
        stage: quantile([answer["ns"].get(stage, 0) for answer in measured.answers], 0.5) for stage in worker.STAGES
    }
    memory = {} if measured.peak_rss_bytes else {"peak_rss_bytes": "this system has no /proc/self/status"}
    whole = results.record(
        kind="bench",
        commit=commit(),
        bundle={
            "name": bundle.name,
            "version": bundle.version,
            "task": bundle.spec.task,
            "sha256": hashlib.sha256(bundle.source.read(MANIFEST, MAX_MANIFEST_BYTES)).hexdigest(),
        },
        artifact=system.artifact,
        target=system.target,
        host=host(),
        versions=measured.versions,
        scenario=scenario,
        latency_ns=latencies,
        p50_interval_ns=list(repeated_quantile_interval(latencies, len(work.inputs), 0.5)),
        stages_ns=stages,
        cold_start_ns=cold,
        cold_start_p50_ns={key: statistics.median_low([entry[key] for entry in cold]) for key in cold[0]},
        peak_rss_bytes=measured.peak_rss_bytes,
        energy_joules=None,
        accuracy=_accuracy(measured, work),
        validity={"valid": not flags, "flags": flags},
        null_reasons={"energy_joules": "not measured by this version", **memory},
        notes=[],
    )
    if report.is_noisy(whole):
        _, low, high = report.same_against_itself(whole)
        said = [*flags, f"noisy: the later passes took {low:.2f} to {high:.2f} of the earlier ones' time"]
        whole["validity"] = {"valid": False, "flags": said}
    return whole


def _accuracy(measured: Measured, work: Work) -> dict[str, Any]:
    if measured.returns is not None:
        from train.episodes import RETURNS

        low, high = mean_interval(measured.returns, RETURNS)
        mean = statistics.fmean(measured.returns)
        return {
            "metric": "episodic return",
            "value": mean,
            "n": len(measured.returns),
            "interval": [low, high],
            "data": work.data,
            "returns": measured.returns,
        }
    rows = [answer["values"] for answer in measured.answers[: len(work.inputs)]]
    predictions = [max(range(len(row)), key=row.__getitem__) for row in rows]
    right = sum(a == b for a, b in zip(predictions, work.labels, strict=True))
    return {
        "metric": "top-1",
        "value": right / len(rows),
        "correct": right,
        "n": len(rows),
        "interval": list(wilson(right, len(rows))),
        "data": work.data,
        "predictions": predictions,
        "labels": list(work.labels),
        "probabilities": [round(max(row), 4) for row in rows],  # of the predicted label
        "inputs": ["/".join(Path(given).parts[-2:]) for given in work.inputs],  # where they lie here says nobody
    }


def _block(work: Work) -> int:
    return max(1, len(work.inputs) // BLOCKS)
