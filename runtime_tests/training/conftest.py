"""Settings that every test of training shares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge.training import monitor
from runtime_tests.threads import one_thread

__all__ = ["one_thread"]


@pytest.fixture(scope="module", autouse=True)
def _no_pictures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Spare each run the picture at its end."""
    with pytest.MonkeyPatch.context() as patch:
        if not request.module.__name__.endswith("test_monitor"):
            patch.setattr(monitor, "draw", lambda records, path: None)
        yield
