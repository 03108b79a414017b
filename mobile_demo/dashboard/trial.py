"""One input through every artifact of a bundle, and a server in the cloud, side by side.

>>> from edge_runtime import examples, load
>>> predictor = load(examples.path("digits.zip"))
>>> ask(predictor, examples.path("seven.png").read_bytes(), "seven.png", Words("tr")).label
'7'
"""

from __future__ import annotations

import io
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.bundle import Bundle
from edge_runtime.errors import LokmaError
from edge_runtime.postprocess import Prediction
from edge_runtime.predictor import Predictor
from edge_runtime.spec import ModelSpec
from mobile_demo.dashboard.views import Row
from mobile_demo.words import Words

TIMES = 2  # the first answer of a freshly loaded engine is slower than those after it
CLOUD_WITHIN_S = 15
MAX_ANSWER_BYTES = 100_000


@dataclass(frozen=True)
class Outcome:
    """What one artifact said, in the page's language; `detail` is an engine's own words where it failed."""

    artifact: str
    engine: str
    label: str
    figure: str = ""
    time: str = ""
    detail: str = ""


def is_there(path: Path) -> bool:
    """Whether something that may be a bundle lies here."""
    return path.is_file() or (path / "manifest.json").is_file()


def stamp(path: Path) -> int:
    """Changes whenever the bundle is written anew."""
    return (path if path.is_file() else path / "manifest.json").stat().st_mtime_ns


def ask(predictor: Predictor, given: bytes | Sequence[float], name: str, words: Words) -> Outcome:
    """Asks one artifact.

    Args:
        predictor: the loaded artifact.
        given: an encoded picture, or a row of numbers.
        name: the picture's file name, for messages.
        words: the page's language.

    Raises:
        BadInput: the input cannot be read or does not fit the model.
        EngineError: the engine failed.
    """
    for _ in range(TIMES):
        answer = predictor.predict(_named(given, name) if isinstance(given, bytes) else given)
    took = words.duration(sum(answer.ms.values()) * 1e6)
    label, figure = _said(answer, predictor.spec, words)
    return Outcome(predictor.artifact.id, predictor.artifact.engine, label, figure, took)


def ask_cloud(server: str, spec: ModelSpec, given: bytes, words: Words) -> Outcome:
    """Asks `lokma serve` (`POST /predict`) with the same picture, twice; the time is the second round trip's.

    A server that refuses, is not there, answers too late or nonsense is an outcome that says so.
    """
    address = f"{server.rstrip('/')}/predict?{urllib.parse.urlencode({'model': spec.name, 'top': 1})}"
    if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
        return Outcome("cloud", words("cloud_engine"), words("cloud_failed"), detail=server)
    request = urllib.request.Request(address, data=given, headers={"Content-Type": "application/octet-stream"})
    try:
        for _ in range(TIMES):
            started = time.perf_counter_ns()
            with urllib.request.urlopen(request, timeout=CLOUD_WITHIN_S) as reply:
                line = json.loads(reply.read(MAX_ANSWER_BYTES))
            took = time.perf_counter_ns() - started
        best = line["top"][0]
        names = {label.id: getattr(label, words.language) for label in spec.labels}
        label, share = names.get(best["label"], str(best["label"])), float(best["probability"])
    except urllib.error.HTTPError as error:
        said = error.read(300).decode(errors="replace")
        return Outcome("cloud", words("cloud_engine"), words("cloud_failed"), detail=f"{error.code} {said}")
    except (OSError, ValueError, LookupError, TypeError) as error:
        return Outcome("cloud", words("cloud_engine"), words("cloud_failed"), detail=str(error))
    artifact = str(line.get("artifact", "cloud"))
    return Outcome(f"{artifact} · {words('cloud_engine')}", server, label, words.percent(share), words.duration(took))


def failed(artifact: str, engine: str, error: LokmaError, words: Words) -> Outcome:
    """The outcome of an artifact that could not be loaded or run."""
    return Outcome(artifact, engine, words("engine_failed"), detail=str(error))


def starting_numbers(bundle: Bundle) -> list[float]:
    """A row that the model knows: its first golden case, else zeros."""
    width = 1
    for size in bundle.spec.inputs[0].sample_shape:
        width *= size
    golden = bundle.golden()
    known = list(golden[0].input) if golden and isinstance(golden[0].input, list) else []
    return known if len(known) == width else [0.0] * width


def heads(spec: ModelSpec, words: Words) -> tuple[str, ...]:
    """The column heads that fit the task."""
    figure = "probability" if spec.task in ("binary", "multiclass", "multilabel") else "q_value"
    return tuple(words(key) for key in ("system", "answer", figure, "time"))


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """The table's lines."""
    return [
        Row(
            cells=(one.artifact, one.label, one.figure, one.time),
            under=(one.engine, one.detail, "", ""),
            chosen=False,
            numeric=(False, False, True, True),
        )
        for one in outcomes
    ]


def _named(data: bytes, name: str) -> io.BytesIO:
    """A fresh file object that names the picture in messages."""
    stream = io.BytesIO(data)
    stream.name = name
    return stream


def _said(answer: Prediction, spec: ModelSpec, words: Words) -> tuple[str, str]:
    names: dict[str | None, str] = {label.id: getattr(label, words.language) for label in spec.labels}
    label = names.get(answer.label, "")
    if answer.value is not None:
        unit = spec.outputs[0].unit
        return f"{words.number(answer.value, 2)} {unit}".strip(), ""
    if getattr(answer, "unsure", False):
        label = f"{words('unsure')} ({label})"
    figure: Any = answer.probability
    return label, words.number(max(answer.values), 2) if figure is None else words.percent(figure)
