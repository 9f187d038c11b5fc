"""The packed layout: hand-derived bytes, exact round trips, refusals."""

from __future__ import annotations

import struct
import time
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge.formats import BY_NAME, FORMATS, Packing
from edge.ops.packing import (
    MAX_K,
    MAX_ROWS,
    PackedHeader,
    dequantize,
    pack_codes,
    pack_half,
    packed_nbytes,
    read_header,
    unpack,
)
from runtime_tests.ops.tables import QUANTIZED, name_of, random_codes, random_table


def _address_of_code(row: int, column: int, k_padded: int, code_bits: int) -> list[tuple[int, int, int]]:
    """(byte, shift, bits) pieces of a code from the start of the codes, lowest bits first.

    Written from the prose of csrc/core/layout.h alone, one code at a time, as a second opinion. Not for base 3.
    """
    block = row // 16 * (16 * k_padded * code_bits // 8)
    lane = row % 16 * 4 + column % 4
    if code_bits == 3:
        group = block + column // 32 * 3 * 64
        inside = column % 32
        low = (group + inside // 16 * 64 + lane, inside % 16 // 4 * 2, 2)
        return [low, (group + 2 * 64 + lane, inside // 4, 1)]
    columns_per_line = 32 // code_bits
    line = column // columns_per_line
    return [(block + line * 64 + lane, column % columns_per_line // 4 * code_bits, code_bits)]


POSITIONAL = [f for f in QUANTIZED if f.packing is Packing.POSITIONS]


@pytest.mark.parametrize("fmt", POSITIONAL, ids=name_of)
def test_every_code_stands_where_the_layout_says(fmt):
    n, k = 19, 70
    codes, alpha = random_codes(n, k, fmt), torch.rand(n) + 0.5
    blob = pack_codes(codes, alpha, fmt).numpy()
    header = read_header(torch.from_numpy(blob))
    for row in range(n):
        for column in range(k):
            code, position = 0, 0
            for byte, shift, bits in _address_of_code(row, column, header.k_padded, fmt.code_bits):
                code |= (int(blob[header.codes_offset + byte]) >> shift & ((1 << bits) - 1)) << position
                position += bits
            assert code == codes[row, column]


def test_every_ternary_code_stands_where_the_layout_says():
    """The byte, a fixed-point fraction of 256, gives its five digits in base 3 from the front."""
    n, k, fmt = 19, 70, BY_NAME["ternary"]
    codes = random_codes(n, k, fmt)
    blob = pack_codes(codes, torch.rand(n) + 0.5, fmt).numpy()
    header = read_header(torch.from_numpy(blob))
    assert (header.k_padded, header.total_bytes - header.codes_offset) == (80, 2 * 4 * 64)
    for row in range(n):
        for column in range(k):
            place = row // 16 * 4 * 64 + column // 20 * 64 + row % 16 * 4 + column % 4
            fraction = Fraction(int(blob[header.codes_offset + place]), 256)
            digit = int(fraction * 3 ** (column % 20 // 4 + 1)) % 3
            assert digit == codes[row, column]


def test_all_243_bytes_of_five_trits():
    codes = torch.cartesian_prod(*[torch.arange(3)] * 5)  # [243, 5], first digit slowest
    spread = torch.zeros(243, 20, dtype=torch.int64)
    spread[:, ::4] = codes  # lane j = 0 of positions 0 to 4
    packed = pack_codes(spread, torch.ones(243), BY_NAME["ternary"])
    assert torch.equal(unpack(packed)[0].long(), spread)
    lanes = packed.numpy()[read_header(packed).codes_offset :].reshape(-1, 16, 4)[:, :, 0].reshape(-1)[:243]
    assert lanes.tolist() == [-(-number * 256 // 243) for number in range(243)]


def _golden_header(format_id: int, code_bytes: int) -> bytes:
    """[1, 8] pads to [16, 64]: 64 header bytes, 16 float32 scales, then the codes."""
    return struct.pack(
        "<4sHHIIIIQQQ16x", b"LBW1", 1, format_id, 1, 8, 16, 64, 64, 64 + 64, 64 + 64 + code_bytes
    )


# Codes 0..7 of row 0: k = 0..3 share bit position 0 of bytes 0..3, k = 4..7 position 1.
GOLDEN_LINES = {
    "binary": ([0, 1, 1, 0, 1, 1, 0, 0], [0b10, 0b11, 0b01, 0b00], 128),
    "ternary_2bit": ([0, 1, 2, 2, 1, 0, 2, 1], [0b0100, 0b0001, 0b1010, 0b0110], 256),
    "int2": ([0, 1, 2, 3, 3, 2, 1, 0], [0b1100, 0b1001, 0b0110, 0b0011], 256),
    "int4": ([0, 1, 9, 15, 8, 7, 2, 3], [0x80, 0x71, 0x29, 0x3F], 512),
}


@pytest.mark.parametrize("name", GOLDEN_LINES)
def test_golden_bytes(name):
    codes, line, code_bytes = GOLDEN_LINES[name]
    fmt = BY_NAME[name]
    blob = pack_codes(torch.tensor([codes]), torch.tensor([0.5]), fmt).numpy().tobytes()
    alpha = struct.pack("<f", 0.5) + bytes(60)
    assert blob == _golden_header(fmt.format_id, code_bytes) + alpha + bytes(line) + bytes(code_bytes - 4)


def test_golden_bytes_of_three_bits():
    blob = pack_codes(torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7]]), torch.tensor([0.5]), BY_NAME["int3"]).numpy()
    lines = bytearray(16 * 64 * 3 // 8)
    lines[0:4] = [0b0000, 0b0101, 0b1010, 0b1111]  # low two bits: k = 0..3 | k = 4..7 << 2
    lines[128:132] = [0b10, 0b10, 0b10, 0b10]  # top bits: 0 for codes 0..3, 1 for codes 4..7
    assert blob.tobytes() == _golden_header(4, 384) + struct.pack("<f", 0.5) + bytes(60) + bytes(lines)


def test_golden_bytes_of_int8_and_fp16():
    int8 = pack_codes(torch.tensor([list(range(120, 128))]), torch.tensor([0.5]), BY_NAME["int8"]).numpy()
    lines = bytearray(1024)
    lines[0:4], lines[64:68] = [120, 121, 122, 123], [124, 125, 126, 127]
    assert int8.tobytes() == _golden_header(6, 1024) + struct.pack("<f", 0.5) + bytes(60) + bytes(lines)

    half = pack_half(torch.tensor([[1.0, -2.0, 0.5, 0, 0, 0, 0, 0]])).numpy()
    lines = bytearray(2048)
    lines[0:4], lines[64:66] = struct.pack("<HH", 0x3C00, 0xC000), struct.pack("<H", 0x3800)
    assert half.tobytes() == _golden_header(7, 2048) + struct.pack("<f", 1.0) + bytes(60) + bytes(lines)


@pytest.mark.parametrize("fmt", FORMATS, ids=name_of)
@given(n=st.integers(1, 40), k=st.integers(1, 200), seed=st.integers(0, 1000))
def test_round_trip_is_exact(fmt, n, k, seed):
    generator = torch.Generator().manual_seed(seed)
    if fmt.is_quantized:
        table, alpha = random_codes(n, k, fmt, seed), torch.rand(n, 1, generator=generator) + 1e-5
        packed = pack_codes(table, alpha, fmt)
    else:
        table, alpha = torch.randn(n, k, generator=generator).half(), torch.ones(n)
        packed = pack_half(table.float())
    codes, scales = unpack(packed)
    assert torch.equal(codes, table)
    assert torch.equal(scales, alpha.reshape(n))
    assert packed.numel() == packed_nbytes(n, k, fmt) == read_header(packed).total_bytes
    assert (read_header(packed).n, read_header(packed).k, read_header(packed).format) == (n, k, fmt)


@pytest.mark.parametrize("fmt", QUANTIZED, ids=name_of)
def test_dequantize_is_level_times_unit_times_alpha(fmt):
    codes = torch.arange(fmt.levels, dtype=torch.int64)[None, :]
    alpha = np.float32(0.3)
    weights = dequantize(pack_codes(codes, torch.tensor([0.3]), fmt))[0].tolist()
    for code, weight in enumerate(weights):
        level = fmt.step * code + fmt.offset
        assert weight == float(np.float32(np.float32(level) * np.float32(fmt.unit)) * alpha)


@pytest.mark.parametrize(("n", "k"), [(960, 576), (576, 576), (3072, 576), (576, 1536), (1280, 3584)])
def test_ternary_takes_no_more_than_1_67_bits_a_weight(n, k):
    """At MobileLLM's fused shapes, header and float32 row scales included."""
    assert packed_nbytes(n, k, BY_NAME["ternary"]) * 8 / (n * k) <= 1.67


INT4 = BY_NAME["int4"]


@pytest.mark.parametrize(
    ("codes", "alpha", "fmt", "sentence"),
    [
        (torch.zeros(2, 3, dtype=torch.int64), torch.ones(3), INT4, "alpha must have shape"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.tensor([1.0, 0.0]), INT4, "finite and positive"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.tensor([1.0, -1.0]), INT4, "finite and positive"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.tensor([1.0, torch.nan]), INT4, "finite and positive"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, dtype=torch.float64), INT4, "must be float32"),
        (torch.full((2, 3), 16), torch.ones(2), INT4, "must lie in 0..15"),
        (torch.full((2, 3), -1), torch.ones(2), INT4, "must lie in 0..15"),
        (torch.full((2, 3), 3), torch.ones(2), BY_NAME["ternary"], "must lie in 0..2"),
        (torch.full((2, 3), 256 + 3), torch.ones(2), INT4, "must lie in 0..15"),  # uint8 would wrap to 3
        (torch.zeros(2, 3), torch.ones(2), INT4, "must be integers"),
        (torch.zeros(6, dtype=torch.int64), torch.ones(2), INT4, "must be a matrix"),
        (torch.zeros(0, 3, dtype=torch.int64), torch.ones(0), INT4, "rows of 1 to"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.ones(2), BY_NAME["fp16"], "use pack_half"),
    ],
)
def test_bad_codes_are_refused(codes, alpha, fmt, sentence):
    with pytest.raises(ValueError, match=sentence):
        pack_codes(codes, alpha, fmt)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 70000.0])
def test_half_refuses_what_it_cannot_hold(value):
    with pytest.raises(ValueError, match="half precision cannot hold"):
        pack_half(torch.tensor([[value]]))


def test_shape_limits():
    assert PackedHeader.for_shape(MAX_ROWS, MAX_K, INT4).n == MAX_ROWS
    for n, k in ((MAX_ROWS + 1, 1), (1, MAX_K + 1)):
        with pytest.raises(ValueError, match="a packed table holds"):
            PackedHeader.for_shape(n, k, INT4)


@pytest.mark.parametrize("fmt", [BY_NAME["int3"], BY_NAME["int8"]], ids=name_of)
def test_a_vocabulary_packs_in_seconds(fmt):
    start = time.perf_counter()
    random_table(32000, 1280, fmt)
    assert time.perf_counter() - start < 20  # 0.5 s on an idle core
