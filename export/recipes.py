"""The export recipes: backend + precision + calibration. To add one, add a row and a function.

The order is the bundle's: `load` takes the first artifact that an engine of the device can run.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime.errors import BadRequest


@dataclass(frozen=True)
class Recipe:
    """A row: the engine that runs it, its precision, the file's suffix, and `module:function` that lowers."""

    engine: str
    precision: str
    suffix: str
    lower: str


RECIPES = {
    "xnnpack-fp32": Recipe("executorch", "fp32", ".pte", "export.to_executorch:fp32"),
    "onnx-fp32": Recipe("onnxruntime", "fp32", ".onnx", "export.to_onnx:fp32"),
    "xnnpack-int8": Recipe("executorch", "int8", ".pte", "export.to_executorch:int8"),
    "onnx-int8": Recipe("onnxruntime", "int8", ".onnx", "export.to_onnx:int8"),
}


def chosen(names: str) -> dict[str, Recipe]:
    """The rows named in a comma-separated list, in the table's order; "all" takes every row.

    Raises:
        BadRequest: a name is unknown, or none was given.
    """
    asked = list(RECIPES) if names == "all" else [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in asked if name not in RECIPES]
    if unknown or not asked:
        what = ", ".join(unknown) or f"in {names!r}"
        raise BadRequest(f"there is no recipe {what}; the recipes are {', '.join(RECIPES)}")
    return {name: recipe for name, recipe in RECIPES.items() if name in asked}
