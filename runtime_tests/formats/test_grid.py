"""The table of grids: each row against the levels of the literature, and what derives from a row."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from edge import formats
from edge.checkpoints.hf_grids import grid_from_hf
from edge.formats import BITS_CHOICES, BY_NAME, EMBEDDING_BITS_CHOICES, GRIDS, LINEAR_GRIDS, Grid, grid
from edge.formats.encoding import ENCODING_BY_NAME
from edge.quantizers import paretoq

every_grid = pytest.mark.parametrize("row", GRIDS, ids=lambda g: g.name)
symmetric = pytest.mark.parametrize("row", [g for g in GRIDS if g.zero is not None], ids=lambda g: g.name)
#: Units of alpha, from the literature (arXiv 2502.02631 and its reference code), written out by hand.
LEVELS = {
    "binary": [-1, 1],
    "ternary": [-2 / 3, 0, 2 / 3],
    "int2": [-0.75, -0.25, 0.25, 0.75],
    "int3": list(range(-4, 4)),
    "int4": list(range(-8, 8)),
    **{f"int{bits}": list(range(-(1 << bits - 1), 1 << bits - 1)) for bits in range(5, 9)},
    "fp16": [],
}


@symmetric
def test_levels(row: Grid):
    levels = [(code - row.zero) * row.spacing for code in range(row.levels)]
    assert levels == LEVELS[row.name]
    if row.is_quantized:
        assert (row.lowest * row.spacing, row.highest * row.spacing) == (levels[0], levels[-1])


@every_grid
def test_the_encoding_has_a_code_for_every_level_and_none_to_spare(row: Grid):
    assert row.levels == row.encoding.codes
    if row.is_quantized:
        assert row.bits == pytest.approx(np.log2(row.levels), abs=0.01)


def test_names_are_unique_and_so_are_widths_among_linears():
    assert len({g.name for g in GRIDS}) == len(GRIDS)
    for attribute in ("bits", "paretoq_w_bits"):
        values = [getattr(g, attribute) for g in LINEAR_GRIDS]
        assert len(set(values)) == len(values)


def test_grids_share_widths():
    twins = {g.bits: g.name for g in GRIDS if g.zero is None}
    assert twins == {1: "uint1", 1.58: "uternary", **{bits: f"uint{bits}" for bits in range(2, 9)}}
    for bits, name in twins.items():
        assert formats.grid_for_bits(bits, asymmetric=True) is BY_NAME[name]
        assert formats.grid_for_bits(bits).encoding is BY_NAME[name].encoding
    assert formats.grid_for_bits(16, asymmetric=True) is formats.FULL_PRECISION
    with pytest.raises(ValueError, match="uint2 has no zero of its own"):
        _ = BY_NAME["uint2"].lowest


@symmetric
def test_accumulators_of_any_row_fit_int32(row: Grid):
    """|step * acc + offset * act_sum| for 65536 activations of 127, step 2 for a zero between two codes."""
    step = 1 if float(row.zero).is_integer() else 2
    largest = max((abs(step * (code - row.zero)) for code in range(row.levels)), default=0)
    assert largest * 127 * 65536 < 2**31
    assert step * max(row.levels - 1, 0) * 127 * 65536 < 2**31


@symmetric
def test_bits_lead_back_to_the_row(row: Grid):
    for spelling in (row.bits, str(row.bits), f"{row.bits:g}", f" {row.bits:g}"):
        assert formats.grid_for_bits(spelling) is row
    if row.bits in BITS_CHOICES:
        assert grid_from_hf({"w_bits": row.paretoq_w_bits}) is row


def test_choices_are_rows():
    assert BITS_CHOICES == (1, 1.58, 2, 3, 4, 16)
    assert set(EMBEDDING_BITS_CHOICES) <= {g.bits for g in GRIDS}


@pytest.mark.parametrize("wrong", [0, 9, 1.5, -2, "two", "", "nan", None, float("inf")])
def test_unknown_bits_name_the_choices(wrong: object):
    with pytest.raises(ValueError, match=r"has .* bits; choose one of 1, 1.58, 2, 3, 4, 5, 6, 7, 8, 16$"):
        formats.grid_for_bits(wrong)


def test_choices_of_an_option_are_enforced():
    with pytest.raises(ValueError, match=r"choose one of 1, 1.58, 2, 3, 4, 16$"):
        formats.grid_for_bits(8, BITS_CHOICES)


@pytest.mark.parametrize("wrong", [5, 8, -1, "2"])
def test_unknown_w_bits_name_the_choices(wrong: object):
    with pytest.raises(ValueError, match=r"known are 1 \(binary\), 0 \(ternary\), 2 \(int2\)"):
        grid_from_hf({"w_bits": wrong})


def test_a_new_width_is_a_row_here_and_a_row_of_paretoq(monkeypatch: pytest.MonkeyPatch):
    """Its encoding is there already; nothing else has to know its name."""
    int5 = Grid("int5", 5, ENCODING_BY_NAME["bits5"], 32, 16.0)
    monkeypatch.setattr(grid, "GRIDS", (*(row for row in GRIDS if row.bits != 5), int5))
    monkeypatch.setitem(paretoq.RULES, "int5", paretoq.RULES["int4"])
    assert formats.grid_for_bits(5) is int5
    weight = torch.linspace(-1, 1, 63).unsqueeze(0)
    alpha = paretoq.initial_alpha(weight, int5)
    stored = paretoq.quantize(weight, alpha, int5)
    assert stored.codes.unique().tolist() == list(range(1, 32))  # -16 is out of reach of a symmetric row
    assert torch.equal(stored.dequantize(), paretoq.fake_quantize(weight, alpha, int5))
    assert dataclasses.replace(stored).equals(stored)
