"""What every test of training shares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from runtime_tests.tiny import TEXT, save_tiny


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """What is promised bit for bit is promised on one CPU; and a tiny model is faster that way."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny full-precision checkpoint with random weights, and text.txt beside it. Do not change them."""
    directory = save_tiny(tmp_path_factory.mktemp("model") / "full")
    (directory.parent / "text.txt").write_text(TEXT)
    return directory


@pytest.fixture(scope="module")
def text(full: Path) -> Path:
    """A text to train on. Do not change it."""
    return full.parent / "text.txt"
