"""The scalar columns of a record: name, type, and where in the record it stands. To add one, add a row.

The table makes both the view over fresh lines and the columns of a compacted file. A value of another type is NULL.
"""

from __future__ import annotations

from benchmarks.results.schema import REQUIRED, SCHEMA_VERSION

COLUMNS = (
    ("id", "VARCHAR", "$.id"),
    ("time", "VARCHAR", "$.time"),
    ("kind", "VARCHAR", "$.kind"),
    ("commit", "VARCHAR", "$.commit"),
    ("bundle", "VARCHAR", "$.bundle.name"),
    ("bundle_version", "BIGINT", "$.bundle.version"),
    ("task", "VARCHAR", "$.bundle.task"),
    ("bundle_sha256", "VARCHAR", "$.bundle.sha256"),
    ("artifact", "VARCHAR", "$.artifact.id"),
    ("engine", "VARCHAR", "$.artifact.engine"),
    ("precision", "VARCHAR", "$.artifact.precision"),
    ("artifact_sha256", "VARCHAR", "$.artifact.sha256"),
    ("size_bytes", "BIGINT", "$.artifact.size_bytes"),
    ("target", "VARCHAR", "$.target"),
    ("host_fingerprint", "VARCHAR", "$.host.fingerprint"),
    ("host_cpu", "VARCHAR", "$.host.cpu"),
    ("host_cores", "BIGINT", "$.host.cores"),
    ("host_memory_bytes", "BIGINT", "$.host.memory_bytes"),
    ("scenario", "VARCHAR", "$.scenario.name"),
    ("run", "VARCHAR", "$.scenario.run"),
    ("threads", "BIGINT", "$.scenario.threads"),
    ("n", "BIGINT", "$.n"),
    ("p50_ns", "BIGINT", "$.p50_ns"),
    ("p50_low_ns", "BIGINT", "$.p50_interval_ns[0]"),
    ("p50_high_ns", "BIGINT", "$.p50_interval_ns[1]"),
    ("p90_ns", "BIGINT", "$.p90_ns"),
    ("p99_ns", "BIGINT", "$.p99_ns"),
    ("decode_ns", "BIGINT", "$.stages_ns.decode"),
    ("preprocess_ns", "BIGINT", "$.stages_ns.preprocess"),
    ("queue_ns", "BIGINT", "$.stages_ns.queue"),
    ("network_ns", "BIGINT", "$.stages_ns.network"),
    ("inference_ns", "BIGINT", "$.stages_ns.inference"),
    ("postprocess_ns", "BIGINT", "$.stages_ns.postprocess"),
    ("cold_ns", "BIGINT", "$.cold_start_p50_ns.total"),
    ("peak_rss_bytes", "BIGINT", "$.peak_rss_bytes"),
    ("energy_joules", "DOUBLE", "$.energy_joules"),
    ("metric", "VARCHAR", "$.accuracy.metric"),
    ("accuracy", "DOUBLE", "$.accuracy.value"),
    ("accuracy_low", "DOUBLE", "$.accuracy.interval[0]"),
    ("accuracy_high", "DOUBLE", "$.accuracy.interval[1]"),
    ("accuracy_n", "BIGINT", "$.accuracy.n"),
    ("correct", "BIGINT", "$.accuracy.correct"),
    ("answer_right", "BOOLEAN", "$.answer.right"),
    ("valid", "BOOLEAN", "$.validity.valid"),
    ("flags", "TEXTS", "$.validity.flags"),
    ("failure", "VARCHAR", "$.failure.what"),
    ("notes", "TEXTS", "$.notes"),
)
NAMES = tuple(name for name, _, _ in COLUMNS)
_JSON = {str: "VARCHAR", dict: "OBJECT", list: "ARRAY"}


def select(source: str, *more: str) -> str:
    """SQL for the scalar columns of lines that look like records, each parsed once.

    A line's raw latencies are not read: whether derived figures follow from them is checked by `read`,
    `Store.record` and `compact`, which read them anyway.

    Args:
        source: a table with a column `json`, NULL where the line is none.
        more: other columns of it.
    """
    wanted = [path for _, _, path in COLUMNS]
    # The first latency in place of the array, which need not be copied then.
    shape = [("$.schema_version", "UBIGINT"), *((f"$.{key}", _JSON[kind]) for key, kind in REQUIRED.items())]
    shape = [pair for pair in shape if pair[0] not in wanted and pair[0] != "$.latency_ns"]
    paths = [*wanted, *(path for path, _ in shape), "$.latency_ns[0]", "$.failure"]
    place = {path: number for number, path in enumerate(paths, 1)}
    kinds = [f"json_type(v[{place[path]}]) = '{kind}'" for path, kind in shape]
    texts = [f"json_type(v[{place[f'$.{key}']}]) = 'VARCHAR'" for key in ("id", "time", "kind", "target")]
    first, failed = f"v[{place['$.latency_ns[0]']}]", f"json_type(v[{place['$.failure']}]) = 'OBJECT'"
    whole = [
        *texts,
        *kinds,
        f"try_cast(v[{place['$.schema_version']}] AS BIGINT) = {SCHEMA_VERSION}",
        f"coalesce(v[{place['$.kind']}]->>'$' != 'bench' OR {failed} OR {first} IS NOT NULL, false)",
    ]
    columns = [f"{_value(f'v[{place[path]}]', kind)} AS {name}" for name, kind, path in COLUMNS]
    beside = "".join(f", {name}" for name in more)
    return (
        f"SELECT coalesce({' AND '.join(whole)}, false) AS is_record, {', '.join(columns)}{beside} "
        f"FROM (SELECT json_extract(json, {paths}) AS v{beside} FROM {source})"
    )


def _value(where: str, kind: str) -> str:
    if kind == "VARCHAR":
        return f"CASE WHEN json_type({where}) = 'VARCHAR' THEN {where}->>'$' END"
    if kind == "TEXTS":
        return f"CASE WHEN json_type({where}) = 'ARRAY' THEN nullif(array_to_string({where}->>'$[*]', '; '), '') END"
    return f"try_cast({where} AS {kind})"
