"""Embeddings at 4 bits: a float16 scale for every 32 columns."""

from __future__ import annotations

import pytest
import torch

from edge.formats import BY_NAME
from edge.ops import native
from edge.ops.packing import pack, unpack
from edge.quantizers.embedding import quantize_in_groups, quantize_table

INT4 = BY_NAME["int4"]


@pytest.mark.parametrize("columns", [1, 31, 32, 33, 100])
@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-9, 1e4, 0.0])
def test_values_are_rounded_to_the_nearest_level(columns: int, size: float) -> None:
    weight = torch.randn(7, columns, generator=torch.Generator().manual_seed(0)) * size
    stored = quantize_in_groups(weight, INT4, 32)
    step = stored.scale_per_column()
    assert bool(((stored.dequantize() - weight).abs() <= step * 0.500001).all())
    assert torch.equal(stored.scale.half().float(), stored.scale)
    largest = torch.nn.functional.pad(weight, (0, -columns % 32)).view(7, -1, 32).abs().amax(dim=2)
    assert bool((7 * stored.scale >= largest).all())  # rounded up, so that no value is cut
    assert bool((7 * stored.scale <= largest * (1 + 2**-10) + 7 * 2.0**-24).all())
    assert int(stored.codes.min()) >= 1  # the lowest code is unused


def test_a_table_that_is_dequantised_has_the_same_codes_again() -> None:
    weight = torch.randn(40, 96, generator=torch.Generator().manual_seed(1))
    stored = quantize_in_groups(weight, INT4, 32)
    assert quantize_in_groups(stored.dequantize(), INT4, 32).equals(stored)


def test_it_is_packed_and_looked_up_exactly() -> None:
    weight = torch.randn(40, 96, generator=torch.Generator().manual_seed(1))
    stored = quantize_table(weight, INT4)
    packed = pack(stored)
    assert unpack(packed).equals(stored)
    assert torch.equal(native.embedding(torch.arange(40), packed, 96), stored.dequantize())


def test_groups_are_nearer_than_rows() -> None:
    weight = torch.randn(40, 512, generator=torch.Generator().manual_seed(2))
    weight[:, 0] *= 6  # one large value is in every row
    by_row = quantize_in_groups(weight, INT4, 512 // 2)
    by_group = quantize_in_groups(weight, INT4, 32)
    errors = [(stored.dequantize() - weight).square().mean() for stored in (by_row, by_group)]
    assert errors[1] < 0.35 * errors[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_values_that_no_scale_holds(value: float) -> None:
    weight = torch.ones(3, 40)
    weight[1, 35] = value
    with pytest.raises(ValueError, match="cannot hold"):
        quantize_in_groups(weight, INT4, 32)
