"""Rows of a packed table: a table that is written or read a few rows at a time is the table of all rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.formats.encoding import ENCODING_BY_NAME, HALF
from edge.formats.weight import QuantizedWeight
from edge.ops.packed_header import HEADER_BYTES, PackedHeader
from edge.ops.packing import pack, pack_half, read_header, unpack_half
from edge.ops.rows import put_rows, take_rows, unpack_rows

QUANTIZED = sorted(name for name, encoding in ENCODING_BY_NAME.items() if encoding.codes)


def random_weight(
    name: str, rows: int, columns: int, group: int | None, zeros: bool, seed: int
) -> QuantizedWeight:
    encoding, dice = ENCODING_BY_NAME[name], torch.Generator().manual_seed(seed)
    group = group if encoding.has_scale_groups else None
    shape = (rows, 1 if group is None else -(-columns // group))
    codes = torch.randint(encoding.codes, (rows, columns), dtype=torch.uint8, generator=dice)
    scale = (torch.rand(shape, generator=dice) + 0.5).half().float()
    zero = torch.rand(shape, generator=dice).half().float() if zeros else 1.0
    return QuantizedWeight(codes, scale, zero, encoding, group)


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(QUANTIZED),
    rows=st.integers(1, 70),
    columns=st.integers(1, 300),
    group=st.sampled_from([None, 32, 64, 128]),
    zeros=st.booleans(),
    step=st.sampled_from([16, 32, 48]),
    seed=st.integers(0, 1 << 16),
)
def test_a_table_written_and_read_by_rows(name, rows, columns, group, zeros, step, seed):
    weight = random_weight(name, rows, columns, group, zeros, seed)
    whole = pack(weight)
    header = replace(PackedHeader.from_bytes(whole[:HEADER_BYTES].numpy().tobytes()), digest=0)
    table, digest = np.zeros(header.total_bytes, np.uint8), 0
    for first in reversed(range(0, rows, step)):  # in any order
        digest += put_rows(table, header, first, pack(weight[first : first + step]))
    header = replace(header, digest=digest % (1 << 64))
    table[:HEADER_BYTES] = np.frombuffer(header.to_bytes(), np.uint8)
    assert torch.equal(torch.from_numpy(table), whole)
    for first in range(0, rows, step):
        part = take_rows(table, header, first, min(step, rows - first))
        assert torch.equal(part, pack(weight[first : first + step]))
        read_header(part)
    first, stop = sorted((seed % rows, seed // rows % rows))
    assert unpack_rows(whole, slice(first, stop + 1)).equals(weight[first : stop + 1])


def test_halves_by_rows():
    weight = torch.randn(70, 33, generator=torch.Generator().manual_seed(0)).half()
    whole = pack_half(weight)
    assert read_header(whole).encoding is HALF
    assert torch.equal(unpack_rows(whole, slice(17, 50)), weight[17:50])
    assert torch.equal(unpack_rows(whole, slice(None)), unpack_half(whole))


def test_rows_of_another_form_are_refused():
    header = read_header(pack(random_weight("bits2", 32, 64, None, False, 0)))
    for other in (
        random_weight("bits4", 16, 64, None, False, 0),
        random_weight("bits2", 16, 65, None, False, 0),
        random_weight("bits2", 16, 64, None, True, 0),
        random_weight("bits2", 16, 64, 32, False, 0),
    ):
        with pytest.raises(ValueError, match="rows of another form"):
            put_rows(np.zeros(header.total_bytes, np.uint8), header, 0, pack(other))
