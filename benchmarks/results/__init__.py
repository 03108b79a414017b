"""The records: append-only lines in `results/*.jsonl`, Parquet after `compact`. Only this package touches them.

`record` makes one, `append` writes it, `read` gives whole records with their raw arrays, `connect` answers SQL over
the scalars of any number of them.

>>> found = read(Path("results"))                                                       # doctest: +SKIP
>>> len(found.records), found.dropped                                                   # doctest: +SKIP
(9, 0)
>>> connect("results").sql("SELECT artifact, p50_ns FROM records WHERE kind = ?", ["bench"])   # doctest: +SKIP
[{'artifact': 'onnx-int8', 'p50_ns': 6889342}, …]
"""

from __future__ import annotations

from benchmarks.results.journal import Found, append, folder, read, where
from benchmarks.results.schema import SCHEMA_VERSION, checked, record
from benchmarks.results.store import Store, connect

__all__ = ["SCHEMA_VERSION", "Found", "Store", "append", "checked", "connect", "folder", "read", "record", "where"]
