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

from edge_runtime.errors import LokmaError
from edge_runtime.writing import locked

TESTS = ("tests/edge_runtime", "tests/arm/test_golden.py")


def main() -> int:
    """Runs what is asked for; the exit code is Python's, or 1 where a board's tests failed."""
    root.require_tools()
    try:
        with locked(root.arm() / "lock", f"another process is at work in {root.arm()}; wait for its end"):
            return root.run(sys.argv[1], sys.argv[2:]).returncode if sys.argv[1:] else all_tested()
    except LokmaError as error:
        root.refuse(str(error))


def all_tested() -> int:
    """The tests on every board, all at the same time: that was faster than one after another, also on two cores."""
    start = time.monotonic()
    for part in (root.debian, root.site, root.lokma, root.tiny_bundles):
        folder = part()
        print(f"{time.monotonic() - start:4.0f} s  {folder}", flush=True)
    with ThreadPoolExecutor(len(BOARDS)) as pool:
        results = pool.map(tested, BOARDS)
        failed = []
        for board, done in zip(BOARDS, results, strict=True):
            print(f"\n== {board}, {BOARDS[board].cpu}: {time.monotonic() - start:.0f} s\n{done.stdout}", flush=True)
            failed += [board] if done.returncode else []
    print(f"failed on {', '.join(failed)}" if failed else f"all passed on {', '.join(BOARDS)}")
    return 1 if failed else 0


def tested(board: str) -> subprocess.CompletedProcess:
    """The tests, in one process on one board."""
    with tempfile.TemporaryDirectory() as scratch:
        arguments = ["-m", "pytest", "-p", "guest", "-p", "no:cacheprovider", "-rs", "--tb=short", "--durations=5"]
        arguments += ["--basetemp", f"{scratch}/pytest", "--rootdir", root.REPOSITORY]
        arguments += ["-c", root.REPOSITORY / "pyproject.toml", *(root.REPOSITORY / path for path in TESTS)]
        environment = {"LOKMA_ARM_TINY": str(root.tiny_bundles()), "LOKMA_ARM_PART": BOARDS[board].part}
        environment |= {"LOKMA_HOME": f"{scratch}/home"}
        environment["PYTHONSAFEPATH"] = ""  # the working folder is empty, and a test puts a trap there
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return root.run(board, arguments, cwd=scratch, env=environment, **output)


if __name__ == "__main__":
    raise SystemExit(main())
