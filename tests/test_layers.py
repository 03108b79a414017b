"""Imports go down only (STYLE.md, rule 2). The command line's verb table goes by importlib instead."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "edge_runtime": set(),
    "train": {"edge_runtime"},
    "export": {"edge_runtime", "train"},
    "benchmarks": {"edge_runtime", "train"},
    "mobile_demo": {"edge_runtime", "benchmarks"},
}
SOURCES = [path for room in MAY_IMPORT for path in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_rooms_below_it(path):
    room = path.relative_to(ROOT).parts[0]
    allowed = set(MAY_IMPORT) if path.name.endswith("_budget.py") else {room, *MAY_IMPORT[room]}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            names = [node.module or ""]
        above = {name.split(".")[0] for name in names} & (set(MAY_IMPORT) - allowed)
        assert not above, f"{path}:{node.lineno} imports {', '.join(above)}"
