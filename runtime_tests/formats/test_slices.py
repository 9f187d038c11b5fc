"""Slices against the paper's examples, and against a slow slicer in exact fractions for every code."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import pytest
import torch

from edge.formats import BY_NAME
from edge.formats.encoding import BASE3
from edge.formats.slices import Nesting, slice_codes, sliced
from edge.formats.weight import QuantizedWeight

EVERY_CODE = torch.arange(256, dtype=torch.uint8)


def slow_slice(code: int, bits: int, extra: bool) -> int:
    """Equations 6 and 8 of arXiv 2502.06786, half up."""
    rounded = floor(Fraction(code, 2 ** (8 - bits)) + Fraction(1, 2))
    return rounded if extra or bits == 8 else min(rounded, 2**bits - 1)


@pytest.mark.parametrize(("code", "plain", "extra"), [(53, 1, 1), (240, 3, 4), (234, 3, 4)])
def test_the_examples_of_the_paper_at_two_bits(code: int, plain: int, extra: int):
    codes = torch.tensor([code], dtype=torch.uint8)
    assert slice_codes(codes, 2).tolist() == [plain]
    assert slice_codes(codes, 2, extra=True).tolist() == [extra]


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("bits", range(1, 9))
def test_every_code_at_every_width(bits: int, extra: bool):
    expected = [slow_slice(code, bits, extra) for code in range(256)]
    assert slice_codes(EVERY_CODE, bits, extra).tolist() == expected


@pytest.mark.parametrize("group_size", [None, 32])
@pytest.mark.parametrize("zero", [128.0, None])
@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("bits", range(1, 9))
def test_values_lie_on_the_levels_of_the_parent(
    bits: int, extra: bool, zero: float | None, group_size: int | None
):
    generator = torch.Generator().manual_seed(bits)
    codes = torch.randint(256, (3, 80), generator=generator, dtype=torch.uint8)
    shape = (3, 1 if group_size is None else 3)
    scale = torch.rand(shape, generator=generator) + 0.01
    zeros = torch.rand(shape, generator=generator) * 255 if zero is None else zero
    parent = QuantizedWeight(codes, scale, zeros, BY_NAME["uint8"].encoding, group_size)
    found = sliced(parent, bits, extra)
    assert found.encoding.codes == 2 ** (bits + (extra and bits < 8))
    on_parent = torch.tensor([slow_slice(int(code), bits, extra) << (8 - bits) for code in codes.flatten()])
    per_column = (lambda t: t) if group_size is None else (lambda t: t.repeat_interleave(32, 1)[:, :80])
    shift = per_column(zeros) if isinstance(zeros, torch.Tensor) else zeros
    assert torch.equal(found.dequantize(), (on_parent.view(3, 80) - shift) * per_column(scale))


@pytest.mark.parametrize("bits", [0, -1, 9])
def test_no_parent_has_such_a_slice(bits: int):
    with pytest.raises(ValueError, match="a parent of 8 bits has no slice of"):
        slice_codes(EVERY_CODE, bits)


def test_ternary_codes_in_base_3_are_not_sliced():
    ternary = QuantizedWeight(torch.zeros(2, 20, dtype=torch.uint8), torch.ones(2, 1), 1.0, BASE3)
    with pytest.raises(ValueError, match="codes in base3 cannot be sliced"):
        sliced(ternary, 1)


@pytest.mark.parametrize("widths", [(), (2, 4), (4, 4), (9, 2), (2, 0)])
def test_widths_that_no_parent_has(widths: tuple[int, ...]):
    with pytest.raises(ValueError, match="give some of 8 to 1, each once and falling"):
        Nesting(widths)
