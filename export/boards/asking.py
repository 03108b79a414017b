"""What artifacts answer on the emulated boards: one guest process a board, all boards at the same time."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_runtime.errors import EngineError
from edge_runtime.spec import TensorSpec
from export.boards.pis import BOARDS
from export.boards.root import HERE, alone, prepare, run


@dataclass(frozen=True, eq=False)
class Question:
    """An artifact's bytes and the inputs (n, …) that it is given one by one, under a key of the asker's choice."""

    key: str
    engine: str
    data: bytes
    takes: TensorSpec
    gives: TensorSpec
    inputs: np.ndarray


def label_of(board: str) -> str:
    """How a board is named beside numbers: never as if it were one.

    >>> label_of("pi4")
    'cortex-a72, emulated'
    """
    return f"{BOARDS[board].cpu}, emulated"


def answers(questions: Sequence[Question], boards: Sequence[str] = tuple(BOARDS)) -> dict[str, dict[str, np.ndarray]]:
    """Asks each board everything.

    Returns:
        Board, key: the outputs (n, k), float32 where the artifact's are.

    Raises:
        Missing: a board cannot be emulated here.
        BadRequest: another process is at work on the boards.
        EngineError: a board gave no answer; the message ends with its last words.
    """
    with alone(), tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(len(boards)) as pool:
        prepare()
        asked = _written(questions, Path(scratch))
        said = list(pool.map(lambda board: _asked(board, asked, Path(scratch)), boards))
    kinds = {question.key: question.gives.dtype for question in questions}
    return {
        board: {key: np.asarray(rows, kinds[key]) for key, rows in json.loads(text).items()}
        for board, text in zip(boards, said, strict=True)
    }


def _written(questions: Sequence[Question], scratch: Path) -> Path:
    rows = []
    for number, question in enumerate(questions):
        artifact, inputs = scratch / f"{number}.artifact", scratch / f"{number}.inputs"
        artifact.write_bytes(question.data)
        inputs.write_bytes(np.ascontiguousarray(question.inputs, question.takes.dtype).tobytes())
        tensors = {"takes": _plain(question.takes), "gives": _plain(question.gives)}
        paths = {"file": str(artifact), "inputs": str(inputs)}
        rows.append({"key": question.key, "engine": question.engine, **paths, **tensors})
    (scratch / "questions.json").write_text(json.dumps(rows))
    return scratch / "questions.json"


def _plain(tensor: TensorSpec) -> dict[str, object]:
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape)}


def _asked(board: str, questions: Path, scratch: Path) -> str:
    script = HERE / "guest" / "outputs.py"
    done = run(board, [script, questions], cwd=scratch, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise EngineError(f"the emulated {BOARDS[board].model} ended with {done.returncode}: {last}")
    return str(done.stdout)
