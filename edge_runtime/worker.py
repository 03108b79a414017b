"""One system under test in a process of its own, so that thread pools cannot fight and memory is its own.

The parent starts `python -m edge_runtime.worker BUNDLE ARTIFACT THREADS` (or any program that speaks
the same lines), sends `{"inputs": [...]}` and reads the answers with their times; a worker that is not
asked anything sleeps in `read`. CLOCK_MONOTONIC is one clock for the whole machine, so the parent's
start and the child's first answer can be subtracted.
"""

import time

_STARTED = time.monotonic_ns()  # before the imports that are measured

import contextlib  # noqa: E402
import json  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import threading  # noqa: E402
from collections.abc import Callable, Iterator, Mapping, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from types import TracebackType  # noqa: E402
from typing import Any  # noqa: E402

from edge_runtime.errors import BadInput, EngineError, LokmaError, NoAnswer  # noqa: E402

STAGES = ("decode", "preprocess", "inference", "postprocess")
# What a block of questions cost the child: the processor's time before it and in it, the time by the clock, the energy.
SPENT = ("cpu_began_ns", "cpu_ns", "wall_ns", "joules", "no_joules")


Predict = Callable[[Any], tuple[Sequence[float], Mapping[str, int]]]
Popen = Callable[..., Any]


class Worker:
    """The parent's side: a context manager around one child.

    Args:
        command: what starts the child.
        patience_s: how long it may take to get ready, and to answer what it is asked; then it is ended. None: for ever.
        popen: starts it, called as `subprocess.Popen` is, which is what does where this is None.

    Attributes:
        spent: by the last `ask`, see `SPENT`.
        cold: nanoseconds of process (spawn to first line), import, load, and, after the first `ask`, first
            (the first answer) and total (spawn to first answer).
        versions: of the engine that answers, as the child itself says.

    Raises:
        EngineError: the child cannot be started (no memory, no room for what it may say).
    """

    def __init__(self, command: Sequence[str], patience_s: float | None = None, popen: Popen | None = None) -> None:
        with contextlib.ExitStack() as opened:
            try:
                # A pipe that nobody reads would fill up and stop the child.
                self._said = opened.enter_context(tempfile.TemporaryFile())
                self._spawned = time.monotonic_ns()
                self._child = (popen or subprocess.Popen)(
                    list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True
                )
            except OSError as error:
                raise EngineError(f"the measured process cannot be started: {error.strerror or error}") from error
            opened.pop_all()  # closed in close
        self._patience_s, self._late = patience_s, False
        self.cold: dict[str, int] = {}
        self.versions: dict[str, str] = {}

    def ready(self) -> dict[str, int]:
        """Waits until the child has loaded its model, and returns `cold` so far.

        Raises:
            EngineError: the child stopped (the message is its own), or its time was up.
        """
        if not self.cold:
            with self._timed():
                said = self._read()
            self.versions = said["versions"]
            self.cold = {
                "process": said["started"] - self._spawned,
                "import": said["import"],
                "load": said["load"],
            }
        return self.cold

    def ask(
        self, inputs: Sequence[Any], at_ns: Sequence[int] | None = None, *, partial: bool = False, energy: bool = False
    ) -> list[dict[str, Any]]:
        """Runs inputs (paths of pictures, or rows of numbers) one after another, or each at its own time.

        Args:
            inputs: what is asked.
            at_ns: when each arrives, in nanoseconds from now, ascending; its `total_ns` then counts from there, and
                what it waited is its stage `queue`. None asks the next when the last is answered.
            partial: an input that alone gets no answer is `{"error": str, "total_ns": int}` among the others.
            energy: has the child read the machine's energy before and after (`joules`).

        Returns:
            For each input `{"values": [...], "ns": {stage: nanoseconds}, "total_ns": int}`.

        Raises:
            EngineError: the child stopped, or its time was up, or, without `partial`, an input got no answer.
        """
        self.ready()
        assert self._child.stdin is not None
        asked = {"inputs": list(inputs), "at_ns": None if at_ns is None else list(at_ns), "energy": energy}
        with self._timed():
            with contextlib.suppress(BrokenPipeError):  # the child is gone: what it said is read below
                self._child.stdin.write(json.dumps(asked) + "\n")
                self._child.stdin.flush()
            said = self._read()
        answers: list[dict[str, Any]] = said["answers"]
        unanswered = [answer["error"] for answer in answers if "error" in answer]
        if unanswered and not partial:
            raise EngineError(f"the measured process could not answer: {unanswered[0]}")
        if "first" not in self.cold and answers and not unanswered:
            self._first(answers[0], said)
        self.peak_rss_bytes: int | None = said["peak_rss_bytes"]
        self.cpu_ns: int = said["cpu_ns"]
        self.spent: dict[str, Any] = {key: said.get(key) for key in SPENT}
        return answers

    def _first(self, first: dict[str, Any], said: dict[str, Any]) -> None:
        """Completes `cold`; a relay measured it on its own machine, whose clock is another."""
        here = {**self.cold, "first": first["total_ns"], "total": first["ended"] - self._spawned}
        self.cold = said.get("cold") or here

    def close(self) -> None:
        """Ends the child."""
        if self._child.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._child.stdin.close()
        try:
            self._child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()
        self._said.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._child.kill()
        self.close()

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        """Ends a child that takes too long, so that reading from it ends (no system's `select` is needed)."""
        if self._patience_s is None:
            yield
            return
        timer = threading.Timer(self._patience_s, self._end)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _end(self) -> None:
        self._late = True
        self._child.kill()

    def _read(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line and self._late:
            raise EngineError(f"the measured process did not answer within {self._patience_s:g} s and was ended")
        if not line:
            death = self._death()
            self._said.seek(0)
            said = self._said.read().decode(errors="replace").strip().splitlines()
            raise EngineError(f"the measured process stopped: {death or (said[-1] if said else 'it said nothing')}")
        try:
            data: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise EngineError(f"the measured process said {line.strip()!r} in place of an answer") from error
        return data

    def _death(self) -> str | None:
        """The signal that ended the child, in words; None where it left by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return killed_by(self._child.wait(timeout=10))
        return None


def killed_by(code: int) -> str | None:
    """What an exit code below zero says.

    >>> killed_by(-4)
    'it was ended by SIGILL'
    """
    if code >= 0:
        return None
    try:
        return f"it was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was ended by the signal {-code}"


def device(
    bundle: Path, artifact: str, threads: int, patience_s: float | None = None, popen: Popen | None = None
) -> Worker:
    """A worker that runs an artifact through this runtime."""
    # absolute: a plain name would be an installed bundle's
    command = [sys.executable, "-m", "edge_runtime.worker", str(bundle.absolute()), artifact, str(threads)]
    return Worker(command, patience_s, popen)


def serve(import_ns: int, load_ns: int, versions: Mapping[str, str], predict: Predict, at_once: int = 1) -> None:
    """The child's side: says that it is ready, then answers lines from stdin until it closes.

    An input that alone cannot be answered (`BadInput`, `NoAnswer`) is an answer with an `error`.

    Args:
        import_ns: what the imports took.
        load_ns: what loading the model took.
        versions: of the engine.
        predict: input to (output values, nanoseconds by stage).
        at_once: how many inputs that arrive at times of their own may be in work together.
    """
    _say({"started": _STARTED, "import": import_ns, "load": load_ns, "versions": dict(versions)})
    for line in sys.stdin:
        asked = json.loads(line)
        meter = _meter() if asked.get("energy") else None
        cpu, began = time.process_time_ns(), time.monotonic_ns()
        if asked.get("at_ns") is None:
            answers = [answered(predict, given, time.monotonic_ns()) for given in asked["inputs"]]
        else:
            answers = _arriving(predict, asked["inputs"], asked["at_ns"], at_once)
        spent = {"cpu_began_ns": cpu, "cpu_ns": time.process_time_ns(), "wall_ns": time.monotonic_ns() - began}
        _say({"answers": answers, "peak_rss_bytes": peak_rss_bytes(), **spent, **(meter.read() if meter else {})})


def answered(predict: Predict, given: Any, arrived_ns: int, began_ns: int | None = None) -> dict[str, Any]:
    """One answer; its time counts from its arrival, and what it waited before it began is its queue."""
    try:
        values, stages = predict(given)
    except (BadInput, NoAnswer) as error:
        ended = time.monotonic_ns()
        return {"error": str(error), "total_ns": ended - arrived_ns, "ended": ended}
    ended = time.monotonic_ns()
    ns = dict(stages)
    if began_ns is not None:
        ns["queue"] = ns.get("queue", 0) + began_ns - arrived_ns
    return {"values": list(values), "ns": ns, "total_ns": ended - arrived_ns, "ended": ended}


def _arriving(predict: Predict, inputs: Sequence[Any], at_ns: Sequence[int], at_once: int) -> list[dict[str, Any]]:
    """Inputs that arrive whether the ones before are answered or not, in order, at most `at_once` in work."""
    start, turn, lock = time.monotonic_ns(), iter(range(len(inputs))), threading.Lock()
    answers: list[dict[str, Any]] = [{}] * len(inputs)

    def work() -> None:
        while True:
            with lock:
                number = next(turn, None)
            if number is None:
                return
            arrived = start + at_ns[number]
            time.sleep(max(0, arrived - time.monotonic_ns()) / 1e9)
            answers[number] = answered(predict, inputs[number], arrived, max(arrived, time.monotonic_ns()))

    if at_once == 1:  # in this thread: engines keep their pools, and tracebacks their way out
        work()
        return answers
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(at_once) as pool:
        for done in [pool.submit(work) for _ in range(at_once)]:
            done.result()
    return answers


def _meter() -> Any:
    from edge_runtime.energy import Meter

    return Meter()


def _say(line: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def peak_rss_bytes() -> int | None:
    """This process's own peak memory; None where the system does not say.

    `ru_maxrss` would do everywhere, but counts the parent's before the exec.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)


def relay(argv: Sequence[str]) -> None:
    """`python -m edge_runtime.worker relay BUNDLE ARTIFACT THREADS`: a parent on another machine, behind ssh.

    It starts the worker there and passes the lines on, and with the first answer says what the cold start was.
    """
    with device(Path(argv[0]), argv[1], int(argv[2])) as child:
        ready = child.ready()
        _say({"started": _STARTED, "import": ready["import"], "load": ready["load"], "versions": child.versions})
        for line in sys.stdin:
            asked = json.loads(line)
            answers = child.ask(asked["inputs"], asked.get("at_ns"), partial=True, energy=bool(asked.get("energy")))
            _say({"answers": answers, "peak_rss_bytes": child.peak_rss_bytes, **child.spent, "cold": child.cold})


def main(argv: list[str]) -> int:
    """`python -m edge_runtime.worker BUNDLE ARTIFACT THREADS`."""
    if argv[0] == "relay":
        try:
            relay(argv[1:])
        except LokmaError as error:
            sys.stderr.write(f"{error}\n")
            return error.exit_code
        return 0
    from edge_runtime import load

    imported = time.monotonic_ns()
    try:
        predictor = load(argv[0], argv[1], int(argv[2]))
        loaded = time.monotonic_ns()

        def predict(given: Any) -> tuple[Sequence[float], Mapping[str, int]]:
            answer = predictor.predict(given)
            return answer.values, {stage: round(ms * 1e6) for stage, ms in answer.ms.items()}

        serve(imported - _STARTED, loaded - imported, predictor.session.versions, predict)
    except LokmaError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
