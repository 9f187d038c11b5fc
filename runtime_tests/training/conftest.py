"""Settings that every test of training shares."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch

from edge.training import monitor


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Bit-for-bit promises hold on one thread, on which a tiny model is faster too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
