"""The one public function of this room: a recipe's name in, a finished run out.

>>> run = train("multiclass-digits", seed=1, name="digits-1")                           # doctest: +SKIP
>>> run.metrics["results"]["test_accuracy"]                                             # doctest: +SKIP
0.9917
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from edge_runtime.errors import BadRequest, Missing
from train.draft import EVERY_S, Draft, is_ours, new_run, settle
from train.provenance import code_sha256, room_modules, versions
from train.recipes import RECIPES, Recipe, make_args
from train.run import Request, Run, load_run, reusable

log = logging.getLogger(__name__)


class RecipeData(Protocol):
    """What `prepare` returns: a name and a hash go into the run, the rest is the recipe's own."""

    @property
    def name(self) -> str:
        """The data set's name, by which export and benchmarks find it again."""
        ...

    @property
    def sha256(self) -> str:
        """Its content hash; empty where the data is no files."""
        ...

    @property
    def origin(self) -> str:
        """Where it was found, in words."""
        ...


class RecipeModule(Protocol):
    """What a recipe's module offers."""

    Args: type[Any]

    def prepare(self, args: Any) -> RecipeData:
        """Finds the data."""
        ...

    def train(self, args: Any, data: Any, draft: Draft) -> None:
        """Trains, and hands the model to the draft."""
        ...


def train(
    recipe: str,
    *,
    name: str | None = None,
    out: str | Path = "runs",
    force: bool = False,
    watch: Callable[[Mapping[str, Any]], None] | None = None,
    checkpoint_s: float = EVERY_S,
    device: str = "auto",
    precision: str = "32-true",
    **arguments: Any,
) -> Run:
    """Trains by a recipe and writes `out/NAME`; a run of the same arguments and data is taken as it is.

    If the code or a library has changed since that run was trained, it is trained again. A run of the same arguments
    and data that was cut off goes on from its last checkpoint, and ends with the same weights as if it had not been.

    Args:
        recipe: a row of `RECIPES`.
        name: the run's; None takes the recipe's own.
        out: where runs lie.
        force: train again, and replace whatever run stands there.
        watch: called with every row of the history as it comes.
        checkpoint_s: seconds between checkpoints at least; 0 writes one at every step.
        device: auto, cpu, cuda or mps; see `train.devices`, also for many processes.
        precision: 32-true, bf16-mixed or 16-mixed.
        **arguments: fields of the recipe's `Args`, such as `seed`.

    Raises:
        BadRequest: an unknown recipe or argument, or another run stands there.
        BadData: the data cannot be used.
        Missing: a library or the data is not here.
    """
    module = recipe_module(recipe)
    from train.checkpoint import circumstances  # these bring torch, as the recipe did
    from train.devices import computing
    from train.splits import splits_of

    args = make_args(module.Args, arguments)
    own_name = getattr(module, "run_of", None)  # a recipe of several models names the run by the model
    target = Path(out) / run_name(recipe, own_name(args) if name is None and own_name is not None else name)
    data = module.prepare(args)
    log.info("%s", data.origin)
    about = {"name": data.name, "sha256": data.sha256, "origin": data.origin}
    code = code_sha256(*room_modules(), RECIPES[recipe].module, "edge_runtime.preprocess")
    request = Request(recipe, dataclasses.asdict(args), about, code, versions())
    settle(target)
    if not force and not is_ours(target) and reusable(target, request):
        log.info("%s stands there already, trained with the same arguments and data", target)
        return dataclasses.replace(load_run(target), reused=True)
    with computing(device, precision) as compute:
        if compute.rank:  # another process writes the run; this one helps it to learn
            with tempfile.TemporaryDirectory() as scratch:
                module.train(args, data, Draft(Path(scratch), every_s=math.inf))
        else:
            with new_run(target, request, watch, every_s=checkpoint_s, force=force) as draft:
                splits = splits_of(data)
                if splits is not None:
                    draft.keep_splits(splits)
                module.train(args, data, draft)
                draft.finished["computed"] = circumstances()
        compute.same(None)  # the run is whole from here on
    return load_run(target)


def run_name(recipe: str, name: str | None) -> str:
    """The run's folder name.

    Raises:
        BadRequest: the name is empty or would leave its folder.
    """
    chosen = _row(recipe).run if name is None else name
    if not chosen or chosen.startswith(".") or Path(chosen).name != chosen:
        raise BadRequest(f"{chosen!r} cannot name a run; give a plain folder name (--out says where it goes)")
    return chosen


def recipe_module(recipe: str) -> RecipeModule:
    """The module of a recipe.

    Raises:
        BadRequest: no recipe has that name.
        Missing: a library that it needs is not installed.
    """
    try:
        module: Any = importlib.import_module(_row(recipe).module)
    except ModuleNotFoundError as error:
        raise Missing(f"the recipe {recipe} needs {error.name}: pip install 'lokma[train]'") from error
    return module


def _row(recipe: str) -> Recipe:
    if recipe not in RECIPES:
        raise BadRequest(f"there is no recipe {recipe!r}; known: {', '.join(sorted(RECIPES))}")
    return RECIPES[recipe]
