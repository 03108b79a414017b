"""`make test-arm`: the runtime's tests on three emulated Raspberry Pis; or one of them, for anything.

    python tests/arm                                               # the tests, on all three
    python tests/arm pi4 -m edge_runtime.cli run BUNDLE PICTURE    # Python on an emulated Pi 4

Its time says nothing: an emulated multiplication costs a hundred times a real one.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import root
from boards import BOARDS

TESTS = ("tests/edge_runtime", "tests/arm/test_golden.py")
BUILDS = "tests/edge_runtime/test_wheel.py"


def main() -> int:
    """Runs what is asked for; the exit code is Python's, or 1 where a board's tests failed."""
    root.require_tools()
    if sys.argv[1:]:
        board, *arguments = sys.argv[1:]
        return root.run(board, arguments).returncode
    start = time.monotonic()
    for part in (root.debian, root.site, root.lokma, root.tiny_bundles):
        folder = part()
        print(f"{time.monotonic() - start:4.0f} s  {folder}", flush=True)
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(tested, BOARDS)
        failed = 0
        for board, done in zip(BOARDS, results, strict=True):
            print(f"\n== {board}, {BOARDS[board].cpu}: {time.monotonic() - start:.0f} s\n{done.stdout}", flush=True)
            failed += done.returncode != 0
    return min(failed, 1)


def tested(board: str) -> subprocess.CompletedProcess:
    """The tests, in one process on one board."""
    with tempfile.TemporaryDirectory() as scratch:
        arguments = ["-m", "pytest", "-p", "guest", "-p", "no:cacheprovider", "-rs"]
        arguments += ["--durations=10", "--basetemp", f"{scratch}/pytest"]
        arguments += ["--rootdir", root.REPOSITORY, "-c", root.REPOSITORY / "pyproject.toml"]
        arguments += [f"--ignore={root.REPOSITORY / BUILDS}", *(root.REPOSITORY / path for path in TESTS)]
        environment = {"LOKMA_ARM_TINY": str(root.tiny_bundles()), "LOKMA_ARM_PART": BOARDS[board].part}
        environment["PYTHONSAFEPATH"] = ""  # the working folder is empty, and a test puts a trap there
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return root.run(board, arguments, cwd=scratch, env=environment, **output)


if __name__ == "__main__":
    raise SystemExit(main())
