"""The server of `benchmarks.forks`: imports the engines once, runs none of them, and forks a process for each request.

`python -m benchmarks.fork_server FD` reads requests from a socket, a line each: `{"run": words, "cores": [...]}` with
the process's three standard files, answered with its number; `{"poll": number}`, answered with its exit code or null;
and `{"ready": true}`, answered once all is imported. It ends when the socket does; what it forked goes on until its own
input ends.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import mmap
import os
import random
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

PRELOADED = (
    "PIL.Image",
    "PIL.JpegImagePlugin",
    "edge_runtime.predictor",
    "edge_runtime.worker",
    "edge_runtime.zipped",
    "edge_runtime.engines.executorch",
    "edge_runtime.engines.onnxruntime",
)
MAX_REQUEST, STANDARD_FILES = 1 << 20, 3
HEAP_BYTES, MAPPED_PAGES = 1 << 16, 1 << 12  # at most, of the memory that a process takes first


def main(argv: Sequence[str]) -> None:
    """Serves until the socket ends."""
    answers: dict[str, Callable[..., Any]] = {"ready": lambda *_: True, "poll": _exit_code, "run": _forked}
    for name in PRELOADED:
        with contextlib.suppress(ImportError):  # an engine that is not installed here
            importlib.import_module(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    with socket.socket(fileno=int(argv[0])) as control:
        while True:
            line, files, _, _ = socket.recv_fds(control, MAX_REQUEST, STANDARD_FILES)
            if not line:
                return
            asked = json.loads(line)
            said = next(answers[key] for key in answers if key in asked)(asked, control, files)
            control.sendall(json.dumps(said).encode() + b"\n")


def _exit_code(asked: Mapping[str, Any], *_: Any) -> int | None:
    pid, status = os.waitpid(asked["poll"], os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if pid else None


def _forked(asked: Mapping[str, Any], control: socket.socket, files: Sequence[int]) -> int:
    with warnings.catch_warnings():
        # onnxruntime starts a thread when it is imported, for telemetry that nothing here waits for
        warnings.simplefilter("ignore", DeprecationWarning)
        number = os.fork()
    if number:
        for one in files:
            os.close(one)
        return number
    code = 1
    try:
        control.close()
        for place, one in enumerate(files):
            os.dup2(one, place)
            os.close(one)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.sched_setaffinity(0, asked["cores"])
        kept = _moved()
        code = _run(asked["run"])
        del kept
    finally:
        if sys.exc_info()[0] is not None:  # what came up ends the process here: above lie the server's own frames
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _moved() -> tuple[bytearray, mmap.mmap]:
    """Memory that is not used, so that what comes after it lies elsewhere in each process."""
    draw = random.SystemRandom()
    return bytearray(draw.randrange(HEAP_BYTES)), mmap.mmap(-1, mmap.PAGESIZE * (1 + draw.randrange(MAPPED_PAGES)))


def _run(words: Sequence[str]) -> int:
    """`-c CODE …` or `-m MODULE …`, whose `main` takes the rest."""
    kind, what, *rest = words
    sys.argv = [kind, *rest]
    if kind == "-c":
        exec(compile(what, "<forked>", "exec"), {"__name__": "__main__"})
        return 0
    return int(importlib.import_module(what).main(rest) or 0)


if __name__ == "__main__":
    main(sys.argv[1:])
