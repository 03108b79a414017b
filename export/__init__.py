"""Turns a model into a bundle: quantize, lower, judge on real data, write."""

from export.export import export
from export.exported import Exported
from export.recipes import RECIPES

__all__ = ["RECIPES", "Exported", "export"]
