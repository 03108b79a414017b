"""train: PyTorch models from recipes that state, and reach, their own result.

A name is imported when it is first used, so that `import train` brings neither torch nor numpy.

>>> import train
>>> sorted(train.RECIPES)[:3]
['binary-circles', 'binary-table', 'cartpole-dqn']
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.data import ImageData, image_data
    from train.episodes import Episodes, play
    from train.recipes import RECIPES
    from train.run import Run, check_run, load_run
    from train.training import train

_HOMES = {
    "Episodes": "train.episodes",
    "ImageData": "train.data",
    "RECIPES": "train.recipes",
    "Run": "train.run",
    "check_run": "train.run",
    "image_data": "train.data",
    "load_run": "train.run",
    "play": "train.episodes",
    "train": "train.training",
}

__all__ = ["RECIPES", "Episodes", "ImageData", "Run", "check_run", "image_data", "load_run", "play", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'train' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
