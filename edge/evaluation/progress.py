"""Progress bar."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], total: int, unit: str) -> Iterable[T]:
    """Show a bar on a terminal."""
    return tqdm(items, total=total, unit=f" {unit}", leave=False, disable=None)
