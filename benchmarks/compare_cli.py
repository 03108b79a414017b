"""`lokma compare A B`: a thin skin over `benchmarks.compare`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.compare import compare, sentences
from edge_runtime.arguments import parser_of


def main(argv: list[str]) -> int:
    """Parses, compares, prints."""
    parser = parser_of("compare", "Which of two is more often right, and which is faster: A, B, or cannot tell.")
    parser.add_argument("a", help="BUNDLE:ARTIFACT, or the id of a record")
    parser.add_argument("b", help="likewise; :ARTIFACT is another of the same bundle")
    parser.add_argument("--threads", type=int, help="of both (the cores here, at most 4)")
    parser.add_argument("--seconds", type=float, default=20, help="how long times are taken (20)")
    parser.add_argument("--data", type=Path, help="pictures of your own: a folder a label")
    parser.add_argument("--no-accuracy", action="store_true", help="times only")
    args = parser.parse_args(argv)
    found = compare(args.a, args.b, args.threads, args.seconds, args.data, not args.no_accuracy)
    sys.stdout.write((json.dumps(found) if args.json else sentences(found, args.a, args.b)) + "\n")
    return 0
