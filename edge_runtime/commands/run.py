"""`lokma run`: one line an input; one bad input does not stop the others."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import edge_runtime
from edge_runtime.arguments import parser_of
from edge_runtime.errors import BadRequest, LokmaError, one_line


def main(argv: list[str]) -> int:
    """Prints an answer a line; returns 2 if an input could not be answered."""
    parser = parser_of(
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
            print(f"lokma: {one_line(line['error'])}", file=sys.stderr)
        else:
            print(one_line(_sentence(line)), flush=True)
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
