"""The `lokma` command: a table of verbs. Each verb's room parses, calls one function, prints.

As little as can be is imported up here, the rest where it is used: `main` answers for a
Ctrl-C from its first line on, and an import above it would end in a traceback.
"""

from __future__ import annotations

import io
import os
import sys

import edge_runtime
from edge_runtime.errors import BadRequest, GateFailed, LokmaError, Missing

TYPE_CHECKING = False  # for type checkers it is True; the import of typing alone takes 10 ms
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from edge_runtime.arguments import Parser

# verb: (what it does, where its main is, the extra that brings what it imports)
VERBS = {
    "train": ("train a model by a recipe: writes runs/NAME", "train.cli:main", "train"),
    "export": ("quantize and lower a run: writes bundles/NAME, with verdicts", "export.cli:main", "export"),
    "info": ("describe a bundle", "edge_runtime.cli:info", ""),
    "check": ("prove that a bundle answers here as it should", "edge_runtime.cli:check", ""),
    "run": ("answer pictures or rows of numbers", "edge_runtime.cli:run", ""),
    "bench": ("measure a bundle against eager torch: appends to results/", "benchmarks.cli:main", "bench"),
    "dashboard": ("show the results as a page", "mobile_demo.cli:dashboard", "demo"),
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
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it exits
        return 0
    except OSError as error:
        return _complain(str(error), 2)


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
    print(f"lokma: {_one_line(problem)}", file=sys.stderr)
    return code


def _one_line(text: str) -> str:
    """A stranger's file may have put line breaks or terminal codes into a message."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:1000])


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


def info(argv: list[str]) -> int:
    """`lokma info`: what a bundle or a bare artifact is."""
    import json
    from pathlib import Path

    from edge_runtime.bundle import open_bundle
    from edge_runtime.predictor import is_bare, load

    parser = _parser("info", "Describe a bundle folder, its .zip, or a bare .onnx or .pte.")
    parser.add_argument("path", type=Path)
    args = parser.parse_args(argv)
    if is_bare(args.path):
        spec = load(args.path).spec
        manifest: Any = {"name": spec.name, "spec": spec.to_dict(), "artifacts": []}
    else:
        bundle = open_bundle(args.path)
        spec, manifest = bundle.spec, bundle.manifest
    if args.json:
        print(json.dumps(manifest))
        return 0
    labels = ", ".join(label.id for label in spec.labels[:12])
    print(f"{manifest['name']}: {spec.task}, {labels or 'no labels'}")
    for artifact in manifest["artifacts"]:
        accuracy = artifact.get("accuracy")
        measured = _one_line(str(accuracy.get("text", ""))) if isinstance(accuracy, dict) else ""
        size = f"{artifact['size_bytes'] / 1e6:7.2f} MB"
        print(f"  {artifact['id']:<14} {size}  {artifact['engine']:<12} {measured}".rstrip())
    return 0


def check(argv: list[str]) -> int:
    """`lokma check`: hashes and golden cases; exit code 1 if one fails."""
    import json
    from pathlib import Path

    from edge_runtime.check import check as run_checks

    parser = _parser("check", "Prove that a bundle answers here as it did where it was exported.")
    parser.add_argument("path", type=Path)
    args = parser.parse_args(argv)
    report = run_checks(args.path)
    if args.json:
        print(json.dumps(report))
    else:
        for entry in report["checks"]:
            mark = {True: "ok", False: "FAILED", None: "-"}[entry["ok"]]
            print(f"{mark:<7} {entry['name']:<14} {_one_line(entry['detail'])}")
    if not report["ok"]:
        failed = [f"{entry['name']}: {entry['detail']}" for entry in report["checks"] if entry["ok"] is False]
        why = failed[0] if failed else "no engine here can run any of its artifacts"
        raise GateFailed(f"{args.path} failed the check: {why}")
    return 0


def run(argv: list[str]) -> int:
    """`lokma run`: one line an input; one bad input does not stop the others."""
    import json
    from pathlib import Path

    parser = _parser(
        "run", "Answer pictures, or rows of numbers such as 0.1,0,-0.02,0.3 (put -- before a leading minus)."
    )
    parser.add_argument("bundle", type=Path, help="a bundle folder, its .zip, or a bare .onnx or .pte")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="a picture, or numbers joined by commas")
    parser.add_argument("--artifact", metavar="ID", help="default: the first that an engine here can run")
    parser.add_argument("--top", type=int, default=3, metavar="K", help="how many labels to show (3)")
    parser.add_argument("--threads", type=int, metavar="N", help="default: the cores here, at most 4")
    parser.add_argument("--exact", action="store_true", help="decode every pixel of large pictures")
    args = parser.parse_args(argv)
    if args.top < 1 or (args.threads is not None and args.threads < 1):
        raise BadRequest("--top and --threads must be at least 1")
    predictor = edge_runtime.load(args.bundle, args.artifact, args.threads, exact=args.exact)
    code = 0
    for line in _answers(predictor, args.inputs, args.top):
        code = 2 if "error" in line else code
        if args.json:
            print(json.dumps(line), flush=True)
        elif "error" in line:
            _complain(line["error"], 2)
        else:
            print(_one_line(_sentence(line)), flush=True)
    return code


def _answers(predictor: Any, inputs: list[str], top: int) -> Iterator[dict[str, Any]]:
    for given in inputs:
        line = {"input": given, "artifact": predictor.artifact.id, "engine": predictor.artifact.engine}
        try:
            answer = predictor.predict(given if predictor.spec.image else _numbers(given))
        except LokmaError as error:
            yield {**line, "error": str(error)}
            continue
        if answer.task == "policy":
            line.update(action=answer.action, label=answer.label)
        elif answer.task == "regression":
            line.update(value=answer.value)
        else:
            line.update(top=[{"label": name, "probability": round(p, 6)} for name, p in answer.top(top)])
        yield {**line, "ms": {stage: round(ms, 3) for stage, ms in answer.ms.items()}}


def _sentence(line: dict[str, Any]) -> str:
    if "top" in line:
        answer = ", ".join(f"{entry['label']} {entry['probability']:.1%}" for entry in line["top"])
    else:
        answer = f"{line['label']} (action {line['action']})" if "action" in line else str(line["value"])
    return f"{line['input']}: {answer}  [{line['artifact']}, {sum(line['ms'].values()):.1f} ms]"


def _numbers(text: str) -> list[float] | str:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return text  # the predictor says what it takes instead


def _parser(verb: str, does: str) -> Parser:
    from edge_runtime.arguments import Parser

    parser = Parser(prog=f"lokma {verb}", description=does)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


if __name__ == "__main__":
    sys.exit(main())
