"""Imports go one way: a module may import only modules that come before it in ORDER."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = (
    "edge.cli",
    "edge.quiet",
    "edge.files",
    "edge.schema",
    "edge.text",
    "edge.formats",
    "edge.ops",
    "edge.model",
    "edge.quantizers",
    "edge.checkpoints",
    "edge.data",
    "edge.runtime",
    "edge.evaluation",
    "edge.training",
    "edge.quantize",
    "export",
    "edge.latency",
    "edge.scaling",
    "edge.integrations",
)
MODULES = sorted(p for top in ("edge", "export") for p in (ROOT / top).rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_backwards(path):
    own = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    if own == "edge.__init__":
        assert not _project_imports(path)
        return
    for imported in _project_imports(path):
        assert _rank(imported) <= _rank(own), f"{own} must not import {imported}"


def _project_imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # "from edge import ops" names the package in the alias
            found |= {f"edge.{a.name}" for a in node.names} if node.module == "edge" else {node.module}
    return {name for name in found if name.split(".")[0] in ("edge", "export")}


def _rank(module: str) -> int:
    ranks = [i for i, prefix in enumerate(ORDER) if module == prefix or module.startswith(prefix + ".")]
    assert ranks, f"{module} has no place in the order of imports; give it one"
    return ranks[0]
