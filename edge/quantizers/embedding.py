"""Round a token embedding or output head that was not trained on a grid, to 4 or 8 bits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edge.formats import BY_NAME, Grid
from edge.formats.weight import QuantizedWeight

#: Grids that an embedding or head is stored on besides half precision.
EMBEDDING_GRIDS = (BY_NAME["int8"], BY_NAME["int4"])
_SMALLEST_HALF = 2.0**-24
#: Entries of a vocabulary whose embedding and head are 4 bits unless the user says otherwise.
LARGE_VOCABULARY = 65536

#: Columns that share a scale at 4 bits, where one scale a row is coarse.
GROUP_SIZES = {8: None, 4: 32}


def default_table_bits(vocab_size: int) -> int:
    """Choose the bits of a table that was not trained on a grid."""
    return 4 if vocab_size >= LARGE_VOCABULARY else 8


def quantize_table(weight: Tensor, grid: Grid) -> QuantizedWeight:
    """Round a table [rows, dim] of a program: at 8 bits one scale a row, at 4 bits one for 32 columns."""
    group = GROUP_SIZES[int(grid.bits)]
    return quantize_embedding(weight, grid) if group is None else quantize_in_groups(weight, grid, group)


def quantize_in_groups(weight: Tensor, grid: Grid, group: int) -> QuantizedWeight:
    """Round a table [rows, dim] to the nearest level, with a float16 scale for each group of columns.

    As in ``quantize_embedding``, scales are rounded up and the lowest code is unused.

    Raises:
        ValueError: values that are NaN, or beyond what a float16 scale can hold.
    """
    assert grid.zero is not None
    weight = weight.detach().float()
    rows, dim = weight.shape
    padded = F.pad(weight, (0, -dim % group)).view(rows, -1, group)  # [rows, G, group]
    largest = padded.abs().amax(dim=2)  # [rows, G]
    scale = largest / grid.highest
    half = scale.half()
    up = torch.nextafter(half, torch.full_like(half, float("inf")))
    half = torch.where(half.float() < scale, up, half).clamp_min(_SMALLEST_HALF)
    if not bool(torch.isfinite(half).all()) or not bool(torch.isfinite(largest).all()):
        raise ValueError("a table cannot hold NaN, or values that a float16 scale cannot hold")
    steps = torch.round(padded / half.float()[:, :, None]).view(rows, -1)[:, :dim]
    codes = (steps + grid.zero).to(torch.uint8)
    return QuantizedWeight(codes, half.float(), grid.zero, grid.encoding, group)


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
