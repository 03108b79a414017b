"""The `lokma` command: a table of verbs. Each verb's room parses, calls one function, prints.

As little as can be is imported up here, the rest where it is used: `main` answers for a
Ctrl-C from its first line on, and an import above it would end in a traceback.
"""

from __future__ import annotations

import io
import os
import sys

import edge_runtime
from edge_runtime.errors import BadRequest, LokmaError, Missing, one_line

TYPE_CHECKING = False  # for type checkers it is True; the import of typing alone takes 10 ms
if TYPE_CHECKING:
    from typing import Any

# verb: (what it does, where its main is, the extra that brings what it imports)
VERBS = {
    "train": ("train a model by a recipe: writes runs/NAME", "train.cli:main", "train"),
    "export": ("quantize and lower a run: writes bundles/NAME, with verdicts", "export.cli:main", "export"),
    "info": ("describe a bundle", "edge_runtime.commands.info:main", ""),
    "check": ("prove that a bundle answers here as it should", "edge_runtime.commands.check:main", ""),
    "run": ("answer pictures or rows of numbers", "edge_runtime.commands.run:main", ""),
    "tune": ("measure which artifact is fastest on this device", "edge_runtime.commands.tune:main", ""),
    "doctor": ("say what this device can do and what it lacks", "edge_runtime.commands.doctor:main", ""),
    "install": ("install a bundle here or, over ssh, there; list, go back", "edge_runtime.commands.install:main", ""),
    "bench": ("measure bundles here, on GPUs, clouds, ssh and phones: one table", "benchmarks.cli:main", "bench"),
    "compare": ("say which of two is more often right, and which is faster", "benchmarks.compare_cli:main", "bench"),
    "serve": ("answer over HTTP: the Open Inference Protocol v2", "benchmarks.cloud.cli:main", "cloud"),
    "dashboard": ("show the results as a page", "mobile_demo.cli:dashboard", "demo"),
    "phone": ("serve a page that runs a bundle on the phone", "mobile_demo.cli:phone", "demo"),
}


def main(argv: list[str] | None = None) -> int:
    """Runs one verb; returns 0 done, 1 a gate failed, 2 bad request or input, 3 something is missing here."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a file name need not be valid text
        code = _main(argv)
        sys.stdout.flush()  # here, where a full disk or a closed pipe still has somebody to hear of it
        return code
    except LokmaError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _complain("stopped by Ctrl-C; nothing half written is left", 130)
    except BrokenPipeError:  # the reader has what it wanted, as in `lokma run … | head -1`
        _discard_output()
        return 0
    except OSError as error:
        _discard_output()
        return _complain(str(error), 2)


def _discard_output() -> None:
    """What could not be written would be tried again when Python exits, and complained of in three lines."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (AttributeError, OSError, ValueError):  # no stdout at all, or one that is not a file
        return


def _main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(_help())
        return 0
    if argv[0] == "--version":
        print(f"lokma {edge_runtime.__version__}")
        return 0
    name = argv[0]
    try:
        return int(_resolve(name)(argv[1:]) or 0)
    except ModuleNotFoundError as error:
        brings = f"pip install -e '.[{VERBS[name][2]}]' in lokma's clone"
        raise Missing(f"`lokma {name}` needs {error.name}, which is not installed: {brings}") from error


def _complain(problem: str, code: int) -> int:
    print(f"lokma: {one_line(problem)}", file=sys.stderr)
    return code


def _help() -> str:
    rows = "\n".join(f"  {name:<10} {does}" for name, (does, _, _) in VERBS.items())
    return f"usage: lokma VERB …    (lokma VERB --help says more)\n\n{rows}\n\n  --version  print the version"


def _resolve(name: str) -> Any:
    """The verb's main function.

    Raises:
        BadRequest: no such verb.
        Missing: its room is not here.
    """
    import importlib.util
    from pathlib import Path

    if name not in VERBS:
        raise BadRequest(f"there is no verb {name!r}; the verbs are {', '.join(VERBS)}")
    _, main_of_room, extra = VERBS[name]
    module, function = main_of_room.split(":")
    root = Path(edge_runtime.__file__).resolve().parent.parent
    room = module.split(".")[0]
    found = importlib.util.find_spec(room)
    if found is None or found.origin is None:
        raise Missing(f"`lokma {name}` runs on a workstation: clone lokma there and pip install -e '.[{extra}]'")
    if Path(found.origin).resolve().parent.parent != root:
        raise Missing(
            f"`lokma {name}` found {found.origin}, which is not lokma's {room}; run it from another folder, "
            f"or install lokma from its clone with pip install -e '.[{extra}]'"
        )
    return getattr(importlib.import_module(module), function)


if __name__ == "__main__":
    sys.exit(main())
