"""The table of formats: each row against the grids of the literature, and what derives from a row."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest

from edge import formats
from edge.checkpoints.hf_formats import format_from_hf
from edge.formats import BITS_CHOICES, EMBEDDING_BITS_CHOICES, FORMATS, AlphaInit, Gradient, Grid

every_format = pytest.mark.parametrize("fmt", FORMATS, ids=lambda f: f.name)
#: Units of alpha, from the literature (arXiv 2502.02631 and its reference code), written out by hand.
GRIDS = {
    "binary": [-1, 1],
    "ternary": [-2 / 3, 0, 2 / 3],
    "ternary_2bit": [-2 / 3, 0, 2 / 3],
    "int2": [-0.75, -0.25, 0.25, 0.75],
    "int3": list(range(-4, 4)),
    "int4": list(range(-8, 8)),
    "int8": list(range(-128, 128)),
    "fp16": [],
}


def grid(fmt: Grid) -> list[float]:
    return [(fmt.step * code + fmt.offset) * fmt.unit for code in range(fmt.levels)]


@every_format
def test_grid(fmt: Grid):
    assert grid(fmt) == GRIDS[fmt.name]
    if fmt.is_quantized:
        assert fmt.top_level * fmt.unit == grid(fmt)[-1]
        assert 2 ** (fmt.code_bits - 1) < fmt.levels <= 2**fmt.code_bits  # no code bit to spare
        assert fmt.bits == pytest.approx(np.log2(fmt.levels), abs=0.01)
        assert fmt.alpha_init is not AlphaInit.NONE


def test_what_names_a_row_is_unique_and_fits_its_field():
    stored = [f for f in FORMATS if f.name != "ternary_2bit"]  # another form of ternary, in memory only
    for attribute in ("name", "format_id", "bits", "paretoq_w_bits"):
        values = [getattr(f, attribute) for f in (FORMATS if attribute in ("name", "format_id") else stored)]
        assert len(set(values)) == len(values)
    assert all(0 < f.format_id < 2**16 for f in FORMATS)  # u16 in the packed header; 0 is no format


def test_published_ids_never_change():
    ids = {"binary": 1, "ternary_2bit": 2, "int2": 3, "int3": 4, "int4": 5, "int8": 6, "fp16": 7}
    ids["ternary"] = 8
    assert {f.name: f.format_id for f in FORMATS} == ids


@every_format
def test_accumulators_of_any_row_fit_int32(fmt: Grid):
    """|step * acc + offset * asum| for 65536 activations of 127, the longest row a packed table may have."""
    largest_level = max(abs(fmt.step * code + fmt.offset) for code in range(max(fmt.levels, 1)))
    assert largest_level * 127 * 65536 < 2**31
    assert max(fmt.levels - 1, 0) * 127 * 65536 < 2**31


@every_format
def test_bits_lead_back_to_the_row(fmt: Grid):
    if fmt.name == "ternary_2bit":
        fmt = formats.BY_NAME["ternary"]  # the one that files hold
    for spelling in (fmt.bits, str(fmt.bits), f"{fmt.bits:g}", f" {fmt.bits:g}"):
        assert formats.grid_for_bits(spelling) is fmt
    if fmt.bits in BITS_CHOICES:
        assert format_from_hf({"w_bits": fmt.paretoq_w_bits}) is fmt


def test_choices_are_rows():
    assert BITS_CHOICES == (1, 1.58, 2, 3, 4, 16)
    assert set(EMBEDDING_BITS_CHOICES) <= {f.bits for f in FORMATS}


@pytest.mark.parametrize("wrong", [0, 5, 1.5, -2, "two", "", "nan", None, float("inf")])
def test_unknown_bits_name_the_choices(wrong: object):
    with pytest.raises(ValueError, match=r"has .* bits; choose one of 1, 1.58, 2, 3, 4, 8, 16$"):
        formats.grid_for_bits(wrong)


def test_choices_of_an_option_are_enforced():
    with pytest.raises(ValueError, match=r"choose one of 1, 1.58, 2, 3, 4, 16$"):
        formats.grid_for_bits(8, BITS_CHOICES)


@pytest.mark.parametrize("wrong", [5, 8, -1, "2"])
def test_unknown_w_bits_name_the_choices(wrong: object):
    with pytest.raises(ValueError, match=r"known are 1 \(binary\), 0 \(ternary\), 2 \(int2\)"):
        format_from_hf({"w_bits": wrong})


def parsed_header(text: str) -> list[tuple]:
    """The rows of the C++ header, numbers as a C++ compiler reads them."""
    rows = re.findall(r'^    \{"(\w+)", (.+)\},$', text, re.MULTILINE)
    parsed = []
    for name, numbers in rows:
        *integers, unit, columns, lines = numbers.split(", ")
        assert re.fullmatch(r"[0-9.e+-]+f", unit)
        unit = np.float32(unit.removesuffix("f"))
        parsed.append((name, *map(json.loads, integers), unit, int(columns), int(lines)))
    return parsed


def rows_as_cpp(table: tuple[Grid, ...]) -> list[tuple]:
    rows = []
    for f in table:
        numbers = (f.format_id, f.code_bits, f.levels, f.step, f.offset, np.float32(f.unit))
        rows.append((f.name, *numbers, f.group_columns, f.group_lines))
    return rows


def test_cpp_header_holds_the_same_numbers():
    header = formats.cpp_header()
    assert parsed_header(header) == rows_as_cpp(FORMATS)
    enum = dict(re.findall(r"^  k(\w+) = (\d+),$", header, re.MULTILINE))
    assert enum == {f.name.capitalize(): str(f.format_id) for f in FORMATS}


def test_a_new_row_reaches_the_header_and_the_quantiser(monkeypatch: pytest.MonkeyPatch):
    """Adding a format is one row: nothing else in Python has to know its name."""
    import torch

    from edge.quantizers.paretoq import dequantize, fake_quantize, initial_alpha, quantize_codes

    int5 = Grid("int5", 5, 8, 5, 32, 1, -16, 1e-5, AlphaInit.MAX_ABS_OVER_TOP, Gradient.LSQ)
    table = (*FORMATS, int5)
    monkeypatch.setattr(formats, "FORMATS", table)
    assert parsed_header(formats.cpp_header()) == rows_as_cpp(table)
    assert formats.grid_for_bits(5) is int5
    plain = dataclasses.replace(int5, unit=1.0)
    weight = torch.linspace(-1, 1, 63).unsqueeze(0)
    alpha = initial_alpha(weight, plain)
    codes = quantize_codes(weight, alpha, plain)
    assert codes.unique().tolist() == list(range(1, 32))  # -16 is out of reach of a symmetric row
    assert torch.equal(dequantize(codes, alpha, plain), fake_quantize(weight, alpha, plain))
