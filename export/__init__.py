"""Turns a model into a bundle: quantize, lower, judge on real data, write."""

from importlib.util import find_spec
from pathlib import Path

from edge_runtime.errors import BadRequest

_train = find_spec("train")
if _train is None or _train.origin is None or Path(_train.origin).parents[1] != Path(__file__).parents[1]:
    raise BadRequest(f"{_train and _train.origin} hides lokma's own `train`: rename it, or start from another folder")

from export.export import export  # noqa: E402
from export.exported import Exported  # noqa: E402
from export.recipes import RECIPES  # noqa: E402

__all__ = ["RECIPES", "Exported", "export"]
