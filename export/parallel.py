"""Work on several stretches of weights at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
#: More would only take memory: the disk and the memory bus are shared.
_MOST = 8


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Call ``work`` on items from as many threads as there are CPUs; yields the results in order.

    NumPy and PyTorch let other threads run while they compute. The first error stops the rest.
    """
    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST))
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)
