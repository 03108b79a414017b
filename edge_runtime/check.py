"""Proves that a bundle answers here as it did where it was exported: hashes, then every golden case.

An fp32 artifact must repeat its stored output within 1e-4 of the largest value, an int8 one within 0.02
(the last float steps differ by processor), and both must give the same best label.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_runtime import engines
from edge_runtime.bundle import Artifact, Bundle, Golden, open_bundle
from edge_runtime.errors import EngineError, LokmaError
from edge_runtime.predictor import Predictor, open_artifact

TOLERANCE = {"fp32": 1e-4, "int8": 2e-2}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `ok` is None where it could not be looked at here."""

    name: str
    ok: bool | None
    detail: str


def check(path: str | Path) -> dict[str, Any]:
    """Checks every artifact of a bundle that an engine here can run.

    Returns:
        `{"ok": bool, "checks": [{"name", "ok", "detail"}]}`; `ok` is False if one failed or none could run.

    Raises:
        BadInput: nothing is at `path`.
        BadBundle: the bundle cannot even be opened.
    """
    bundle = open_bundle(path)
    goldens = bundle.golden()
    checks = [_check_artifact(bundle, artifact, goldens) for artifact in bundle.artifacts]
    ok = all(entry.ok is not False for entry in checks) and any(entry.ok for entry in checks)
    return {"ok": ok, "checks": [asdict(entry) for entry in checks]}


def _check_artifact(bundle: Bundle, artifact: Artifact, goldens: tuple[Golden, ...]) -> Check:
    if not engines.available(artifact.engine):
        return Check(artifact.id, None, f"not run: {artifact.engine} is not installed here")
    if not goldens:
        return Check(artifact.id, False, "the bundle has no golden case, so nothing can be proved")
    try:
        session = open_artifact(bundle, artifact, verify=True)
        with contextlib.closing(Predictor(bundle.spec, artifact, session, exact=True)) as predictor:
            worst = max(_drift(predictor, artifact, golden) for golden in goldens)
    except LokmaError as error:
        return Check(artifact.id, False, str(error))
    return Check(artifact.id, True, f"{len(goldens)} golden cases, largest difference {worst:.1e}")


def _drift(predictor: Predictor, artifact: Artifact, golden: Golden) -> float:
    """The largest difference from the stored output, relative to its largest value."""
    got = predictor.predict(golden.input).values
    stored = golden.outputs.get(artifact.id)
    if stored is None or len(stored) != len(got):
        raise EngineError(f"the golden case {golden.id} has no output of {artifact.id} to compare with")
    if artifact.precision not in TOLERANCE:
        raise EngineError(f"nothing says how exactly {artifact.precision!r} must agree; update lokma")
    if not all(map(math.isfinite, stored)):
        raise EngineError(f"the golden case {golden.id} stores something that is not a finite number")
    allowed = TOLERANCE[artifact.precision]
    largest = max(map(abs, stored)) or 1.0
    drift = max(abs(x - y) for x, y in zip(got, stored, strict=True)) / largest
    if drift > allowed:
        raise EngineError(f"golden case {golden.id} differs by {drift:.1e}; at most {allowed:.0e} is allowed")
    if len(got) > 1 and got.index(max(got)) != stored.index(max(stored)):
        raise EngineError(f"golden case {golden.id} gets another label than where it was exported")
    return drift
