"""SQL over the scalars of any number of records, fresh lines and Parquet together, by DuckDB.

>>> store = connect("results")                                                          # doctest: +SKIP
>>> store.sql("SELECT bundle, count(*) AS n FROM records GROUP BY bundle")               # doctest: +SKIP
[{'bundle': 'foodvision-mini', 'n': 5}]
>>> store.dropped                                                                       # doctest: +SKIP
0
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.results import journal
from benchmarks.results.columns import NAMES, select
from benchmarks.results.journal import COMPACTED
from benchmarks.results.schema import MAX_RECORD_BYTES, parse
from edge_runtime.errors import BadRequest, Missing

if TYPE_CHECKING:
    import duckdb

MEMORY = "700MB"  # DuckDB's own limit; what it does not count (the interpreter, buffers of files) comes on top
EXTENSIONS = {"s3": "httpfs", "http": "httpfs", "https": "httpfs", "gs": "httpfs", "gcs": "httpfs", "r2": "httpfs"}


class Store:
    """Records that can be asked: made by `connect`.

    Attributes:
        dropped: how many lines were no whole record (torn, foreign, of another schema).
        place: the folder or URL.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._open()

    def sql(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """The rows that a query over the view `records` gives, each a dictionary by column.

        Args:
            query: SELECT …; the columns are those of `benchmarks.results.columns.COLUMNS`.
            parameters: for each `?` a value, or for `$name` a mapping.

        Raises:
            BadRequest: DuckDB refuses the query; the message is its own.
        """
        import duckdb

        try:
            asked = self._database.execute(query, parameters)
            names = [column[0] for column in asked.description or ()]
            return [dict(zip(names, row, strict=True)) for row in asked.fetchall()]
        except duckdb.Error as error:
            raise BadRequest(f"the records cannot answer that: {error}") from error

    def record(self, record_id: str) -> dict[str, Any]:
        """The whole record, with its raw arrays.

        Raises:
            BadRequest: there is none of that id, or its figures do not follow from its raw latencies.
        """
        found = self.records([record_id])
        if record_id not in found:
            raise BadRequest(f"{self.place} has no record {record_id!r}")
        whole = found[record_id]
        if whole is None:
            raise BadRequest(f"the record {record_id} of {self.place} contradicts its raw latencies")
        return whole

    def records(self, ids: Sequence[str]) -> dict[str, dict[str, Any] | None]:
        """Whole records by their ids, each file read once; None for one whose figures contradict its raw latencies.

        Raises:
            BadRequest: their files are compacted faster than they are read.
        """
        for _ in range(2):
            places: dict[str, list[str]] = {}
            for row in self.sql(f"SELECT id, file FROM places WHERE {_among('id', ids)}", ids) if ids else ():
                places.setdefault(row["file"], []).append(row["id"])
            lines = {key: line for file, own in places.items() for key, line in self._lines(file, own)}
            if len(lines) == sum(map(len, places.values())):
                return {key: parse(line) for key, line in lines.items()}
            self._open()  # a file was compacted meanwhile
        raise BadRequest(f"the files of {self.place} are compacted faster than they are read")

    def _open(self) -> None:
        import duckdb

        while True:
            self._database = _database(self.place)
            fresh, compacted = _files(self._database, self.place)
            try:
                self._load(fresh, compacted)
            except duckdb.IOException as error:
                if journal.is_url(self.place) or all(Path(path).exists() for path in (*fresh, *compacted)):
                    raise BadRequest(f"{self.place} cannot be read: {error}") from error
            else:
                return

    def _load(self, fresh: list[str], compacted: list[str]) -> None:
        """Fresh lines are parsed once, into a table of their scalars; compacted files are read as they are asked."""
        columns = ", ".join(NAMES)
        lines = f"(SELECT json, filename AS file FROM {_lines(fresh)})" if fresh else "(SELECT NULL::JSON AS json, '')"
        self._database.execute(f"CREATE TABLE lines AS {select(lines + ' AS given(json, file)', 'file')}")
        self.dropped = self._row("SELECT count(*) FILTER (NOT is_record) FROM lines")[0] if fresh else 0
        self._database.execute(
            f"CREATE TABLE fresh AS SELECT {columns}, file FROM lines WHERE is_record "
            "QUALIFY row_number() OVER (PARTITION BY id ORDER BY rowid DESC) = 1; DROP TABLE lines"
        )
        parts = [f"SELECT {columns}, file FROM fresh"]
        if compacted:
            parquet = f"read_parquet({compacted}, filename = 'file')"
            # Both are rare, and dear to rule out in each question: they are looked for once.
            twice, newer = self._row(
                f"SELECT count(*) > count(DISTINCT id), bool_or(id IN (SELECT id FROM fresh)) FROM {parquet}"
            )
            alone = " WHERE id NOT IN (SELECT id FROM fresh)" if newer else ""
            last = " QUALIFY row_number() OVER (PARTITION BY id ORDER BY file DESC) = 1" if twice else ""
            parts.append(f"SELECT {columns}, file FROM {parquet}{alone}{last}")
        both = " UNION ALL ".join(parts)
        self._database.execute(f"CREATE VIEW places AS SELECT id, file FROM ({both})")
        self._database.execute(f"CREATE VIEW records AS SELECT {columns} FROM ({both})")

    def _lines(self, file: str, ids: Sequence[str]) -> list[tuple[str, bytes]]:
        """(id, line) of the records of one file, as far as they are still there; of two with one id the later last."""
        import duckdb

        if not file.endswith(COMPACTED) and not journal.is_url(file):
            return [(one, line) for one in ids if (line := journal.line_of(Path(file), one)) is not None]
        if file.endswith(COMPACTED):
            query = f"SELECT id, whole FROM read_parquet({[file]}) WHERE {_among('id', ids)}"
        else:
            own = "json->>'$.id'"
            query = f"SELECT {own}, json::VARCHAR FROM {_lines([file])} WHERE {_among(own, ids)}"
        try:
            return [(one, line.encode()) for one, line in self._database.execute(query, ids).fetchall()]
        except duckdb.IOException:
            return []
        except duckdb.Error as error:
            raise BadRequest(f"the records of {file} cannot be read: {error}") from error

    def _row(self, query: str) -> tuple[Any, ...]:
        return self._database.execute(query).fetchone() or ()


def connect(place: str | Path | None = None) -> Store:
    """Opens the records of a place to be asked; scalars only are read.

    Args:
        place: a folder (one that is not there is empty), a file of records, or a URL prefix that DuckDB reads, such as
            `s3://bucket/results`, where its own extension for it is installed; None takes `where()`.

    Raises:
        Missing: DuckDB or its extension is not installed.
        BadRequest: the place cannot be read.
    """
    try:
        import duckdb  # noqa: F401
    except ModuleNotFoundError as error:
        raise Missing("to ask the records, pip install -e '.[bench]' in lokma's clone: duckdb is missing") from error
    return Store(journal.where() if place is None else str(place))


def _database(place: str) -> duckdb.DuckDBPyConnection:
    import duckdb

    # Nothing is downloaded behind a user's back: an extension must be there.
    settings: dict[str, Any] = {
        "memory_limit": MEMORY,
        "autoinstall_known_extensions": False,
        "preserve_insertion_order": True,
        "temp_directory": journal.spill(),
    }
    database = duckdb.connect(config=settings)
    extension = EXTENSIONS.get(place.split("://")[0]) if journal.is_url(place) else None
    if extension:
        try:
            database.execute(f"LOAD {extension}")
        except duckdb.Error as error:
            raise Missing(
                f"to read {place}, DuckDB needs its extension {extension}, which is not installed here: where there is "
                f"a network, python -c \"import duckdb; duckdb.sql('INSTALL {extension}')\""
            ) from error
        if place.startswith("s3") and os.environ.get("AWS_ACCESS_KEY_ID"):
            database.execute("CREATE SECRET (TYPE s3, PROVIDER credential_chain)")
    return database


def _files(database: duckdb.DuckDBPyConnection, place: str) -> tuple[list[str], list[str]]:
    """The fresh and the compacted files of a place that count."""
    import duckdb

    if journal.is_url(place):
        prefix = place.rstrip("/")
        try:
            listed = database.execute("SELECT file FROM glob(?)", [f"{prefix}/*"]).fetchall()
        except duckdb.Error as error:
            raise BadRequest(f"{place} cannot be read: {error}") from error
        paths = [f"{prefix}/{name}" for name in journal.counting(row[0].rsplit("/", 1)[-1] for row in listed)]
    elif Path(place).is_file():
        paths = [place]
    else:
        paths = [str(path) for path in journal.files(Path(place))]
    paths = [path for path in paths if journal.is_url(path) or (Path(path).exists() and Path(path).stat().st_size)]
    return [p for p in paths if not p.endswith(COMPACTED)], [p for p in paths if p.endswith(COMPACTED)]


def _among(column: str, values: Sequence[str]) -> str:
    return f"{column} IN ({', '.join('?' * len(values))})"


def _lines(paths: list[str]) -> str:
    return (
        f"read_ndjson_objects({paths}, ignore_errors = true, filename = true, maximum_object_size = {MAX_RECORD_BYTES})"
    )
