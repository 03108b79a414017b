"""Every way lokma says no: one sentence, one exit code.

An error says what was asked, what exists and what to do. The command line prints the sentence and
exits with the class's code; a script catches the class.

>>> from edge_runtime.errors import BadInput
>>> BadInput("lunch.jpg is not a picture").exit_code
2
"""

# ruff: noqa: N818  (the names say what is wrong; the base class says that they are errors)


class LokmaError(Exception):
    """Base of all errors that are somebody's to mend; `exit_code` is what the command line returns."""

    exit_code = 2


class BadInput(LokmaError):
    """The picture, row or observation that was given cannot be read or does not fit the model."""


class BadRequest(LokmaError):
    """An argument names something that does not exist (an artifact, a recipe, a target)."""


class BadBundle(LokmaError):
    """A bundle is damaged, unsafe, or written by a version that this one does not know."""


class BadData(LokmaError):
    """Training or evaluation data that cannot be used: too few, unreadable, or not what its hash says."""


class GateFailed(LokmaError):
    """A check, a parity bound or an accuracy budget did not hold."""

    exit_code = 1


class Missing(LokmaError):
    """Something needed is not installed or not reachable here; the message says what brings it."""

    exit_code = 3


class NotMeasured(Missing):
    """What was to be measured is not here (no CUDA device, no phone that posted); nothing failed."""


class NoAnswer(LokmaError):
    """One question got no answer (a server refused it, or said nothing in time); the next one may."""

    exit_code = 3


class EngineError(LokmaError):
    """The engine refused an artifact or failed while running it; `code` is the engine's own name for why, if any."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


def one_line(text: str) -> str:
    """Text for a terminal: a stranger's file may have put line breaks or terminal codes into a message."""
    text = text[:1000]
    return text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)
