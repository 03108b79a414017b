"""`make test-arm`: the runtime's tests on three emulated Raspberry Pis; or one of them, for anything.

    python tests/arm                                               # the tests, on all three
    python tests/arm pi4 -m edge_runtime.cli run BUNDLE PICTURE    # Python on an emulated Pi 4

Its time says nothing: an emulated multiplication costs a hundred times a real one.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edge_runtime.errors import LokmaError
from export import boards
from export.boards import BOARDS, root

HERE = Path(__file__).resolve().parent
TESTS = ("tests/edge_runtime", "tests/arm/test_golden.py")


def main() -> int:
    """Runs what is asked for; the exit code is Python's, or 1 where a board's tests failed."""
    try:
        boards.require()
        with boards.alone():
            done = boards.run(sys.argv[1], sys.argv[2:]).returncode if sys.argv[1:] else all_tested()
        return done or (0 if sys.argv[1:] else asked_from_here())
    except LokmaError as error:
        print(error, file=sys.stderr)
        return 3


def all_tested() -> int:
    """The tests on every board, all at the same time: that was faster than one after another, also on two cores."""
    start = time.monotonic()
    for part in (root.debian, root.site, root.lokma, tiny_bundles):
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
        environment = {"LOKMA_ARM_TINY": str(tiny_bundles()), "LOKMA_ARM_PART": BOARDS[board].part}
        environment |= {"LOKMA_HOME": f"{scratch}/home"}
        environment["PYTHONSAFEPATH"] = ""  # the working folder is empty, and a test puts a trap there
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return boards.run(board, arguments, path=[HERE], cwd=scratch, env=environment, **output)


def asked_from_here() -> int:
    """The tests of export's that ask the boards; they hold the boards themselves."""
    files = [root.REPOSITORY / "tests/export" / name for name in ("test_ladder.py", "test_verify.py")]
    command = [sys.executable, "-m", "pytest", "-k", "emulated", "--show-capture=no", *files]
    return subprocess.run(command, cwd=root.REPOSITORY).returncode


@functools.cache
def tiny_bundles() -> Path:
    """The tests' tiny models, lowered here by every export recipe, with this machine's answers."""

    def fill(into: Path) -> None:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", HERE / "tiny.py"]
        subprocess.run(command, check=True, cwd=root.REPOSITORY, env={**os.environ, "LOKMA_ARM_TINY": str(into)})

    sources = [path for room in ("edge_runtime", "export") for path in sorted((root.REPOSITORY / room).rglob("*.py"))]
    names = (
        "edge_runtime/native.cpp",
        "tests/conftest.py",
        "tests/arm/answers.py",
        "tests/arm/tiny.py",
        "constraints.txt",
    )
    return root.made("tiny", fill, *sources, *(root.REPOSITORY / name for name in names))


if __name__ == "__main__":
    raise SystemExit(main())
