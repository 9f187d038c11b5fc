"""Round a token embedding or output head that was not trained on a grid: 4 or 8 bits, one scale per row."""

from __future__ import annotations

import torch
from torch import Tensor

from edge.formats import BY_NAME, Grid
from edge.formats.weight import QuantizedWeight

#: Grids that an embedding or head is stored on besides half precision.
EMBEDDING_GRIDS = (BY_NAME["int8"], BY_NAME["int4"])


def quantize_embedding(weight: Tensor, grid: Grid) -> QuantizedWeight:
    """Round a table [rows, dim] to the nearest level; symmetric, so the lowest code is unused.

    The scale of a row is max|w| / highest level, rounded up to 16 significant bits. Then a step count (7
    bits) times a scale is exact in float32, and the largest weight of a row is on the highest level. So a
    table that is dequantised and quantised again has the same codes and scales.

    Raises:
        ValueError: a grid that embeddings are not stored on, or values that are NaN or so close to the
            largest float32 that rounding up leaves its range.
    """
    if grid not in EMBEDDING_GRIDS:
        raise ValueError(
            f"tables are stored as {' or '.join(g.name for g in EMBEDDING_GRIDS)}, not {grid.name}"
        )
    assert grid.zero is not None
    weight = weight.detach().float()
    largest = weight.abs().amax(dim=1, keepdim=True)  # [rows, 1]
    scale = (largest / grid.highest).clamp_min(torch.finfo(torch.float32).tiny)  # zeros need a scale too
    bits = scale.view(torch.int32)
    scale = ((bits + 0xFF) & ~0xFF).view(torch.float32)  # clears the low 8 of 24 significant bits, upwards
    if not bool(torch.isfinite(scale * grid.highest).all()):
        raise ValueError("a table cannot hold NaN, or values at the end of float32's range")
    steps = torch.round(weight / scale)  # at most the highest level: the scale was rounded up
    return QuantizedWeight((steps + grid.zero).to(torch.uint8), scale, grid.zero, grid.encoding)
