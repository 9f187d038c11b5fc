"""Whether one set of repetitions lies beyond another by more than noise: a permutation test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np

LEVEL = 0.025
#: Splits tried at most; beyond, as many are drawn, with a fixed seed.
MOST_SPLITS = 20_000


def p_above(high: Sequence[float], low: Sequence[float], factor: float = 1.0) -> float | None:
    """How likely ``high`` lies as far above ``factor * low`` as it does if it does not, by noise alone.

    One-sided, of the difference of the mean logarithms, over the ways to split all values into sets of these
    sizes (Fisher's randomisation test): it assumes of the noise only that it strikes both sets alike. None
    where even complete separation would be likelier than LEVEL, so that nothing can be told: 3 against 3.
    """
    count, total = len(high), len(high) + len(low)
    if 1 / math.comb(total, count) >= LEVEL:
        return None
    logs = np.log([*high, *(factor * value for value in low)])
    sums = logs[_splits(total, count)].sum(1)  # of the first set, by split
    differences = sums / count - (logs.sum() - sums) / (total - count)
    return float(np.mean(differences >= differences[0] - 1e-12))


@lru_cache(maxsize=8)
def _splits(total: int, count: int) -> np.ndarray:
    """Indices of the first set [splits, count]; the first row is the split as it was measured."""
    if math.comb(total, count) <= MOST_SPLITS:
        return np.array(list(combinations(range(total), count)))
    random = np.random.default_rng(0)
    drawn = [random.permutation(total)[:count] for _ in range(MOST_SPLITS - 1)]
    return np.array([np.arange(count), *drawn])
