"""Versions of the software that made a report."""

from __future__ import annotations

import subprocess
from pathlib import Path

from edge.ops.source_hash import source_hash
from export.metadata import package_versions

_ROOT = Path(__file__).resolve().parents[2]


def versions() -> dict[str, str]:
    """Packages, the native sources' hash and, in a checkout, its commit, with + where files were changed."""
    found = {**package_versions(), "native sources": source_hash()[:12]}
    commit = _git("rev-parse", "--short=12", "HEAD")
    if commit:
        found["commit"] = commit + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    return found


def _git(*arguments: str) -> str:
    """Ask git about this checkout; empty where there is none, or no git."""
    if not (_ROOT / ".git").exists():
        return ""
    try:
        ended = subprocess.run(["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True)
    except OSError:
        return ""
    return ended.stdout.strip()
