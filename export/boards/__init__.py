"""Emulated Raspberry Pis: Python, lokma's aarch64 wheel and both engines on a cortex-a53, a72 and a76, by qemu-user.

They execute a Pi's real instructions; their time says nothing, an emulated multiplication costs a hundred real ones.

>>> list(BOARDS)
['pi3', 'pi4', 'pi5']
>>> run("pi4", ["-m", "edge_runtime.cli", "doctor"]).returncode                         # doctest: +SKIP
0
"""

from export.boards.asking import Question, answers, label_of
from export.boards.pis import BOARDS, Board
from export.boards.root import alone, missing, prepare, require, run

__all__ = ["BOARDS", "Board", "Question", "alone", "answers", "label_of", "missing", "prepare", "require", "run"]
