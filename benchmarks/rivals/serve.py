"""One of the scripts beside this, kept running: `python -m benchmarks.rivals.serve SCRIPT ARGUMENT…`.

It speaks `edge_runtime.worker`'s lines, so that times and memory are taken in the same way of all.
"""

from __future__ import annotations

import importlib
import sys
import time

from edge_runtime import worker


def main(argv: list[str]) -> int:
    """Imports the script, loads its model, and answers lines from stdin."""
    began = time.monotonic_ns()
    script = importlib.import_module(f"benchmarks.rivals.{argv[0]}")
    imported = time.monotonic_ns()
    predict = script.load(*argv[1:])
    loaded = time.monotonic_ns()
    worker.serve(imported - began, loaded - imported, {}, lambda path: (predict(path), {}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
