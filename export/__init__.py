"""Turns a run into a bundle: quantize, lower, judge on real data, write."""

from export.export import Exported, export
from export.recipes import RECIPES

__all__ = ["RECIPES", "Exported", "export"]
