"""The table of encodings: what must hold for every row, and its C++ form."""

from __future__ import annotations

import re

import pytest

from edge.formats.encoding import ENCODING_BY_NAME, ENCODINGS, Encoding, cpp_table

every_encoding = pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda e: e.name)


@every_encoding
def test_a_group_is_whole_lines_of_sixteen_rows(encoding: Encoding):
    bits = {"base3": 1.6, "half": 16}.get(encoding.name, encoding.code_bits)
    assert encoding.group_lines * 64 * 8 == encoding.group_columns * 16 * bits
    if encoding.planes:
        assert sum(encoding.planes) == encoding.code_bits
        assert set(encoding.planes) <= {1, 2, 3, 4, 8}
        assert encoding.codes == 2**encoding.code_bits


def test_every_width_up_to_8_bits_has_a_row():
    assert [ENCODING_BY_NAME[f"bits{width}"].code_bits for width in range(1, 9)] == list(range(1, 9))


def test_published_ids_never_change():
    ids = {f"bits{width}": width for width in range(1, 9)} | {"base3": 9, "half": 10, "bits3": 11}
    assert {e.name: e.encoding_id for e in ENCODINGS} == ids
    assert all(0 < e.encoding_id < 2**16 for e in ENCODINGS)  # u16 in the packed header; 0 is no encoding


@every_encoding
def test_sums_of_the_longest_row_fit_int32(encoding: Encoding):
    """sum(code * q) for 65536 activations of 127, the longest row a packed table may have."""
    assert max(encoding.codes - 1, 0) * 127 * 65536 < 2**31


def test_the_cpp_table_holds_the_same_numbers():
    text = cpp_table()
    ids = dict(re.findall(r"^  k(\w+) = (\d+),$", text, re.MULTILINE))
    assert ids == {e.name.capitalize(): str(e.encoding_id) for e in ENCODINGS}
    rows = re.findall(
        r'^    \{"(\w+)", Encoding::k(\w+), (\d+), (\d+), (\d+), \{(\d), (\d), (\d)\}\},$', text, re.MULTILINE
    )
    assert len(rows) == len(ENCODINGS)
    for encoding, (name, label, codes, columns, lines, *planes) in zip(ENCODINGS, rows, strict=True):
        assert (name, label) == (encoding.name, encoding.name.capitalize())
        assert (int(codes), int(columns), int(lines)) == (
            encoding.codes,
            encoding.group_columns,
            encoding.group_lines,
        )
        assert tuple(int(p) for p in planes if p != "0") == encoding.planes
