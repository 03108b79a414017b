"""The export recipes: backend + precision + calibration. To add one, add a row and a function from `Job` to `Lowered`.

The order is the bundle's: `load` takes the first artifact that an engine of the device can run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import BadRequest

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from edge_runtime.spec import ModelSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """A row: the engine that runs it, its precision, the file's suffix, and `module:function` that lowers."""

    engine: str
    precision: str
    suffix: str
    lower: str


@dataclass(frozen=True, eq=False)
class Job:
    """What a recipe's function is given.

    `model` takes normalised float32 and gives raw outputs, in eval mode. `calibration` (n, …) and `probe` (few, …)
    are real inputs in the user's units: ranges come from the first, the parity ladder runs on the second. `in_float`
    names the layers, as in `model.named_modules()`, that a quantizing recipe leaves in float.
    """

    model: nn.Module
    spec: ModelSpec
    calibration: Tensor
    probe: Tensor
    in_float: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Lowered:
    """What it gives: the file, what the manifest says of it, and the outputs (few, k) of each step on the probe.

    `details` holds `quantization` (None for fp32) and `delegation`; `stages` goes from the step after eager to the
    last one before the session, by name.
    """

    data: bytes
    details: Mapping[str, Any]
    stages: Mapping[str, np.ndarray] = field(default_factory=dict)


RECIPES = {
    "xnnpack-fp32": Recipe("executorch", "fp32", ".pte", "export.to_executorch:fp32"),
    "onnx-fp32": Recipe("onnxruntime", "fp32", ".onnx", "export.to_onnx:fp32"),
    "xnnpack-int8": Recipe("executorch", "int8", ".pte", "export.to_executorch:int8"),
    "onnx-int8": Recipe("onnxruntime", "int8", ".onnx", "export.to_onnx:int8"),
    "xnnpack-int8-dynamic": Recipe("executorch", "int8", ".pte", "export.executorch_dynamic:int8"),
    "onnx-int8-dynamic": Recipe("onnxruntime", "int8", ".onnx", "export.to_onnx:int8_dynamic"),
    "onnx-fp16": Recipe("onnxruntime", "fp16", ".onnx", "export.to_onnx:fp16"),
}
MAIN = ("xnnpack-fp32", "onnx-fp32", "xnnpack-int8", "onnx-int8")
SETS = {"all": tuple(RECIPES), "main": MAIN}
DEFAULT = "auto"

# of which layers are put back into float where a verdict falls short
MENDED = ("xnnpack-int8", "onnx-int8", "xnnpack-int8-dynamic")

MOSTLY = 0.8  # of the multiply-adds; a network between this and its opposite gets both kinds of int8
HALF_FROM_BYTES = 100_000_000  # of float32 weights


def chosen(names: str, model: nn.Module | None = None, spec: ModelSpec | None = None) -> dict[str, Recipe]:
    """The rows named in a comma-separated list, in the table's order.

    Args:
        names: recipes, or sets of them: "all" is every row, "main" fp32 and static int8 for both engines, and
            "auto" what fits the model; why is logged.
        model: what "auto" reads: takes normalised float32, in eval mode.
        spec: the model's, needed with it.

    Raises:
        BadRequest: a name is unknown, none was given, or "auto" without a model.
    """
    asked: set[str] = set()
    unknown = []
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name == "auto":
            if model is None or spec is None:
                raise BadRequest("recipes can be chosen by auto only for a model that can be read")
            for fitting, why in advice(model, spec).items():
                log.info("%s: %s", fitting, why)
                asked.add(fitting)
        elif name in SETS:
            asked.update(SETS[name])
        elif name in RECIPES:
            asked.add(name)
        else:
            unknown.append(name)
    if unknown or not asked:
        what = ", ".join(unknown) or f"in {names!r}"
        raise BadRequest(f"there is no recipe {what}; the recipes are {', '.join(RECIPES)}, or auto, main, all")
    return {name: recipe for name, recipe in RECIPES.items() if name in asked}


def advice(model: nn.Module, spec: ModelSpec) -> dict[str, str]:
    """What "auto" takes: the names of the rows that fit the model, each with the reason in one line."""
    from export.op_mix import op_mix

    mix = op_mix(model, spec)
    work = f"{mix.convolution:.0%} of {mix.multiply_adds / 1e6:,.3g} million multiply-adds are convolutions"
    fp32 = "the reference that everything else is judged against"
    why = {"xnnpack-fp32": fp32, "onnx-fp32": fp32}
    if mix.convolution > 1 - MOSTLY:
        why |= dict.fromkeys(("xnnpack-int8", "onnx-int8"), f"{work}: static int8 fuses them")
        if mix.linear:  # what is left of it where its convolutions do not run
            why["xnnpack-int8-dynamic"] = f"{work}: ranges taken at each picture keep the answers nearer to fp32's"
    if mix.convolution < MOSTLY:
        line = f"{work}: in linear layers ranges taken at each run keep outliers apart, and attention stays in float"
        why |= dict.fromkeys(("xnnpack-int8-dynamic", "onnx-int8-dynamic"), line)
    if mix.weight_bytes >= HALF_FROM_BYTES:
        size = f"{mix.weight_bytes / 1e6:,.0f} MB of weights"
        why["onnx-fp16"] = f"{size}: half the download with nearly the same answers; no faster on processors"
    return {name: why[name] for name in RECIPES if name in why}


def parts_of(recipes: str) -> list[str]:
    """The names in a list with commas."""
    return [part.strip() for part in recipes.split(",") if part.strip()]


def check_recipes(recipes: str) -> None:
    """Refuses an unknown recipe before anything is read; what "auto" takes is decided later."""
    named = [part for part in parts_of(recipes) if part != "auto"]
    if named or "auto" not in parts_of(recipes):
        chosen(",".join(named))
