"""Placing weights on levels: nearest, within range, in the arithmetic of the table."""

from __future__ import annotations

import pytest
import torch

from edge.formats import GRIDS, Grid
from edge.ops.packing import pack, unpack
from edge.quantizers.placement import Target
from edge.quantizers.rtn import round_to_nearest

QUANTIZED = [grid for grid in GRIDS if grid.is_quantized]


@pytest.mark.parametrize("grid", QUANTIZED, ids=lambda grid: grid.name)
@pytest.mark.parametrize("group", [None, 32, 128])
def test_weights_go_to_the_nearest_level_and_are_packed_exactly(grid: Grid, group: int | None):
    weight = torch.randn(20, 70, generator=torch.Generator().manual_seed(0))
    stored = round_to_nearest(weight, Target(grid, group))
    assert stored.scale.shape == (20, 1 if group is None else -(-70 // group))
    assert int(stored.codes.max()) < grid.levels
    assert unpack(pack(stored)).equals(stored)
    zero = stored._per_column(stored.zero) if isinstance(stored.zero, torch.Tensor) else stored.zero
    levels = (torch.arange(grid.levels)[:, None, None] - zero) * stored.scale_per_column()
    nearest = (levels - weight).abs().amin(dim=0)
    assert torch.allclose((stored.dequantize() - weight).abs(), nearest, atol=1e-6)
    if isinstance(stored.zero, torch.Tensor):
        assert torch.equal(stored.zero, stored.zero.round())


@pytest.mark.parametrize("grid", QUANTIZED, ids=lambda grid: grid.name)
def test_a_searched_range_is_never_worse(grid: Grid):
    weight = torch.randn(9, 100, generator=torch.Generator().manual_seed(1))
    weight[:, 0] *= 4
    for group in (None, 32):
        errors = [
            (round_to_nearest(weight, Target(grid, group, searches)).dequantize() - weight).square().sum()
            for searches in (False, True)
        ]
        assert errors[1] <= errors[0]
    assert grid.bits > 4 or errors[1] < errors[0]


@pytest.mark.parametrize("value", [0.0, 1e-12, 3.0, -3.0])
@pytest.mark.parametrize("grid", QUANTIZED, ids=lambda grid: grid.name)
def test_constant_weights(grid: Grid, value: float):
    for group in (None, 32):
        values = round_to_nearest(torch.full((2, 40), value), Target(grid, group)).dequantize()
        assert bool(values.isfinite().all())
        assert grid.zero is not None or bool(((values - value).abs() <= 1e-3 * abs(value) + 1e-7).all())


@pytest.mark.parametrize(("value", "group"), [(float("nan"), None), (float("inf"), None), (1e6, 32)])
def test_weights_that_no_scale_holds(value: float, group: int | None):
    weight = torch.ones(3, 64)
    weight[1, 40] = value
    with pytest.raises(ValueError, match="scale must be finite"):
        round_to_nearest(weight, Target(QUANTIZED[2], group))
