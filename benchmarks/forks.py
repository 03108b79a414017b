"""Processes forked from one that has imported everything: ready in a sixth of a fresh one's time.

`Forks.popen` stands in for `subprocess.Popen` where a Worker's program is to run. No session and no thread pool is
handed down (`benchmarks.fork_server`): a forked process loads its model and starts its threads itself, as a fresh one.
Its memory lies elsewhere than its sisters', too: that two processes of one file differ is what `compare` must see.
`python -m benchmarks.forks_study` measures both kinds beside each other.

>>> with forks() as popen, Worker(["python", "-m", "edge_runtime.worker", *artifact], popen=popen) as worker:
...     worker.ask(inputs)                                                               # doctest: +SKIP

A system that does not fork gets fresh processes. `Worker.cold` of a forked one says nothing.

Source of the moved memory: Mytkowicz et al., Producing wrong data without doing anything obviously wrong, 2009.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

from edge_runtime.errors import EngineError

POLL_S = 0.002
Popen = Callable[..., Any]


@contextlib.contextmanager
def forks() -> Iterator[Popen]:
    """What starts processes as `subprocess.Popen` does, forked where this system forks."""
    if not sys.platform.startswith("linux"):  # macOS: its frameworks do not survive a fork
        yield subprocess.Popen
        return
    server = Forks()
    try:
        yield server.popen
    finally:
        server.close()


class Forks:
    """The server's process, and the socket to it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "benchmarks.fork_server", str(theirs.fileno())]
            self._server = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        self._answers = self._socket.makefile()
        self.ask({"ready": True})  # it has imported

    def popen(self, command: Sequence[str], *, stdin: int, stdout: int, stderr: IO[bytes], text: bool) -> Forked:
        """Starts `PYTHON -c CODE …` or `PYTHON -m MODULE …` on the cores that this process has now.

        Args:
            command: as `subprocess.Popen` takes it; which Python it names is not looked at.
            stdin: PIPE, as stdout.
            stdout: PIPE.
            stderr: an open file.
            text: True.

        Raises:
            EngineError: the server is gone.
        """
        assert stdin == stdout == subprocess.PIPE and text
        (its_in, to_it), (from_it, its_out) = os.pipe(), os.pipe()
        with os.fdopen(its_in), os.fdopen(its_out, "w"), contextlib.ExitStack() as ours:
            ends = [ours.enter_context(os.fdopen(to_it, "w")), ours.enter_context(os.fdopen(from_it))]
            asked = {"run": list(command[1:]), "cores": sorted(os.sched_getaffinity(0))}
            number = self.ask(asked, [its_in, its_out, stderr.fileno()])
            ours.pop_all()  # closed by the worker
        return Forked(self, number, *ends)

    def ask(self, question: dict[str, Any], files: Sequence[int] = ()) -> Any:
        """The server's answer.

        Raises:
            EngineError: it is gone.
        """
        try:
            socket.send_fds(self._socket, [json.dumps(question).encode() + b"\n"], files)
            return json.loads(self._answers.readline())
        except (OSError, ValueError) as error:
            raise EngineError("the process that forks the measured ones is gone") from error

    def close(self) -> None:
        """Ends the server."""
        self._answers.close()
        self._socket.close()
        self._server.wait()


class Forked:
    """The part of `subprocess.Popen` that a `Worker` uses."""

    def __init__(self, server: Forks, number: int, stdin: IO[str], stdout: IO[str]) -> None:
        self.pid, self.stdin, self.stdout = number, stdin, stdout
        self.returncode: int | None = None
        self._server = server

    def poll(self) -> int | None:
        """The exit code, below zero for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self._server.ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once there is one.

        Raises:
            subprocess.TimeoutExpired: the time was up.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("a forked process", timeout or 0.0)
            time.sleep(POLL_S)
        return code

    def kill(self) -> None:
        """Ends it. Its number is nobody else's before its exit code was read, which `poll` alone does."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
