"""From models to artifacts: each recipe's function is called, and what it gives is written and described.

What was lowered before is taken from `export.cache`. The rest is made in processes of its own (`export.processes`),
as many at a time as there are cores, where the model is large enough to be worth it. The recipes of one module that
start from one exported graph share a process, and all share what was made of the model before: its folded copy, and
what its weights are rounded by.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.host import usable_cores
from export.recipes import RECIPES, Job, Lowered

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)
TOOLS = ("torch", "executorch", "torchao", "onnx", "onnxscript", "onnxruntime")  # whose versions decide a result
SHARED = ("export.to_onnx",)  # modules whose recipes start from one graph, which takes longer than the rest
ROUNDED = ("xnnpack-int8", "onnx-int8")  # recipes that round weights by the moments of what layers are given
APART_FROM_BYTES = 1 << 20  # of weights: for fewer, what each process imports and warms up costs more than it saves


def lower(name: str, job: Job) -> Lowered:
    """Calls the recipe's function, here and now."""
    log.info("lowering %s", name)
    return _called(name, job)


def lower_all(jobs: Mapping[str, Job], fresh: bool = False) -> dict[str, Lowered]:
    """Lowers each recipe's job; the result is in the order given, and the same however it was made.

    Args:
        jobs: by the recipe's name.
        fresh: take nothing from the cache.

    Raises:
        EngineError: a process that lowered was ended from outside, or crashed.
        Exception: what a recipe's function raised; nothing is returned then, and nothing was written.
    """
    from export import cache

    keys = {name: cache.key_of(name, job) for name, job in jobs.items() if _traceable(job.model)}
    found = {name: lowered for name, key in keys.items() if not fresh and (lowered := cache.get(key))}
    for name in found:
        log.info("%s is as it was lowered before", name)
    for name, lowered in _made({name: job for name, job in jobs.items() if name not in found}):
        found[name] = lowered
        if name in keys:
            cache.put(keys[name], cache.pack(lowered))
    return {name: found[name] for name in jobs}


def _made(jobs: Mapping[str, Job]) -> Iterator[tuple[str, Lowered]]:
    """Each recipe's result: from processes beside each other, or one after another here."""
    from export import processes
    from export.cache import pack, unpack

    groups = _groups(jobs)
    slots = min(usable_cores(), len(groups))
    models = {id(job.model): job for job in jobs.values()}.values()
    if slots < 2 or sum(_weight_bytes(job.model) for job in models) < APART_FROM_BYTES or not processes.possible():
        yield from ((name, lower(name, job)) for name, job in jobs.items())
        return
    from export.fold import folded

    for job in models:
        folded(job.model, job.spec)  # remembered: every child has it then
    rounding = [group for group in groups if set(group) & set(ROUNDED)]
    prepare: Callable[[], None] | None = None
    if len(rounding) > 1:
        prepare = functools.partial(_round_once, {id(jobs[n].model): jobs[n] for n in jobs if n in ROUNDED}.values())
        quick = [group for group in groups if group not in rounding]
        groups = [*quick[:1], *rounding, *quick[1:]]  # one that needs nothing prepared goes first
        if not quick:
            prepare()
            prepare = None
    made = processes.made(groups, lambda name: pack(_called(name, jobs[name])), slots, prepare)
    yield from ((name, unpack(packed)) for name, packed in made)


def _round_once(jobs: Collection[Job]) -> None:
    """What weights are rounded by takes a run of every calibration input: it is made once, before others are forked."""
    from export.rounding import moments_of
    from train.fit import one_thread

    with one_thread():
        for job in jobs:
            if _traceable(job.model):
                moments_of(job.model, job.spec, job.calibration)


def _called(name: str, job: Job) -> Lowered:
    module, function = RECIPES[name].lower.split(":")
    called: Callable[[Job], Lowered] = getattr(importlib.import_module(module), function)
    from export.lean import lean
    from train.fit import one_thread

    with lean(), one_thread():  # sums in another order round otherwise: the same everywhere gives one file everywhere
        return called(job)


def _groups(names: Mapping[str, Job]) -> list[list[str]]:
    """What is made in one process, the longest work first: int8 calibrates, the other recipes do not."""
    groups: dict[str, list[str]] = {}
    for name in names:
        module = RECIPES[name].lower.split(":")[0]
        groups.setdefault(module if module in SHARED else name, []).append(name)
    return sorted(groups.values(), key=lambda group: not any(RECIPES[name].precision == "int8" for name in group))


def _traceable(model: nn.Module) -> bool:
    """Whether it is a torch module, of whose program a key can be made; not so an `.onnx` that was read."""
    from export.onnx_graph import RawGraph

    return not isinstance(model, RawGraph)


def _weight_bytes(model: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def entry(name: str, lowered: Lowered, folder: Path) -> dict[str, Any]:
    """Writes an artifact's file into the bundle that is being made.

    Returns:
        Its entry of the manifest, without what `judge` adds.
    """
    row = RECIPES[name]
    file = name + row.suffix
    (folder / file).write_bytes(lowered.data)
    return {
        "id": name,
        "file": file,
        "engine": row.engine,
        "precision": row.precision,
        "sha256": hashlib.sha256(lowered.data).hexdigest(),
        "size_bytes": len(lowered.data),
        "recipe": name,
        "engine_version": importlib.metadata.version(row.engine),
        **lowered.details,
    }
