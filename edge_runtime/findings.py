"""What `check`, `tune` and `doctor` report: one finding a thing that was looked at.

>>> report([Finding("memory", True, "3.8 GB"), Finding("gpu", None, "none")])["ok"]
True
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `ok` is None where nothing can be proved, or nothing depends on it."""

    name: str
    ok: bool | None
    detail: str


def report(findings: Iterable[Finding]) -> dict[str, Any]:
    """`{"ok": bool, "checks": [{"name", "ok", "detail"}]}`; `ok` is False if one failed."""
    checks = [asdict(finding) for finding in findings]
    return {"ok": all(entry["ok"] is not False for entry in checks), "checks": checks}
