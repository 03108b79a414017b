"""Runs on a board: `python outputs.py QUESTIONS.json` prints what each artifact gives for each input, as JSON.

It needs the wheel alone: tensors come as files of raw bytes and go as numbers.
"""

import array
import json
import math
import sys
from pathlib import Path
from typing import Any

from edge_runtime.engines import open_session
from edge_runtime.spec import DTYPES, TensorSpec


def answered(question: dict[str, Any]) -> list[Any]:
    """One row of numbers an input."""
    given, gives = (
        TensorSpec(one["name"], one["dtype"], tuple(one["shape"])) for one in (question["takes"], question["gives"])
    )
    width = DTYPES[given.dtype][1] * math.prod(given.sample_shape)
    data = Path(question["inputs"]).read_bytes()
    session = open_session(question["engine"], Path(question["file"]), 1, (given,), (gives,))
    rows = []
    for start in range(0, len(data), width):
        output = session.run({given.name: data[start : start + width]})[gives.name]
        rows.append(array.array(DTYPES[gives.dtype][0], output.tobytes()).tolist())
    session.close()
    return rows


if __name__ == "__main__":
    questions = json.loads(Path(sys.argv[1]).read_bytes())
    json.dump({question["key"]: answered(question) for question in questions}, sys.stdout)
