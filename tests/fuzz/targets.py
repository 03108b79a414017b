"""What is fuzzed: each target takes bytes that a stranger could have written and may only answer or refuse.

A refusal is a `LokmaError`; anything else is a finding. `test_corpus.py` replays the kept inputs in every
test run, `__main__.py` looks for new ones by coverage (`make fuzz`).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from edge_runtime.bundle import MANIFEST, open_bundle
from edge_runtime.errors import LokmaError
from edge_runtime.preprocess import open_picture, to_pixels
from edge_runtime.spec import ImageSpec

CORPUS = Path(__file__).parent / "corpus"
IMAGE = ImageSpec(resize=20, crop=16)


def manifest(data: bytes) -> None:
    """A bundle folder whose manifest is `data`."""
    with _scratch() as folder:
        (folder / MANIFEST).write_bytes(data)
        _read(folder)


def archive(data: bytes) -> None:
    """A bundle's .zip."""
    with _scratch() as folder:
        (folder / "bundle.zip").write_bytes(data)
        _read(folder / "bundle.zip")


def picture(data: bytes) -> None:
    """An encoded picture, decoded fast and in full."""
    for exact in (False, True):
        with contextlib.suppress(LokmaError):
            pixels = to_pixels(open_picture(data, IMAGE, exact=exact), IMAGE)
            assert len(pixels) == IMAGE.crop * IMAGE.crop * 3


TARGETS: dict[str, Callable[[bytes], None]] = {"manifest": manifest, "zip": archive, "picture": picture}


def _read(path: Path) -> None:
    """All that a load reads before an engine sees the artifact."""
    with contextlib.suppress(LokmaError):
        bundle = open_bundle(path)
        bundle.golden()
        for artifact in bundle.artifacts:
            bundle.content(artifact)


@contextlib.contextmanager
def _scratch():
    """A folder in memory where there is one; a fuzzer opens thousands a second."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)
