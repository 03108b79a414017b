"""How much of an artifact's time goes to the backend it was lowered for, and a warning where too much does not.

An operator that no backend took runs by ExecuTorch's portable kernels: a network that was not lowered at all
executed 93 times the instructions of the same one on XNNPACK.

>>> from edge_runtime import examples, load
>>> from edge_runtime.profile import measured
>>> measured(load(examples.path("digits.zip")).session).time_share
1.0
"""

# ruff: noqa: A005  (nothing here runs with this folder on its path, so that Python's own `profile` stays its own)

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from edge_runtime.bundle import Artifact
from edge_runtime.engines import Operator, Session
from edge_runtime.engines.executorch import PORTABLE, ExecuTorchSession
from edge_runtime.errors import EngineError, Missing, one_line
from edge_runtime.frozen import frozen
from edge_runtime.store import home

MAX_OUTSIDE = 0.05  # of the time
# What the in-graph contract puts before and after the model: a picture's layout and type (export/contract.py).
_BORDER = {"permute_copy", "_to_dim_order_copy", "_clone_dim_order", "_to_copy", "clone"}


@frozen
class Delegation:
    """What backends took of a model; `outside` is each other operator's share of the time, the largest first."""

    operators: int
    delegated: int
    time_share: float
    outside: Mapping[str, float]

    @property
    def ops_share(self) -> float:
        """The delegated operators among all."""
        return self.delegated / self.operators if self.operators else 1.0

    def to_dict(self) -> dict[str, Any]:
        """As in a manifest."""
        shares = {"ops_share": round(self.ops_share, 4), "time_share": round(self.time_share, 4)}
        outside = {name: round(share, 4) for name, share in self.outside.items()}
        return {"operators": self.operators, "delegated": self.delegated, **shares, "outside": outside}


def delegation_of(operators: Sequence[Operator]) -> Delegation:
    """Sums a profile up. A delegate call counts as one operator: what is inside it, only the export knows."""
    kept = [at for at, one in enumerate(operators) if one.backend != PORTABLE or one.name not in _BORDER]
    inner = operators[kept[0] : kept[-1] + 1] if kept else ()
    outside: Counter[str] = Counter()
    for one in inner:
        if one.backend == PORTABLE:
            outside[one.name] += one.ns
    total = sum(one.ns for one in inner) or 1
    shares = {name: ns / total for name, ns in outside.most_common()}
    return Delegation(len(inner), sum(one.backend != PORTABLE for one in inner), 1.0 - sum(shares.values()), shares)


def measured(session: ExecuTorchSession, runs: int = 5) -> Delegation:
    """Times the session's operators on zeros, the median of `runs` after one that warms up."""
    return delegation_of(session.profile(runs=runs))


def require_delegated(session: Session, artifact: Artifact, *, strict: bool = False) -> None:
    """Warns where operators outside the backend take more than 5 % of an executorch artifact's time.

    The manifest says so since export measures it; for a bare file or an older bundle it is measured here, once.

    Raises:
        EngineError: they do, and `strict` asks to refuse it.
    """
    if not isinstance(session, ExecuTorchSession):
        return
    found = _read(artifact.details.get("delegation")) or _once(session, artifact.sha256)
    if found.time_share >= 1 - MAX_OUTSIDE:
        return
    worst = ", ".join(f"{name} {share:.0%}" for name, share in list(found.outside.items())[:3])
    problem = one_line(
        f"{artifact.id} spends {1 - found.time_share:.0%} of its time outside XNNPACK ({worst}), where operators run "
        "many times slower: lower it whole with `lokma export`, or take another artifact"
    )
    if strict:
        raise EngineError(problem)
    import logging

    logging.getLogger(__name__).warning(problem)


def _once(session: ExecuTorchSession, sha256: str) -> Delegation:
    """Measured, or remembered by the file's hash; a bare file brings none and is measured at every load."""
    with contextlib.suppress(OSError, ValueError, RecursionError, Missing):
        if remembered := _read(json.loads((home() / "delegation" / f"{sha256}.json").read_bytes())):
            return remembered
    found = measured(session, runs=1)
    if found.time_share < 1 - MAX_OUTSIDE:  # the system may have interrupted that one run at the wrong moment
        found = measured(session)
    if sha256:
        from edge_runtime.writing import replace_file

        with contextlib.suppress(OSError, Missing):  # a read-only home costs two runs at every load
            (home() / "delegation").mkdir(parents=True, exist_ok=True)
            replace_file(home() / "delegation" / f"{sha256}.json", json.dumps(found.to_dict()).encode())
    return found


def _read(entry: Any) -> Delegation | None:
    """What `to_dict` wrote; None for the notes of an older bundle, or a stranger's."""
    try:
        outside = {str(name): float(share) for name, share in entry["outside"].items()}
        return Delegation(int(entry["operators"]), int(entry["delegated"]), float(entry["time_share"]), outside)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return None
