"""The packed layout: hand-derived bytes, exact round trips, refusals."""

from __future__ import annotations

import struct
import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge.formats.encoding import BASE3, ENCODING_BY_NAME, HALF
from edge.formats.weight import QuantizedWeight
from edge.ops.packed_header import MAX_K, MAX_ROWS, PackedHeader
from edge.ops.packing import dequantize, pack, pack_half, packed_nbytes, read_header, unpack, unpack_half
from runtime_tests.ops.tables import (
    FORMS,
    INT4,
    INT8,
    QUANTIZED,
    TERNARY,
    Form,
    name_of,
    random_codes,
    random_table,
    random_weight,
    weight_of,
)

BIT_FORMS = [form for form in QUANTIZED if form.encoding is not BASE3]


def _address_of_code(row: int, column: int, form: Form, k_padded: int) -> list[tuple[int, int, int]]:
    """(byte, shift, bits) pieces of a code from the start of the codes, lowest bits first.

    Written from the prose of csrc/core/layout.h alone, one code at a time, as a second opinion. Not for base
    3.
    """
    width, group = form.encoding.code_bits, form.group_size
    block_bytes = k_padded * 16 * width // 8
    at, inside_group = 0, column
    if group is not None:
        groups = -(-k_padded // group)
        lines = groups if form.has_zeros else -(-groups // 2)
        block_bytes += 64 * lines
        index, inside_group = divmod(column, group)
        at = 64 * (index + 1 if form.has_zeros else index // 2 + 1) + index * group * 16 * width // 8
    at += row // 16 * block_bytes + inside_group // 32 * width * 64
    lane, inside = row % 16 * 4 + column % 4, inside_group % 32
    pieces = []
    for bits in form.encoding.planes:
        if bits == 3:
            pieces += _pieces_of_three_bits(at + lane, inside // 4)
            continue
        per_line = 32 // bits
        pieces.append((at + inside // per_line * 64 + lane, inside % per_line // 4 * bits, bits))
        at += bits * 64
    return pieces


def _pieces_of_three_bits(at: int, quad: int) -> list[tuple[int, int, int]]:
    """The same for the code of a quad of columns in a group's three lines; only spare bits are torn apart."""
    lines = [at, at + 64, at + 128]
    if quad < 6:
        return [(lines[quad // 2], quad % 2 * 3, 3)]
    if quad == 6:  # bits 2, 3 and 4 of the joined byte
        return [(lines[2], 6, 2), (lines[1], 6, 1)]
    return [(lines[1], 7, 1), (lines[0], 6, 2)]  # bits 5, 6 and 7


@pytest.mark.parametrize("form", BIT_FORMS, ids=name_of)
def test_every_code_stands_where_the_layout_says(form):
    n, k = 19, 300 if form.group_size else 70
    weight = random_weight(n, k, form)
    blob = pack(weight).numpy()
    header = read_header(torch.from_numpy(blob))
    for row in range(n):
        for column in range(k):
            code, position = 0, 0
            for byte, shift, bits in _address_of_code(row, column, form, header.k_padded):
                code |= (int(blob[header.codes_offset + byte]) >> shift & ((1 << bits) - 1)) << position
                position += bits
            assert code == weight.codes[row, column]


@pytest.mark.parametrize("form", [f for f in QUANTIZED if f.group_size], ids=name_of)
def test_every_group_scale_and_zero_stands_where_the_layout_says(form):
    n, k = 19, 300
    weight = random_weight(n, k, form)
    header = read_header(pack(weight))
    raw = pack(weight).numpy()[header.codes_offset :]
    per_group = form.group_size * 16 * form.encoding.code_bits // 8
    block_bytes = raw.size // 2
    for row in range(n):
        for group in range(-(-k // form.group_size)):
            at = row // 16 * block_bytes + row % 16 * 2
            if form.has_zeros:
                at += group * (64 + per_group)
            else:
                at += group // 2 * (64 + 2 * per_group) + group % 2 * 32
            found = torch.from_numpy(raw[at : at + 2].copy()).view(form.dtype).float()
            assert found == weight.scale[row, group]
            if form.has_zeros:
                found = torch.from_numpy(raw[at + 32 : at + 34].copy()).view(form.dtype).float()
                assert found == weight.zero[row, group]


def test_every_ternary_code_stands_where_the_layout_says():
    """The byte, a fixed-point fraction of 256, gives its five digits in base 3 from the front."""
    n, k = 19, 70
    codes = random_codes(n, k, TERNARY)
    blob = pack(weight_of(codes, torch.rand(n) + 0.5, TERNARY)).numpy()
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
    packed = pack(weight_of(spread, torch.ones(243), TERNARY))
    assert torch.equal(unpack(packed).codes.long(), spread)
    lanes = packed.numpy()[read_header(packed).codes_offset :].reshape(-1, 16, 4)[:, :, 0].reshape(-1)[:243]
    assert lanes.tolist() == [-(-number * 256 // 243) for number in range(243)]


def _golden_header(
    encoding_id: int,
    code_bytes: int,
    zero: float,
    *,
    k: int = 8,
    flags: int = 0,
    group: int = 0,
    arrays: int = 1,
) -> bytes:
    """[1, k] pads to [16, 64]: 64 header bytes, 16 float32 per array, then the codes."""
    start = 64 + 64 * arrays
    return struct.pack(
        "<4sHHIIIIIHHfIQQQ",
        b"LBW1", 2, encoding_id, 1, k, 16, 64, group, 1 if group else 0, flags, zero, 0, start, start +
        code_bytes, 0,
    )  # fmt: skip


# Codes 0..7 of row 0: k = 0..3 share bit position 0 of bytes 0..3, k = 4..7 position 1.
GOLDEN_LINES = {
    "bits1": ([0, 1, 1, 0, 1, 1, 0, 0], [0b10, 0b11, 0b01, 0b00], 1, 128),
    "bits2": ([0, 1, 2, 3, 3, 2, 1, 0], [0b1100, 0b1001, 0b0110, 0b0011], 2, 256),
    "bits4": ([0, 1, 9, 15, 8, 7, 2, 3], [0x80, 0x71, 0x29, 0x3F], 4, 512),
}


@pytest.mark.parametrize("name", GOLDEN_LINES)
def test_golden_bytes(name):
    codes, line, number, code_bytes = GOLDEN_LINES[name]
    form = Form(ENCODING_BY_NAME[name])
    blob = pack(weight_of(torch.tensor([codes]), torch.tensor([0.5]), form)).numpy().tobytes()
    scale = struct.pack("<f", 0.5) + bytes(60)
    assert blob == _golden_header(number, code_bytes, form.zero) + scale + bytes(line) + bytes(code_bytes - 4)


def test_golden_bytes_of_three_bits():
    codes, form = torch.zeros(1, 32, dtype=torch.int64), Form(ENCODING_BY_NAME["bits3"])
    codes[0, :8], codes[0, 24], codes[0, 28] = torch.arange(8), 0b011, 0b101
    blob = pack(weight_of(codes, torch.tensor([0.5]), form)).numpy()
    lines = bytearray(16 * 64 * 3 // 8)
    lines[0:4] = [0b100_000, 0b101_001, 0b110_010, 0b111_011]  # k = 0..3 | k = 4..7 << 3
    # columns 28 and 24 make the byte 0b101_011_00: two bits of it in each line
    lines[0], lines[64], lines[128] = lines[0] | 0b10 << 6, 0b10 << 6, 0b11 << 6
    assert blob.tobytes() == _golden_header(11, 384, 3.5, k=32) + struct.pack("<f", 0.5) + bytes(60) + bytes(
        lines
    )


def test_golden_bytes_of_int8_and_fp16():
    int8 = pack(weight_of(torch.tensor([list(range(120, 128))]), torch.tensor([0.5]), INT8)).numpy()
    lines = bytearray(1024)
    lines[0:4], lines[64:68] = [120, 121, 122, 123], [124, 125, 126, 127]
    assert int8.tobytes() == _golden_header(8, 1024, 128.0) + struct.pack("<f", 0.5) + bytes(60) + bytes(
        lines
    )

    half = pack_half(torch.tensor([[1.0, -2.0, 0.5, 0, 0, 0, 0, 0]])).numpy()
    lines = bytearray(2048)
    lines[0:4], lines[64:66] = struct.pack("<HH", 0x3C00, 0xC000), struct.pack("<H", 0x3800)
    assert half.tobytes() == _golden_header(10, 2048, 0) + struct.pack("<f", 1.0) + bytes(60) + bytes(lines)


def test_golden_bytes_of_zeros_and_groups():
    codes = torch.tensor([[0, 1, 9, 15, 8, 7, 2, 3]], dtype=torch.uint8)
    line = bytes([0x80, 0x71, 0x29, 0x3F]) + bytes(60)
    rows = QuantizedWeight(codes, torch.tensor([[0.5]]), torch.tensor([[7.25]]), ENCODING_BY_NAME["bits4"])
    arrays = struct.pack("<f", 0.5) + bytes(60) + struct.pack("<f", 7.25) + bytes(60)
    header = _golden_header(4, 512, 0.0, flags=1, arrays=2)
    assert pack(rows).numpy().tobytes() == header + arrays + line + bytes(512 - 64)

    grouped = QuantizedWeight(codes, torch.tensor([[0.5]]), 7.5, ENCODING_BY_NAME["bits4"], 32)
    header = _golden_header(4, 512 + 64, 7.5, group=32, arrays=0)
    scales = struct.pack("<H", 0x3800) + bytes(62)  # 0.5 as a half; the second group is padding
    assert pack(grouped).numpy().tobytes() == header + scales + line + bytes(512 - 64)


@pytest.mark.parametrize("form", FORMS, ids=name_of)
@given(n=st.integers(1, 40), k=st.integers(1, 600), seed=st.integers(0, 1000))
def test_round_trip_is_exact(form, n, k, seed):
    if not form.is_quantized:
        table = torch.randn(n, k, generator=torch.Generator().manual_seed(seed)).half()
        packed = pack_half(table.float())
        assert torch.equal(unpack_half(packed), table)
    else:
        weight = random_weight(n, k, form, seed)
        packed = pack(weight)
        assert unpack(packed).equals(weight)
    header = read_header(packed)
    assert packed.numel() == header.total_bytes
    assert packed.numel() == packed_nbytes(n, k, form.encoding, form.group_size, form.has_zeros)
    assert (header.n, header.k, header.encoding, header.group_size) == (n, k, form.encoding, form.group_size)


@pytest.mark.parametrize("form", QUANTIZED, ids=name_of)
def test_dequantize_is_scale_times_code_less_zero(form):
    weight = random_weight(3, 300, form)
    values = dequantize(pack(weight))
    size = form.group_size or 300
    for row in range(3):
        for column in range(0, 300, 7):
            group = column // size
            zero = weight.zero[row, group].item() if form.has_zeros else weight.zero
            steps = np.float32(np.float32(int(weight.codes[row, column])) - np.float32(zero))
            assert values[row, column].item() == float(steps * np.float32(weight.scale[row, group].item()))


@pytest.mark.parametrize(("n", "k"), [(960, 576), (576, 576), (3072, 576), (576, 1536), (1280, 3584)])
def test_ternary_takes_no_more_than_1_67_bits_a_weight(n, k):
    """At MobileLLM's fused shapes, header and float32 row scales included."""
    assert packed_nbytes(n, k, BASE3) * 8 / (n * k) <= 1.67


def test_groups_of_32_take_half_a_bit_a_weight():
    encoding = ENCODING_BY_NAME["bits4"]
    assert (packed_nbytes(1024, 1024, encoding, 32) - 64) * 8 == 4.5 * 1024 * 1024
    assert (packed_nbytes(1024, 1024, encoding, 128, has_zeros=True) - 64) * 8 == 4.25 * 1024 * 1024


@pytest.mark.parametrize(
    ("codes", "scale", "form", "sentence"),
    [
        (torch.zeros(2, 3, dtype=torch.uint8), torch.ones(3, 1), INT4, "scale must have shape"),
        (torch.zeros(2, 3, dtype=torch.uint8), torch.ones(2), INT4, "scale must have shape"),
        (torch.zeros(2, 3, dtype=torch.uint8), torch.tensor([[1.0], [0.0]]), INT4, "must be positive"),
        (torch.zeros(2, 3, dtype=torch.uint8), torch.tensor([[1.0], [-1.0]]), INT4, "must be positive"),
        (torch.zeros(2, 3, dtype=torch.uint8), torch.tensor([[1.0], [torch.nan]]), INT4, "must be finite"),
        (torch.zeros(2, 3, dtype=torch.uint8), torch.ones(2, 1, dtype=torch.float64), INT4, "be float32"),
        (torch.full((2, 3), 16, dtype=torch.uint8), torch.ones(2, 1), INT4, "must lie in 0..15"),
        (torch.full((2, 3), 3, dtype=torch.uint8), torch.ones(2, 1), TERNARY, "must lie in 0..2"),
        (torch.full((2, 3), -1), torch.ones(2, 1), INT4, "must be uint8"),
        (torch.zeros(2, 3), torch.ones(2, 1), INT4, "must be uint8"),
        (torch.zeros(6, dtype=torch.uint8), torch.ones(2, 1), INT4, "must be a matrix"),
        (torch.zeros(0, 3, dtype=torch.uint8), torch.ones(0, 1), INT4, "must be a matrix"),
        (torch.zeros(2, 3, dtype=torch.uint8), torch.ones(2, 1), Form(HALF), "use pack_half"),
    ],
)
def test_bad_weights_are_refused(codes, scale, form, sentence):
    with pytest.raises(ValueError, match=sentence):
        QuantizedWeight(codes, scale, form.zero if form.is_quantized else 0.0, form.encoding)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"zero": 0.25}, "multiple of 1/2"),
        ({"zero": 16.0}, "multiple of 1/2"),
        ({"zero": torch.zeros(2, 2)}, "zero must have shape"),
        ({"zero": torch.full((2, 1), torch.inf)}, "zero must be finite"),
        ({"group_size": 48}, "32, 64, 128 or 256 columns, not 48"),
        ({"group_size": 32, "encoding": BASE3}, "one scale per row"),
    ],
)
def test_bad_zeros_and_groups_are_refused(changes, sentence):
    fields = {"zero": 1.0, "encoding": ENCODING_BY_NAME["bits4"], "group_size": None} | changes
    with pytest.raises(ValueError, match=sentence):
        QuantizedWeight(torch.zeros(2, 3, dtype=torch.uint8), torch.ones(2, 1), **fields)


def test_group_scales_that_16_bits_cannot_hold_are_refused():
    codes = torch.zeros(1, 64, dtype=torch.uint8)
    for scale in (0.1, 1 + 2**-11):  # neither a half nor a bfloat16
        weight = QuantizedWeight(codes, torch.full((1, 2), scale), 8.0, ENCODING_BY_NAME["bits4"], 32)
        with pytest.raises(ValueError, match="round them to float16 or bfloat16 first"):
            pack(weight)


def test_scales_of_groups_have_the_type_that_a_weight_names():
    """A value may be a half and a bfloat16: rows of one table must not differ in which they are stored as."""
    codes, scale = torch.zeros(1, 64, dtype=torch.uint8), torch.ones(1, 2)
    for dtype in (torch.float16, torch.bfloat16):
        weight = QuantizedWeight(codes, scale, 8.0, ENCODING_BY_NAME["bits4"], 32, scale_dtype=dtype)
        assert unpack(pack(weight)).scale_dtype == dtype
    weight = replace(weight, scale=torch.full((1, 2), 1 + 2**-10))  # a half, and no bfloat16
    with pytest.raises(ValueError, match="round them to float16 or bfloat16 first"):
        pack(weight)


def test_a_table_has_no_place_for_the_order_of_its_columns():
    weight = QuantizedWeight(torch.zeros(1, 2, dtype=torch.uint8), torch.ones(1, 1), 8.0, INT4.encoding)
    with pytest.raises(ValueError, match="no place for the order of its columns"):
        pack(replace(weight, order=torch.tensor([1, 0])))


def test_sums_that_could_overflow_are_refused():
    weight = QuantizedWeight(torch.zeros(1, MAX_K, dtype=torch.uint8), torch.ones(1, 1), 127.5, INT8.encoding)
    with pytest.raises(ValueError, match=r"overflow 32-bit sums at zero 127\.5"):
        pack(weight)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 70000.0])
def test_half_refuses_what_it_cannot_hold(value):
    with pytest.raises(ValueError, match="half precision cannot hold"):
        pack_half(torch.tensor([[value]]))


def test_shape_limits():
    assert PackedHeader(INT4.encoding, MAX_ROWS, MAX_K).n == MAX_ROWS
    for n, k in ((MAX_ROWS + 1, 1), (1, MAX_K + 1)):
        with pytest.raises(ValueError, match="a packed table holds"):
            PackedHeader(INT4.encoding, n, k)


def test_version_1_is_refused():
    packed = random_table(3, 70, INT4)
    packed[4] = 1
    with pytest.raises(ValueError, match="layout version 1, this build reads 2; export again"):
        read_header(packed)
    with pytest.raises(ValueError, match="layout version 1, this library reads 2; export again"):
        torch.ops.lowbit.linear(torch.ones(1, 70), packed, 3)


@pytest.mark.parametrize("form", [Form(ENCODING_BY_NAME["bits3"]), INT8], ids=name_of)
def test_a_vocabulary_packs_in_seconds(form):
    start = time.perf_counter()
    random_table(32000, 1280, form)
    assert time.perf_counter() - start < 20  # 0.5 s on an idle core
