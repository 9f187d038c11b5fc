"""Add residuals of 2 bits: round to nearest at 2 bits, round what is left at 2 bits, and so on.

The simplest form of RRQ (arXiv 2608.04048): even levels from a row's least to its greatest, no calibration.
A model of 2, 4, 6 or 8 bits is the sum of the first 1 to 4 tables.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edge.formats import grid_for_bits
from edge.quantizers.minmax import quantize_min_max

TABLE_BITS = 2


def residual(weight: Tensor, bits: int) -> Tensor:
    """Round weight [n, k] to the sum of ``bits / 2`` tables, float32.

    Raises:
        ValueError: bits are odd.
    """
    if bits < TABLE_BITS or bits % TABLE_BITS:
        raise ValueError(f"residuals of {TABLE_BITS} bits add up to 2, 4, 6 or 8 bits, not {bits}")
    grid = grid_for_bits(TABLE_BITS, asymmetric=True)
    total = torch.zeros_like(weight, dtype=torch.float32)
    for _ in range(bits // TABLE_BITS):
        total = total + quantize_min_max(weight - total, grid).dequantize()
    return total
