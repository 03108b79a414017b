"""Each operator's time in an artifact, both engines in one table with the same columns: `lokma bench BUNDLE --layers`.

onnxruntime's own profile, and ExecuTorch's ETDump events through the runtime. What XNNPACK took is one row a call: it
does not say what is inside. Operators of one name and backend are summed up; each time is the median of the runs.

>>> from edge_runtime import examples
>>> found = layers(examples.path("cartpole.zip"), "xnnpack-fp32")
>>> found[0]["rows"][0]["backend"], found[0]["artifact"]
('xnnpack', 'xnnpack-fp32')
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_runtime.bundle import Artifact, Bundle, open_bundle
from edge_runtime.engines import Operator
from edge_runtime.engines.executorch import ExecuTorchSession
from edge_runtime.errors import BadRequest, Missing
from edge_runtime.predictor import Predictor, open_artifact

RUNS = 10
ROWS = 15  # of a table; the rest is one line
COLUMNS = ("operator", "backend", "count", "ms", "share")


def layers(
    path: str | Path, artifact: str | None = None, against: str | None = None, threads: int | None = None
) -> list[Any]:
    """The operators of one artifact, or of two.

    Args:
        path: a bundle.
        artifact: its id; None takes the first that runs here.
        against: another's id.
        threads: cores for one inference; None takes those here, at most 4.

    Returns:
        For each `{"artifact", "engine", "threads", "total_ns", "rows": [{"operator", "backend", "count", "ns",
        "share"}]}`, the rows by their time.

    Raises:
        BadRequest: there is no such artifact.
        Missing: no engine here can run it.
    """
    from edge_runtime import engines

    bundle, threads = open_bundle(path), threads or engines.default_threads()
    runnable = [one.id for one in bundle.artifacts if engines.available(one.engine)]
    if artifact is None and not runnable:
        raise Missing(f"nothing here can run {path}; `lokma doctor` says what to install")
    if artifact is not None and artifact == against:
        raise BadRequest(f"--against {against} is the artifact itself; name another")
    names = [artifact or runnable[0], *([against] if against else [])]
    return [_profile(bundle, bundle.artifact(name), threads) for name in names]


def _profile(bundle: Bundle, artifact: Artifact, threads: int) -> dict[str, Any]:
    session = open_artifact(bundle, artifact, threads)
    predictor = Predictor(bundle.spec, artifact, session, exact=True)
    try:
        goldens = bundle.golden()
        if not goldens:
            raise BadRequest(f"{bundle.source.path} has no golden case to be profiled on; export it again")
        tensor = predictor._prepared(goldens[0].input)[0]
        if isinstance(session, ExecuTorchSession):
            operators: Sequence[Operator] = session.profile({bundle.spec.inputs[0].name: tensor}, RUNS)
        else:
            operators = _onnx(bundle, artifact, tensor, threads)
    finally:
        predictor.close()
    return {"artifact": artifact.id, "engine": artifact.engine, "threads": threads, **summed(operators)}


def summed(operators: Sequence[Operator]) -> dict[str, Any]:
    """Rows of one name and backend together, the longest first.

    >>> summed([Operator("Conv", "cpu", 30), Operator("Relu", "cpu", 10), Operator("Conv", "cpu", 60)])["rows"][0]
    {'operator': 'Conv', 'backend': 'cpu', 'count': 2, 'ns': 90, 'share': 0.9}
    """
    total = sum(one.ns for one in operators) or 1
    groups: dict[tuple[str, str], list[int]] = {}
    for one in operators:
        groups.setdefault((one.name, one.backend), []).append(one.ns)
    rows = [
        {
            "operator": name,
            "backend": backend,
            "count": len(times),
            "ns": sum(times),
            "share": sum(times) / (total or 1),
        }
        for (name, backend), times in groups.items()
    ]
    return {"total_ns": total, "rows": sorted(rows, key=lambda row: -row["ns"])}


def table(found: Sequence[dict[str, Any]]) -> str:
    """One table an artifact, all with the same columns."""
    from benchmarks.report import grid_of

    parts = []
    for one in found:
        rows = [
            (row["operator"], row["backend"], str(row["count"]), f"{row['ns'] / 1e6:.3f}", f"{row['share']:.1%}")
            for row in one["rows"][:ROWS]
        ]
        rest = one["rows"][ROWS:]
        if rest:
            count, ns, share = (sum(row[key] for row in rest) for key in ("count", "ns", "share"))
            rows.append((f"{len(rest)} more", "", str(count), f"{ns / 1e6:.3f}", f"{share:.1%}"))
        threads = f"{one['threads']} thread{'s' * (one['threads'] > 1)}"
        head = f"{one['artifact']} ({one['engine']}, {threads}): {one['total_ns'] / 1e6:.3f} ms in operators"
        parts.append(f"{head}\n\n{grid_of(COLUMNS, rows)}")
    return "\n\n".join(parts)


def _onnx(bundle: Bundle, artifact: Artifact, tensor: Any, threads: int) -> list[Operator]:
    """The kernels that onnxruntime's profile names, each the median of the runs after the first."""
    import numpy as np
    import onnxruntime

    takes, content = bundle.spec.inputs[0], bundle.content(artifact)
    given = np.frombuffer(tensor, takes.dtype).reshape(1, *takes.sample_shape)
    with tempfile.TemporaryDirectory(prefix="lokma-layers-") as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 4
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "onnx")
        source = content if isinstance(content, bytes) else str(content)
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        for _ in range(RUNS + 1):
            session.run(None, {takes.name: given})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times: dict[str, list[int]] = {}
    kinds: dict[str, tuple[str, str]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            said, key = event["args"], f"{event['args']['node_index']} {event['name']}"
            times.setdefault(key, []).append(int(event["dur"]) * 1000)
            kinds[key] = (str(said["op_name"]), str(said.get("provider", "")).replace("ExecutionProvider", "").lower())
    return [Operator(*kinds[key], round(statistics.median(found[1:]))) for key, found in times.items()]
