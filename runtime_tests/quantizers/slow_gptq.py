"""GPTQ as the paper derives it: an explicit inverse Hessian, one column at a time, in double precision.

After each column its row and column leave the inverse Hessian by Gaussian elimination (arXiv 2208.11580,
section 4.2), where the fast algorithm reads a Cholesky factor. Nothing is shared with edge/quantizers.
"""

from __future__ import annotations

import numpy as np


def half(values: np.ndarray) -> np.ndarray:
    return np.maximum(values.astype(np.float16).astype(np.float64), 2.0**-24)


def scale_and_zero(w: np.ndarray, levels: int, zero: float | None, in_groups: bool):
    """Scale and zero [n, 1] of weights [n, columns] that share them."""
    low, high = np.minimum(w.min(1), 0)[:, None], np.maximum(w.max(1), 0)[:, None]
    spread = high - low if zero is None else 2 * np.maximum(high, -low)
    scale = spread / (levels - 1)
    scale = half(scale) if in_groups else scale.astype(np.float32).astype(np.float64)
    return scale, np.clip(np.rint(-low / scale), 0, levels - 1) if zero is None else np.full_like(scale, zero)


def slow_gptq(w, h, levels, zero, group, damping=0.01, act_order=True, static=False):
    """Dequantised weight float64 [n, k]; ``zero`` None stores one with each scale, ``group`` None is rows."""
    w, h = w.astype(np.float64).copy(), h.astype(np.float64).copy()
    k = w.shape[1]
    for column in range(k):
        if h[column, column] == 0:
            h[column, column], w[:, column] = 1.0, 0.0
    diagonal = np.diag(h).copy()
    inverse = np.linalg.inv(h + damping * diagonal.mean() * np.eye(k))
    size = group or k
    groups = [list(range(first, min(first + size, k))) for first in range(0, k, size)]
    grids = {g[0]: scale_and_zero(w[:, g], levels, zero, group is not None) for g in groups}
    as_they_come = group is not None and not static
    by_size = (lambda c: -diagonal[c]) if act_order else (lambda c: c)
    if as_they_come:
        if act_order:
            groups = sorted(groups, key=lambda g: -diagonal[g].mean())
        order = [column for g in groups for column in sorted(g, key=by_size)]
    else:
        order = sorted(range(k), key=by_size)
    result, begun = np.zeros_like(w), set()
    for column in order:
        first = column // size * size
        if as_they_come and first not in begun:
            begun.add(first)
            members = list(range(first, min(first + size, k)))
            grids[first] = scale_and_zero(w[:, members], levels, zero, True)
        scale, z = grids[first]
        offset = z % 1
        codes = np.clip(np.rint(w[:, [column]] / scale + offset) + z - offset, 0, levels - 1)
        result[:, [column]] = (codes - z) * scale
        error = (w[:, [column]] - result[:, [column]]) / inverse[column, column]
        w -= error * inverse[[column], :]
        inverse -= np.outer(inverse[:, column], inverse[column, :]) / inverse[column, column]
        inverse[column, :], inverse[:, column], inverse[column, column] = 0, 0, 1
    return result
