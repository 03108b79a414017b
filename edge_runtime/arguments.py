"""The argument parser of every verb: what is wrong with the arguments is one line, like any other error.

>>> parser = Parser(prog="lokma run")
>>> _ = parser.add_argument("--top", type=int)
>>> parser.parse_args(["--top", "two"])
Traceback (most recent call last):
edge_runtime.errors.BadRequest: argument --top: invalid int value: 'two'; lokma run --help says more
"""

from __future__ import annotations

import argparse
from typing import NoReturn

from edge_runtime.errors import BadRequest


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that raises in place of printing its usage and leaving."""

    def error(self, message: str) -> NoReturn:
        """Raises BadRequest."""
        raise BadRequest(f"{message}; {self.prog} --help says more")


def parser_of(verb: str, does: str) -> Parser:
    """The parser of a verb, with the `--json` that every verb has."""
    parser = Parser(prog=f"lokma {verb}", description=does)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser
