"""Which picture or row stands on which side of a run's data, for `splits.json`: whoever judges the model can look.

>>> from train.tables import table_data
>>> found = splits_of(table_data("breast-cancer"))
>>> found["by"], len(found["train"]), len(found["test"])
('row of the source; seed 0, stratified', 455, 114)
"""

from __future__ import annotations

from typing import Any

from train.data import SPLITS, ImageData
from train.tables import SPLIT_SEED, TableData


def splits_of(data: Any) -> dict[str, Any] | None:
    """How data was split, and what stands on each side; None for data that has no sides, as an environment.

    Args:
        data: what a recipe's `prepare` gave.

    Returns:
        `by`, and for `train` and `test` paths below the data's folder, numbers of rows in their source, or only how
        many there are, where the two sides were made apart.
    """
    sides: list[Any] = [getattr(data, split, None) for split in SPLITS]
    if isinstance(data, ImageData):
        by: str = "folder"
        told: list[Any] = [[one.path.relative_to(data.root).as_posix() for one in side] for side in sides]
    elif isinstance(data, TableData) and data.train.numbers is not None:
        stratified = "stratified" if data.task in ("binary", "multiclass") else "not stratified"
        by = f"row of the source; seed {SPLIT_SEED}, {stratified}"
        told = [side.numbers.tolist() for side in sides]
    elif isinstance(data, TableData):
        by, told = f"made apart; seed {SPLIT_SEED}", [len(side) for side in sides]
    else:
        return None
    return {"by": by, "sha256": data.sha256, **dict(zip(SPLITS, told, strict=True))}
