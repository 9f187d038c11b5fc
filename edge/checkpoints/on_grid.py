"""Recognise weights that lie on a grid already though their files hold no scales.

The published ParetoQ models (arXiv 2502.02631) are such: every weight of the linears is a level times the
row's alpha, rounded to the stored dtype, and alpha itself is not there. A row's values bound its scale: each
value allows an interval of scales that round to it, and the row is on the grid if these intervals meet.
Scales are returned only if level times scale rounds to the stored values, all of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from edge.checkpoints.tensor_files import hf_name
from edge.formats import LINEAR_GRIDS, Grid
from edge.formats.weight import QuantizedWeight

#: Narrowest first: a table that lies on several grids counts as one of the first, which is the smallest.
_GRIDS = tuple(sorted((g for g in LINEAR_GRIDS if g.is_quantized), key=lambda grid: grid.bits))
#: Rows of each linear that are looked at first, to tell ordinary weights quickly.
_SAMPLED_ROWS = 16
#: By chance, fewer values than these may lie on a grid.
_ENOUGH_VALUES = 8
#: Weights at a time, so that temporaries stay in the cache.
_WEIGHTS = 1 << 17
_SAME_SIZE = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16}
#: A row of zeros on a grid that has no 0: half of this rounds to 0.
_VANISHING = 2.0**-149


def recognise(weights: Mapping[str, Tensor], said: Grid | None) -> dict[str, tuple[Grid, Tensor]]:
    """Find the grids of linears, as stored (float32, float16 or bfloat16 [out, in]), by full name.

    Args:
        said: the grid that config.json names; it is preferred to a narrower one that fits as well.

    Returns:
        grid and scales float32 [out, 1] of every linear; nothing if these are ordinary weights.

    Raises:
        ValueError: some rows are on a grid and others are not; names one.
    """
    samples = {name: _sample(weight) for name, weight in weights.items()}
    if not any(map(_is_mostly_on_a_grid, samples.values())):
        return {}
    order = tuple(sorted(_GRIDS, key=lambda grid: grid != said))
    shared = [g for g in order if all(_fit(sample, g) is not None for sample in samples.values())]
    found = {}
    for name, weight in weights.items():
        fitting = _first_fitting(weight, tuple(dict.fromkeys((*shared, *order))))
        if fitting is None:
            raise ValueError(
                f"{hf_name(name + '.weight')}: row {_row_on_no_grid(weight)} is on no grid of 1 to 4 bits, "
                "though other weights are; the checkpoint is damaged, or was changed after its training"
            )
        found[name] = fitting
    return found


def codes_on(weight: Tensor, scale: Tensor, grid: Grid) -> QuantizedWeight:
    """The codes of weight [n, k], as stored, on the grid of the scales [n, 1] that ``recognise`` found.

    Raises:
        ValueError: the weight is not the one that these scales were found for.
    """
    assert grid.zero is not None
    half = abs(grid.lowest) % 1
    steps = torch.round(weight.float() / scale - half) + half
    fits = _rounds_to(weight, steps, scale) & (steps.abs().amax(dim=1) <= -grid.lowest)
    if not bool(fits.all()):  # numbers so small that few bits are left of them
        rows = ~fits
        steps[rows], again, fitting = _fit_rows(weight[rows], grid)
        if not bool(fitting.all()):
            raise ValueError("weights were on a grid and are no more: the file has changed while it was read")
        scale = scale.clone()
        scale[rows] = again
    return QuantizedWeight((steps - grid.lowest).to(torch.uint8), scale, grid.zero, grid.encoding)


def _sample(weight: Tensor) -> Tensor:
    """Take rows from all over a table, those with most values that are not 0 among twice as many."""
    rows = torch.linspace(0, weight.shape[0] - 1, min(2 * _SAMPLED_ROWS, weight.shape[0])).long().unique()
    counts = (weight[rows] != 0).sum(dim=1)
    return weight[rows[counts.argsort(descending=True, stable=True)[:_SAMPLED_ROWS]]]


def _is_mostly_on_a_grid(sample: Tensor) -> bool:
    """Returns True if most rows are on one grid, of those that have too many values for that to be chance."""
    telling = sample[(sample != 0).sum(dim=1) >= _ENOUGH_VALUES]
    return any(2 * int(_fit_rows(telling, grid)[2].sum()) > len(telling) for grid in _GRIDS)


def _first_fitting(weight: Tensor, grids: tuple[Grid, ...]) -> tuple[Grid, Tensor] | None:
    for grid in grids:
        if (scale := _fit(weight, grid)) is not None:
            return grid, scale
    return None


def _row_on_no_grid(weight: Tensor) -> int:
    """The first row that no grid has; 0 if each row is on one but all are on none together."""
    off = [index for index, row in enumerate(weight.split(1)) if _first_fitting(row, _GRIDS) is None]
    return off[0] if off else 0


def _fit(weight: Tensor, grid: Grid) -> Tensor | None:
    """Scales [n, 1] that put weight [n, k] on a grid; None if a row is not on it."""
    scales = []
    for block in weight.split(max(1, _WEIGHTS // weight.shape[1])):
        _, scale, fits = _fit_rows(block, grid)
        if not bool(fits.all()):
            return None
        scales.append(scale)
    return torch.cat(scales)


def _fit_rows(weight: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """Find steps float32 [n, k] from 0 and scales float32 [n, 1] of rows, and which rows fit, bool [n].

    The largest magnitude of a row may be on any level but the 0, so each is tried, likely ones first.
    """
    values = weight.float()
    magnitude = values.abs().amax(dim=1, keepdim=True)
    half = 0.0 if float(grid.lowest).is_integer() else 0.5
    steps = torch.full_like(values, half)
    scale = torch.full_like(magnitude, _VANISHING)
    fits = magnitude[:, 0] == 0  # a row of zeros is on every grid
    inner = [] if half else range(int(grid.highest) - 1, 0, -1)
    for level in dict.fromkeys((grid.highest, -grid.lowest, *inner)):
        rows = (~fits).nonzero()[:, 0]
        if len(rows) == 0:
            break
        tried = torch.round(values[rows] / (magnitude[rows] / level) - half) + half
        its_scale, fit = _scale_of(weight[rows], values[rows].abs(), tried, grid)
        steps[rows[fit]], scale[rows[fit]], fits[rows[fit]] = tried[fit], its_scale[fit], True
    return steps, scale, fits


def _scale_of(weight: Tensor, magnitudes: Tensor, steps: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Find scales [n, 1] with which steps round to weights, and the rows [n] for which there is one."""
    levels = torch.arange(abs(grid.highest) % 1, 1 - grid.lowest)[None].double()  # of steps without sign
    sizes = steps.abs()
    found = [torch.where(sizes == level, magnitudes, 0.0).amax(dim=1) for level in levels[0].tolist()]
    present = torch.stack(found, dim=1)  # [n, levels]: the value on each level, 0 where a row has none
    lowest, highest = _scales_that_round(present.to(weight.dtype), levels)
    squares = torch.where(present > 0, levels * levels, 0.0).sum(dim=1, keepdim=True)
    nearest = (levels * present).sum(dim=1, keepdim=True) / squares
    chosen = torch.minimum(torch.maximum(nearest, lowest), highest).float()
    # The scale of least squares, within the interval. Stored as float32 it may come to lie outside: then the
    # interval's middle, or the first float32 that lies in it.
    rounded = lowest.float()
    upwards = torch.nextafter(rounded, torch.full_like(rounded, float("inf")))
    for other in (((lowest + highest) / 2).float(), torch.where(rounded < lowest, upwards, rounded)):
        right = _rounds_to(present.to(weight.dtype), torch.where(present > 0, levels.float(), 0.0), chosen)
        chosen = torch.where(right[:, None], chosen, other)
    in_range = (steps.amax(dim=1) <= grid.highest) & (steps.amin(dim=1) >= grid.lowest)
    return chosen, in_range & _rounds_to(weight, steps, chosen)


