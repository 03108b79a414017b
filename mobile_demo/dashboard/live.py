"""The records as they are now: opened anew where a file has changed, once for all visitors.

>>> opened(Path("results"), stamps(Path("results"))).bundles()                          # doctest: +SKIP
['cartpole', 'foodvision-mini']
"""

from __future__ import annotations

import functools
import threading
from pathlib import Path

from benchmarks import results
from mobile_demo.dashboard.store import Records

Stamps = tuple[tuple[str, int, int], ...]
_ONE_AT_A_TIME = threading.Lock()


def stamps(folder: Path) -> Stamps:
    """What the records depend on: each file's name, size and time of change."""
    found = []
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
        if path.suffix in (".jsonl", ".parquet"):
            try:
                about = path.stat()
            except FileNotFoundError:  # compacted away meanwhile
                continue
            found.append((path.name, about.st_size, about.st_mtime_ns))
    return tuple(found)


def opened(folder: Path, seen: Stamps) -> Records:
    """The records of a folder; whoever asks while they are being opened waits for them.

    Raises:
        LokmaError: as `benchmarks.results.connect` does.
    """
    with _ONE_AT_A_TIME:
        return _opened(str(folder), seen)


@functools.lru_cache(maxsize=1)
def _opened(folder: str, seen: Stamps) -> Records:
    del seen  # only part of the cache's key
    return Records(results.connect(folder))
