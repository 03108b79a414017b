"""On what terms artifacts are judged: the drop that is allowed, pictures beyond the test side, what becomes of a fail.

>>> Terms.of(max_drop=2).max_drop, Terms.of().keep_failed
(0.02, False)
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_runtime.errors import BadInput, BadRequest
from edge_runtime.store import sha256_of

MAX_DROP = 1.0  # points of accuracy
TRAINED, TESTED, TWICE = "on the training side", "on the test side", "found twice"


@dataclass(frozen=True)
class Terms:
    """`max_drop` as a share, `unlabelled` as sha256 by path, and whether an artifact that fails stays, marked."""

    max_drop: float = MAX_DROP / 100
    unlabelled: Mapping[str, str] = field(default_factory=dict)
    keep_failed: bool = False

    @classmethod
    def of(cls, max_drop: float = MAX_DROP, unlabelled: Any = (), keep_failed: bool = False) -> Terms:
        """Reads them as the command line or a notebook gives them.

        Args:
            max_drop: in points of accuracy, above 0 and below 100.
            unlabelled: folders, one or several; all pictures below them, whatever their labels.
            keep_failed: leave an artifact whose verdict is *fail* in the bundle.

        Raises:
            BadInput: a folder is not there.
            BadRequest: a folder holds no picture, or the drop is no such number.
        """
        if isinstance(max_drop, bool) or not isinstance(max_drop, (int, float)) or not 0 < max_drop < 100:
            raise BadRequest(f"--max-drop is in points of accuracy, above 0 and below 100, not {max_drop!r}")
        folders = [unlabelled] if isinstance(unlabelled, (str, Path)) else unlabelled
        return cls(max_drop / 100, pictures_below([Path(folder) for folder in folders]), keep_failed)

    def plain(self) -> dict[str, Any]:
        """What decides a verdict, as JSON data; where the pictures lie does not."""
        return {"max_drop": self.max_drop, "unlabelled": self.sha256, "keep_failed": self.keep_failed}

    @property
    def sha256(self) -> str:
        """Pins the content of the unlabelled pictures; "" without any."""
        lines = "\n".join(sorted(self.unlabelled.values()))
        return hashlib.sha256(lines.encode()).hexdigest() if lines else ""

    def unseen(self, trained: Iterable[Any], tested: Iterable[Any]) -> tuple[list[str], dict[str, int]]:
        """The unlabelled pictures that count, and how many do not, by reason.

        One whose bytes stand on a side of the data, or that was met before, would count twice, or for something
        that the model or its ranges were made from.

        Args:
            trained: the paths of the training side, from which calibration is drawn too.
            tested: those of the test side, which are judged anyway.
        """
        if not self.unlabelled:
            return [], {}
        why = {sha256_of(path): TESTED for path in map(Path, tested)}
        why |= {sha256_of(path): TRAINED for path in map(Path, trained)}
        found: list[str] = []
        dropped: Counter[str] = Counter()
        for path, sha256 in self.unlabelled.items():
            if sha256 in why:
                dropped[why[sha256]] += 1
            else:
                why[sha256] = TWICE
                found.append(path)
        return found, dict(dropped)


def pictures_below(folders: Sequence[Path]) -> dict[str, str]:
    """The sha256 of every picture below the folders, by path.

    Raises:
        BadInput: a folder is not there.
        BadRequest: it holds no picture.
    """
    from train.data import SUFFIXES

    found: dict[str, str] = {}
    for folder in folders:
        if not folder.is_dir():
            raise BadInput(f"--unlabelled {folder} is not a folder")
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not files:
            raise BadRequest(f"--unlabelled {folder} holds no picture ({', '.join(SUFFIXES)})")
        found |= {str(file): sha256_of(file) for file in files}
    return found
