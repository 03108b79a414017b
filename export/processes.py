"""Groups of recipes, each group in a process of its own: a fork of this one, which has the model in memory already.

Forked and not started afresh, because a user's module can be handed over in no other way that runs no pickle, and
because torch is imported already. OpenMP's threads do not survive a fork: a child that used them again would wait
for ever, so each works on one thread, as torch's own DataLoader does. A fork cannot use CUDA after its parent has,
and is not safe at all where the system's libraries keep threads (macOS): there `possible` says no.

A child dies with its parent, whatever ends that, and writes nothing: what it made comes through a pipe.

>>> dict(made([["a"], ["b", "c"]], lambda name: name.encode() * 2, slots=2))            # doctest: +SKIP
{'a': b'aa', 'b': b'bb', 'c': b'cc'}
"""

from __future__ import annotations

import ctypes
import json
import logging
import multiprocessing
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any

from edge_runtime.errors import EngineError
from edge_runtime.worker import killed_by

log = logging.getLogger(__name__)
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of linux/prctl.h
_GOOD, _BAD = b"+", b"-"


def possible() -> bool:
    """Whether this process may be forked and its forks may use torch."""
    torch = sys.modules.get("torch")
    return sys.platform == "linux" and not (torch and torch.cuda.is_initialized())


def made(
    groups: Sequence[Sequence[str]], make: Callable[[str], bytes], slots: int, prepare: Callable[[], None] | None = None
) -> Iterator[tuple[str, bytes]]:
    """What `make` gives for each name, as it comes; the names of a group are made in one process, in order.

    Args:
        groups: of names, the longest work first.
        make: called in a child; what it changes there is lost.
        slots: how many processes at a time.
        prepare: called here while the first group is at work, before any other is started: those have what it made.

    Raises:
        EngineError: a child was ended from outside, or crashed; the message says how.
        Exception: what `make` raised, as itself, with the child's traceback as a note. The other children are ended.
    """
    waiting, running = list(groups), dict[Connection, tuple[Any, list[str]]]()
    try:
        while waiting or running:
            while waiting and len(running) < slots:
                names = list(waiting.pop(0))
                receiver, child = _started(names, make)
                running[receiver] = child, names
                log.info("lowering %s", names[0])
                if prepare is not None:
                    prepare()
                    prepare = None
            ready = wait(list(running))
            for receiver in [one for one in running if one in ready]:
                child, names = running[receiver]
                message = _message(receiver)
                if message is None:
                    child.join()
                    if names:
                        raise EngineError(_death(names[0], child.exitcode))
                    del running[receiver]
                    receiver.close()
                    continue
                if message[:1] == _BAD:
                    raise _rebuilt(json.loads(message[1:]))
                yield names.pop(0), message[1:]
                if names:
                    log.info("lowering %s", names[0])
    finally:
        for receiver, (child, _) in running.items():
            child.kill()
            child.join()
            receiver.close()


def _started(names: Sequence[str], make: Callable[[str], bytes]) -> tuple[Connection, Any]:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(names, make, sender, os.getpid()), daemon=True)
    with warnings.catch_warnings():  # Python 3.12 warns of what this module's docstring is about
        warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
        child.start()
    sender.close()  # else its end would not be seen
    return receiver, child


def _message(receiver: Connection) -> bytes | None:
    try:
        return receiver.recv_bytes()
    except EOFError:
        return None


def _death(name: str, code: int) -> str:
    how = killed_by(code) or f"it left with code {code}"
    hint = (
        "; the system does so where memory runs out: export fewer recipes at a time" if code == -signal.SIGKILL else ""
    )
    return f"lowering {name} stopped: {how}{hint}"


def _child(names: Sequence[str], make: Callable[[str], bytes], sender: Connection, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends its children
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that was asked
        os._exit(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    for name in names:
        with _Told(sender):
            sender.send_bytes(_GOOD + make(name))


class _Told:
    """Tells the parent what went wrong, and ends the process."""

    def __init__(self, sender: Connection) -> None:
        self.sender = sender

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or error is None:
            return
        # a class whose text Python makes itself can be made again of that text alone
        plain = type(kind.__str__) is type(object.__str__)
        said = error.args[0] if len(error.args) == 1 and isinstance(error.args[0], str) else str(error)
        self.sender.send_bytes(
            _BAD
            + json.dumps(
                {
                    "module": kind.__module__ if plain else "builtins",
                    "name": kind.__qualname__ if plain else "RuntimeError",
                    "said": said if plain else f"{kind.__name__}: {said}",
                    "more": {key: value for key, value in vars(error).items() if isinstance(value, str | int | None)},
                    "trace": "".join(traceback.format_exception(kind, error, trace)),
                }
            ).encode()
        )
        os._exit(1)


def _rebuilt(said: dict[str, Any]) -> BaseException:
    """The child's exception: of its class, with its text, made without the class's own `__init__`."""
    found: Any = sys.modules.get(said["module"])
    for part in said["name"].split("."):
        found = getattr(found, part, None)
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        found = type(said["name"], (RuntimeError,), {})
    error: BaseException = found.__new__(found, said["said"])
    vars(error).update(said["more"])
    error.add_note(f"in the process that lowered it:\n{said['trace']}")
    return error
