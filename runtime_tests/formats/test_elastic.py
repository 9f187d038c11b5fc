"""Elastic weights: three parts that say all of a parent, and of which a narrow slice needs the first ones."""

from __future__ import annotations

import pytest
import torch

from edge.formats.elastic import ElasticWeight, joined, split
from edge.formats.encoding import ENCODING_BY_NAME
from edge.formats.slices import sliced
from edge.formats.weight import QuantizedWeight
from runtime_tests.formats.test_slices import slow_slice

EVERY_CODE = torch.arange(256, dtype=torch.uint8)[None]  # [1, 256]


def parent(codes: torch.Tensor = EVERY_CODE, bits: int = 8) -> QuantizedWeight:
    scale, zero = torch.full((len(codes), 1), 0.37), torch.full((len(codes), 1), 101.3)
    return QuantizedWeight(codes, scale, zero, ENCODING_BY_NAME[f"bits{bits}"])


def test_the_base_is_the_slice_of_two_bits():
    base = split(parent()).base
    assert base.codes[0].tolist() == [slow_slice(code, 2, False) for code in range(256)]
    assert base.equals(sliced(parent(), 2))


def test_the_parts_have_nine_bits():
    parts = split(parent())
    stored = (parts.base, parts.middle, parts.low)
    assert [part.encoding.name for part in stored] == ["bits2", "bits4", "bits3"]


def test_every_code_comes_back():
    assert joined(split(parent())).equals(parent())


@pytest.mark.parametrize("bits", [3, 4])
def test_slices_of_up_to_four_bits_need_no_low_part(bits: int):
    parts = split(parent())
    low = QuantizedWeight(torch.zeros_like(EVERY_CODE), parts.low.scale, 0.0, parts.low.encoding)
    without = joined(ElasticWeight(parts.base, parts.middle, low))
    assert sliced(without, bits).equals(sliced(parent(), bits))


def test_only_eight_bits_can_be_split():
    with pytest.raises(ValueError, match="made from 8 bits, and this one has bits4"):
        split(parent(EVERY_CODE % 16, bits=4))
