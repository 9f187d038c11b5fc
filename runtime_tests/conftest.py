"""Settings and helpers that every test shares."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# Timings vary on shared machines; a slow example is not a wrong one.
settings.register_profile("edge", deadline=None, max_examples=40)
settings.load_profile("edge")

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared_data(name: str) -> Path:
    """A file or directory of shared/data beside the checkout; skips the test where there is none."""
    path = _SHARED / name
    if not path.exists():
        pytest.skip(f"needs {name}: put it under shared/data beside the checkout")
    return path
