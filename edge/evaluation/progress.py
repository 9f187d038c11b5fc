"""A bar for long work, on a terminal only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], total: int, unit: str) -> Iterable[T]:
    return tqdm(items, total=total, unit=f" {unit}", leave=False, disable=None)
