"""Rounding of embeddings and heads that were not trained on a grid."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge.formats import BY_NAME, Grid
from edge.ops.packing import dequantize, pack
from edge.quantizers.embedding import quantize_embedding

TABLES = [BY_NAME["int8"], BY_NAME["int4"]]

floats = st.floats(-(2.0**127), 2.0**127, width=32)


@pytest.mark.parametrize("grid", TABLES, ids=lambda f: f.name)
@given(rows=st.lists(st.lists(floats, min_size=4, max_size=4), min_size=1, max_size=6))
def test_tables_quantise_to_themselves(grid: Grid, rows: list[list[float]]) -> None:
    """Any float32 up to half the largest: zeros and denormals too."""
    weight = torch.tensor(rows, dtype=torch.float32)
    once = quantize_embedding(weight, grid)
    table = dequantize(pack(once))
    assert torch.isfinite(table).all()
    exact = (once.codes.double() - grid.zero) * once.scale.double()  # no product was rounded
    assert torch.equal(table.double(), exact)
    assert quantize_embedding(table, grid).equals(once)


@pytest.mark.parametrize("grid", TABLES, ids=lambda f: f.name)
def test_tables_are_symmetric_and_use_the_top_level(grid: Grid) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(300, 40, generator=generator) * 2.0 ** torch.arange(-100, 100).repeat(2)[:300, None]
    stored = quantize_embedding(weight, grid)
    alpha, levels = stored.scale, stored.codes.float() - grid.zero
    assert torch.equal(levels.abs().amax(dim=1), torch.full((300,), grid.highest))
    # Half a step, and the scale at most 2^-15 wider than it need be.
    bound = alpha / 2 * (1 + 2**-15)
    assert ((levels * alpha - weight).abs() <= bound).all()
    needed = weight.abs().amax(dim=1, keepdim=True) / grid.highest
    assert ((alpha >= needed) & (alpha <= needed * (1 + 2**-15))).all()
    assert not (alpha.view(torch.int32) & 0xFF).any()  # 16 significant bits


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3.4028234e38, -3.4028234e38])
def test_tables_refuse_what_they_cannot_hold(value: float) -> None:
    with pytest.raises(ValueError, match="a table cannot hold NaN, or values at the end"):
        quantize_embedding(torch.tensor([[1.0, value]]), TABLES[0])


def test_tables_have_two_formats() -> None:
    with pytest.raises(ValueError, match="tables are stored as int8 or int4, not int2"):
        quantize_embedding(torch.ones(1, 1), BY_NAME["int2"])
