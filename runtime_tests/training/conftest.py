"""Settings that every test of training shares."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from edge.training import monitor
from runtime_tests.threads import one_thread

__all__ = ["one_thread"]


@pytest.fixture(scope="module", autouse=True)
def _fast_ends(request: pytest.FixtureRequest) -> Iterator[None]:
    """Spare the end of each run half a second: garbage collection over all imports, and its picture."""
    gc.collect()
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        if not request.module.__name__.endswith("test_monitor"):
            patch.setattr(monitor, "draw", lambda records, path: None)
        yield
    gc.unfreeze()
