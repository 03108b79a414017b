"""`lokma run`: one line an input; one bad input does not stop the others."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import edge_runtime
from edge_runtime.arguments import parser_of
from edge_runtime.errors import BadRequest, LokmaError, one_line
from edge_runtime.inputs import raw_inputs

DOES = """Answer pictures, rows of numbers or a table, one line each. INPUT is a picture, a folder of pictures,
numbers such as 0.1,0,-0.02,0.3 (put -- before a leading minus), a .csv, or - for stdin: a picture, a camera's
MJPEG stream (of which the newest frame is answered whenever the last answer is out) or a CSV."""


def main(argv: list[str]) -> int:
    """Prints an answer a line; returns 2 if an input could not be answered."""
    args = _arguments(argv)
    predictor = edge_runtime.load(args.bundle, args.artifact, args.threads, exact=args.exact, strict=args.strict)
    spec = predictor.spec
    if args.env is not None:
        lines: Iterable[dict[str, Any]] = [_played(predictor, args.env, args.episodes, args.seed)]
    else:
        width = math.prod(spec.inputs[0].sample_shape)
        given = raw_inputs(args.inputs, spec.image is not None, spec.columns, width)
        lines = _answers(predictor, given, args.top, args.threshold)
    code = 0
    for line in lines:
        code = 2 if "error" in line else code
        if args.json:
            print(json.dumps(line), flush=True)
        elif "error" in line:
            print(f"lokma: {one_line(line['error'])}", file=sys.stderr)
        else:
            print(one_line(_sentence(line)), flush=True)
    return code


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = parser_of("run", DOES)
    parser.add_argument("bundle", help="a bundle folder, its .zip, a bare .onnx or .pte, or an installed bundle's name")
    # a parser takes "*" as none as soon as a flag stands between the bundle and its inputs
    count = "*" if any(one.split("=")[0] == "--env" for one in argv) else "+"
    parser.add_argument("inputs", nargs=count, metavar="INPUT", help="what to answer; see above")
    parser.add_argument("--artifact", metavar="ID", help="default: what lokma tune chose, or the first that runs here")
    parser.add_argument("--top", type=int, default=3, metavar="K", help="how many labels to show (3)")
    parser.add_argument("--threshold", type=float, metavar="P", help="binary, multilabel: a yes from P on, as `labels`")
    parser.add_argument("--threads", type=int, metavar="N", help="default: what was tuned, or the cores, at most 4")
    parser.add_argument("--exact", action="store_true", help="decode every pixel of large pictures")
    parser.add_argument("--strict", action="store_true", help="refuse a .pte that runs mostly outside its backend")
    parser.add_argument("--env", metavar="ID", help="a policy plays this Gymnasium environment instead: CartPole-v1")
    parser.add_argument("--episodes", type=int, default=100, metavar="N", help="with --env: how many (100)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="with --env: of the first episode (0)")
    args = parser.parse_args(argv)
    if args.top < 1 or (args.threads is not None and args.threads < 1):
        raise BadRequest("--top and --threads must be at least 1")
    if args.episodes < 1 or args.seed < 0:
        raise BadRequest("--episodes must be at least 1 and --seed at least 0")
    if args.inputs and args.env is not None:
        parser.error("--env takes the place of INPUT; give one of them")
    return args


def _answers(
    predictor: edge_runtime.Predictor, given: Iterable[tuple[str, Any]], top: int, threshold: float | None
) -> Iterator[dict[str, Any]]:
    for name, x in given:
        line: dict[str, Any] = {"input": name, "artifact": predictor.artifact.id, "engine": predictor.artifact.engine}
        try:
            if isinstance(x, LokmaError):
                raise x
            answer = predictor.predict(x)
        except LokmaError as error:
            yield {**line, "error": str(error)}
            continue
        line.update(answer.fields(top))
        if threshold is not None:
            line.update(labels=answer.labels_at(threshold))
        yield {**line, "ms": {stage: round(ms, 3) for stage, ms in answer.ms.items()}}


def _played(predictor: edge_runtime.Predictor, environment: str, episodes: int, seed: int) -> dict[str, Any]:
    from edge_runtime.play import interval, play

    returns = play(predictor, environment, episodes, seed)
    mean, (bounds, why) = sum(returns) / len(returns), interval(returns, environment)
    line = {"input": environment, "artifact": predictor.artifact.id, "engine": predictor.artifact.engine}
    return {**line, "returns": returns, "mean": mean, "interval": bounds, "note": why}


def _sentence(line: dict[str, Any]) -> str:
    if "returns" in line:
        low, high = line["interval"] or (None, None)
        said = line["note"] if low is None else f"95 % {low:.1f} to {high:.1f}"
        returns = " ".join(f"{one:g}" for one in line["returns"])
        mean = f"mean return {line['mean']:.1f} ({said}) of {len(line['returns'])} episodes"
        return f"{line['input']}: {mean}: {returns}  [{line['artifact']}]"
    if "labels" in line:
        answer = ", ".join(line["labels"]) or "none of the labels"
    elif "top" in line:
        answer = ", ".join(f"{entry['label']} {entry['probability']:.1%}" for entry in line["top"])
        answer = f"not sure: {answer}" if line.get("unsure") else answer
    elif "action" in line:
        answer = f"{line['label']} (action {line['action']})"
    else:
        answer = f"{line['value']:.6g} {line['unit']}".rstrip()
    return f"{line['input']}: {answer}  [{line['artifact']}, {sum(line['ms'].values()):.1f} ms]"