def _scales_that_round(values: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Bound the scales float64 [n, 1] for which ``levels * scale`` rounds to the values [n, levels] above 0.

    A value between two neighbours of its dtype comes from the numbers up to half-way to each; those in the
    middle go to the neighbour whose last bit is 0.
    """
    bits, value = values.view(_SAME_SIZE[values.dtype]), values.double()
    above = (bits + 1).view(values.dtype).double()
    below = (bits - 1).clamp_min(0).view(values.dtype).double()
    above = torch.where(above.isfinite(), above, 2 * value - below)
    low, high, odd = (value + below) / 2, (value + above) / 2, bits % 2 == 1
    low = torch.where(odd, torch.nextafter(low, value), low) / levels
    high = torch.where(odd, torch.nextafter(high, value), high) / levels
    absent = (values == 0) | (levels == 0)
    low, high = low.masked_fill(absent, 0.0), high.masked_fill(absent, float("inf"))
    return low.amax(dim=1, keepdim=True), high.amin(dim=1, keepdim=True)


def _rounds_to(weight: Tensor, steps: Tensor, scale: Tensor) -> Tensor:
    """Tell for which rows [n] the table's own arithmetic, rounded to the stored dtype, gives the weights."""
    return ((steps * scale).to(weight.dtype) == weight).all(dim=1) & (scale[:, 0] > 0)
