"""Whether two sets of repetitions differ by more than noise: an exact permutation test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

LEVEL = 0.05
#: Splits tried at most; beyond, as many are drawn, with a fixed seed.
MOST_SPLITS = 20_000


def p_value(first: Sequence[float], second: Sequence[float]) -> float | None:
    """How likely a difference of the mean logarithms as large as this is if both sets are alike.

    Two-sided, over the ways to split all values into sets of these sizes (Fisher's randomisation test): it
    assumes nothing of the noise but that it strikes both sets alike. None where even the most extreme split
    would be likelier than LEVEL, so that nothing can be told: 3 repetitions against 3, for one.
    """
    logs = np.log([*first, *second])
    count, splits = len(first), math.comb(len(logs), len(first))
    # With sets of one size, every split has a mirror image that is as extreme.
    if (2 if len(first) == len(second) else 1) / splits >= LEVEL:
        return None
    if splits <= MOST_SPLITS:
        chosen = np.array(list(combinations(range(len(logs)), count)))
    else:
        random = np.random.default_rng(0)
        drawn = [random.permutation(len(logs))[:count] for _ in range(MOST_SPLITS - 1)]
        chosen = np.array([np.arange(count), *drawn])
    sums = logs[chosen].sum(1)  # [splits]
    differences = np.abs(sums / count - (logs.sum() - sums) / (len(logs) - count))
    return float(np.mean(differences >= abs(logs[:count].mean() - logs[count:].mean()) - 1e-12))
