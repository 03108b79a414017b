"""What an export gives back: the bundle's place and manifest, and a table for a terminal or a notebook.

>>> exported = Exported(Path("bundles/digits"), {"version": 2, "artifacts": []}, reused=True)
>>> print(exported)
bundles/digits (version 2, nothing has changed, reused)
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.card import warning


@dataclass(frozen=True)
class Exported:
    """Where the bundle is, its manifest, and whether it stood there already, unchanged. A notebook shows the table."""

    path: Path
    manifest: Mapping[str, Any]
    reused: bool

    def __str__(self) -> str:
        rows = [f"  {name:<20} {size:>9}  {accuracy}  {said}" for name, size, accuracy, said in self.rows()]
        return "\n".join([self._head(), *rows, *(f"  warning: {said}" for said in self.warnings())])

    def _repr_html_(self) -> str:
        titles = ("artifact", "size", "accuracy on the test side", "verdict")
        lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in self.rows()]
        head = "".join(f"<th>{title}</th>" for title in titles)
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        warned = "".join(f"<p>Warning: {html.escape(said)}</p>" for said in self.warnings())
        return f"<p>{html.escape(self._head())}</p><table><tr>{head}</tr>{body}</table>{warned}"

    def _head(self) -> str:
        state = "nothing has changed, reused" if self.reused else "written"
        return f"{self.path} (version {self.manifest['version']}, {state})"

    def warnings(self) -> list[str]:
        """One an artifact that spends much of its time outside the kernels that it was made for."""
        return [said for artifact in self.manifest["artifacts"] if (said := warning(artifact))]

    def rows(self) -> list[tuple[str, str, str, str]]:
        """One an artifact: its id, size, accuracy and verdict; those left out come last, with the reason."""
        found = []
        for artifact in self.manifest["artifacts"]:
            verdict = artifact["verdict"] or {}
            words = "; ".join(f"{kind}: {said['answer']} ({said['reason']})" for kind, said in verdict.items())
            size = f"{artifact['size_bytes'] / 1e6:.2f} MB"
            found.append((artifact["id"], size, artifact["accuracy"]["text"], words or "reference"))
        left_out = self.manifest.get("left_out", [])
        return found + [(entry["id"], "", f"left out: accuracy: fail ({entry['reason']})", "") for entry in left_out]
