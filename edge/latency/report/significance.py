"""Permutation test that tells a change between two sets of repetitions from noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

LEVEL = 0.025
#: Splits tried at most; beyond, as many are drawn, with a fixed seed.
MOST_SPLITS = 20_000


def is_testable(high: Sequence[float], low: Sequence[float]) -> bool:
    """Tell that complete separation would be rarer than LEVEL: 3 against 3 repetitions are too few."""
    return 1 / math.comb(len(high) + len(low), len(high)) < LEVEL


def p_above(high: Sequence[float], low: Sequence[float], factor: float = 1.0) -> float | None:
    """Probability that ``high`` lies as far above ``factor * low`` by noise alone; None where not testable.

    Fisher's one-sided randomisation test of the difference of mean logarithms. It assumes of the noise only
    that it strikes both sets alike.
    """
    if not is_testable(high, low):
        return None
    highs, lows = np.log(high), np.log(low) + np.log(factor)
    if len(low) == 1:  # scipy wants two of each; here the rank is the test
        return float(np.mean(np.append(highs, lows) <= lows))
    if len(high) == 1:
        return float(np.mean(np.append(highs, lows) >= highs))
    return float(p_values(highs, lows))


def p_values(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """The test for logarithms [..., repetitions]."""
    from scipy.stats import permutation_test  # takes a second that no other command should pay

    sets = (high, low)
    options = {"alternative": "greater", "n_resamples": MOST_SPLITS - 1, "axis": -1, "rng": 0}
    return permutation_test(sets, _difference, vectorized=True, **options).pvalue


def _difference(high: np.ndarray, low: np.ndarray, axis: int) -> np.ndarray:
    """Difference of means, rounded so that equal splits compare as equal."""
    return np.round(high.mean(axis) - low.mean(axis), 12)
