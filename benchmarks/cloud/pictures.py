"""A picture to an answer: what `POST /predict` takes, decoded a few at a time, and the line that `lokma run` prints."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request

from benchmarks.cloud.batching import Answer
from benchmarks.cloud.models import Model
from benchmarks.cloud.refusals import Refused
from edge_runtime.errors import BadInput, one_line
from edge_runtime.preprocess import open_picture, to_pixels
from edge_runtime.spec import ImageSpec

DECODERS = 2  # at once: the largest picture that is read unpacks to 267 MB
WAITING = 32  # encoded pictures, at most 16 MB each
MAX_TOP = 1000


class Decoders:
    """Decodes pictures in threads of their own; refuses where too many wait."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(DECODERS, thread_name_prefix="lokma-decode")
        self._waiting = 0

    async def pixels(self, encoded: bytes, image: ImageSpec) -> tuple[bytes, dict[str, float]]:
        """The tensor of one picture, and how long its decode and preprocess took in ms.

        Raises:
            BadInput: it is not a picture, damaged, or too large when unpacked.
            Refused: too many wait.
        """
        if self._waiting >= DECODERS + WAITING:
            raise Refused(503, "too many pictures wait to be decoded; try again later", {"Retry-After": "1"})
        self._waiting += 1
        running = asyncio.get_running_loop().run_in_executor(self._threads, _decoded, encoded, image)
        running.add_done_callback(self._done)
        return await running

    def _done(self, _: Any) -> None:
        self._waiting -= 1

    def close(self) -> None:
        """Ends the threads."""
        self._threads.shutdown()


def _decoded(encoded: bytes, image: ImageSpec) -> tuple[bytes, dict[str, float]]:
    start = time.perf_counter_ns()
    picture = open_picture(encoded, image)
    decoded = time.perf_counter_ns()
    pixels = to_pixels(picture, image)
    return pixels, {"decode": (decoded - start) / 1e6, "preprocess": (time.perf_counter_ns() - decoded) / 1e6}


async def uploaded(request: Request) -> tuple[str, bytes]:
    """The picture of a request, and its name: the body itself, or the one file of a form.

    Raises:
        BadInput: there is none.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        body = await request.body()
        if not body:
            raise BadInput("the body is empty; send a JPEG, PNG or WebP")
        return "body", body
    async with request.form(max_files=1, max_fields=8) as form:
        files = [one for one in form.values() if isinstance(one, UploadFile)]
        if not files:
            raise BadInput("the form has no file; send a JPEG, PNG or WebP as one: curl -F image=@lunch.jpg")
        return one_line(files[0].filename or "file")[:200], await files[0].read()


def top_of(request: Request) -> int:
    """How many labels are asked for (`?top=3`).

    Raises:
        BadInput: not a number from 1 on.
    """
    given = request.query_params.get("top", "3")
    if not (given.isascii() and given.isdigit() and len(given) <= 4 and 1 <= int(given) <= MAX_TOP):
        raise BadInput(f"top must be a whole number from 1 to {MAX_TOP}; got {given[:20]!r}")
    return int(given)


def line_of(name: str, model: Model, answer: Answer, ms: dict[str, float], top: int) -> dict[str, Any]:
    """The object that `lokma run --json` prints for one input."""
    artifact, found = model.artifact, model.prediction(answer, ms)
    line = {"input": name, "artifact": artifact.id, "engine": artifact.engine, **found.fields(top)}
    return {**line, "ms": {stage: round(spent, 3) for stage, spent in ms.items()}}
