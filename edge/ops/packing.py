"""Packing: unsigned codes and row scales into the byte layout that the native ops read.

``csrc/core/layout.h`` documents the layout; this module is its only writer. A packed table is one
uint8 tensor: a 64-byte header, ``alpha`` as float32 for the rows padded to 16, then the codes in
64-byte lines of 16 rows x 4 consecutive k. The bytes are the same on every CPU.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from edge.formats import BY_ID, BY_NAME, Packing, WeightFormat

MAGIC = 0x3157424C  # the bytes "LBW1"
VERSION = 1
HEADER_BYTES = 64
ROWS_PER_BLOCK = 16
K_PER_LANE = 4  # consecutive k of one row in a 32-bit lane
K_MULTIPLE = 64
_LINE_BYTES = ROWS_PER_BLOCK * K_PER_LANE
MAX_ROWS = 1 << 24
MAX_K = 65536  # keeps every int32 accumulator in range; layout.h derives it
_TRITS = 5  # codes in a byte of the base-3 packing
_HEADER = struct.Struct("<IHHIIIIQQQQ8x")
_HALF = BY_NAME["fp16"]


@dataclass(frozen=True)
class PackedHeader:
    """The first 64 bytes of a packed table (``csrc/core/layout.h``), checked.

    Attributes:
        format: the row of the format table.
        n, k: logical shape, rows (output channels) by columns (input channels).
        n_padded, k_padded: the shape in the layout, multiples of 16 and 64 (base 3: 20).
        alpha_offset, codes_offset, total_bytes: bytes from the start of the table.
        digest: of the codes, where they are packed in base 3; else 0.
    """

    format: WeightFormat
    n: int
    k: int
    n_padded: int
    k_padded: int
    alpha_offset: int
    codes_offset: int
    total_bytes: int
    digest: int = 0

    @classmethod
    def for_shape(cls, n: int, k: int, fmt: WeightFormat) -> PackedHeader:
        """The header of an [n, k] table; ValueError when the layout cannot hold it."""
        if not 1 <= n <= MAX_ROWS or not 1 <= k <= MAX_K:
            raise ValueError(
                f"a packed table holds 1 to {MAX_ROWS} rows of 1 to {MAX_K} values, not [{n}, {k}]"
            )
        n_padded = _round_up(n, ROWS_PER_BLOCK)
        k_padded = _round_up(k, fmt.group_columns if fmt.packing is Packing.BASE3 else K_MULTIPLE)
        codes_offset = HEADER_BYTES + 4 * n_padded
        lines = n_padded // ROWS_PER_BLOCK * (k_padded // fmt.group_columns) * fmt.group_lines
        total = codes_offset + lines * _LINE_BYTES
        return cls(fmt, n, k, n_padded, k_padded, HEADER_BYTES, codes_offset, total)

    def to_bytes(self) -> bytes:
        """The header as it stands in front of the table, 64 bytes."""
        return _HEADER.pack(
            MAGIC,
            VERSION,
            self.format.format_id,
            self.n,
            self.k,
            self.n_padded,
            self.k_padded,
            self.alpha_offset,
            self.codes_offset,
            self.total_bytes,
            self.digest,
        )


def packed_nbytes(n: int, k: int, fmt: WeightFormat) -> int:
    """Bytes of a packed [n, k] table, header and padding included."""
    return PackedHeader.for_shape(n, k, fmt).total_bytes


def pack_codes(codes: Tensor, alpha: Tensor, fmt: WeightFormat) -> Tensor:
    """Packs a quantised table.

    Args:
        codes: [n, k] integers, 0 <= code < ``fmt.levels``.
        alpha: [n] or [n, 1] float32, the positive learned scale of each row.
        fmt: a quantised row of the format table.
    Returns:
        uint8 [packed_nbytes(n, k, fmt)].
    Raises:
        ValueError: wrong shapes or dtypes, codes outside the grid, alpha not finite and positive.
    """
    if not fmt.is_quantized:
        raise ValueError(f"{fmt.name} has no codes; use pack_half for unquantised tables")
    header = PackedHeader.for_shape(*_shape_of_matrix(codes, "codes"), fmt)
    if codes.dtype.is_floating_point or codes.dtype in (torch.bool, torch.complex64):
        raise ValueError(f"codes must be integers, not {codes.dtype}")
    low, high = (int(v) for v in torch.aminmax(codes))
    if low < 0 or high >= fmt.levels:
        raise ValueError(f"{fmt.name} codes must lie in 0..{fmt.levels - 1}, found {low}..{high}")
    padded = np.zeros((header.n_padded, header.k_padded), np.uint8)
    padded[: header.n, : header.k] = codes.detach().cpu().to(torch.uint8).numpy()
    return _assemble(header, _checked_alpha(alpha, header.n), _lines_from_codes(padded, fmt))


def pack_half(weight: Tensor) -> Tensor:
    """Packs an unquantised [n, k] floating-point table as IEEE half values, rounded to nearest even.

    Raises:
        ValueError: wrong shape or dtype, NaN, or a value beyond the range of half precision.
    """
    header = PackedHeader.for_shape(*_shape_of_matrix(weight, "weight"), _HALF)
    if not weight.dtype.is_floating_point:
        raise ValueError(f"weight must be floating point, not {weight.dtype}")
    half = weight.detach().cpu().to(torch.float16)
    if not bool(torch.isfinite(half).all()):
        raise ValueError("weight has values that half precision cannot hold (NaN, or beyond 65504)")
    padded = np.zeros((header.n_padded, header.k_padded), np.float16)
    padded[: header.n, : header.k] = half.numpy()
    lines = padded.reshape(-1, ROWS_PER_BLOCK, header.k_padded // 2, 2).transpose(0, 2, 1, 3)
    return _assemble(header, np.ones(header.n, np.float32), np.ascontiguousarray(lines).view(np.uint8))


def read_header(packed: Tensor) -> PackedHeader:
    """Reads and checks the header of a packed table.

    Raises:
        ValueError: not uint8 [bytes], truncated, or any header field altered.
    """
    raw = _bytes_of(packed)
    if raw.size < HEADER_BYTES:
        raise ValueError(f"packed table is truncated: {raw.size} bytes, the header alone has {HEADER_BYTES}")
    magic, version, format_id, n, k, *_ = _HEADER.unpack(raw[:HEADER_BYTES].tobytes())
    if magic != MAGIC:
        raise ValueError("not a packed low-bit table (the first four bytes are not 'LBW1')")
    if version != VERSION:
        raise ValueError(
            f"packed table has layout version {version}, this build reads {VERSION}; export again"
        )
    if format_id not in BY_ID:
        raise ValueError(f"packed table has unknown weight format {format_id}; known are {sorted(BY_ID)}")
    expected = PackedHeader.for_shape(n, k, BY_ID[format_id])
    if expected.format.packing is Packing.BASE3 and raw.size == expected.total_bytes:
        expected = replace(expected, digest=_codes_digest(raw[expected.codes_offset :]))
    if raw[:HEADER_BYTES].tobytes() != expected.to_bytes():
        raise ValueError(f"packed table has a damaged header for [{n}, {k}] {expected.format.name}")
    if raw.size != expected.total_bytes:
        raise ValueError(f"packed table has {raw.size} bytes, its header promises {expected.total_bytes}")
    alpha = raw[expected.alpha_offset : expected.codes_offset].view(np.float32)
    if not alpha[n - 1] > 0 or alpha[n:].any():
        raise ValueError(f"packed table has row scales that do not end at row {n}; it was altered")
    return expected


def unpack(packed: Tensor) -> tuple[Tensor, Tensor]:
    """The exact inverse of packing: codes [n, k] uint8 and alpha [n] float32.

    An fp16 table gives its weights [n, k] float16 in place of codes, and alpha 1.

    Raises:
        ValueError: a damaged header, padding that is not zero, or a code outside the grid.
    """
    header, raw = read_header(packed), _bytes_of(packed)
    alpha = raw[header.alpha_offset : header.codes_offset].view(np.float32)
    table = _table_from_lines(header, raw[header.codes_offset :])
    padding = (alpha[header.n :], table[header.n :], table[:, header.k :])
    if any(part.tobytes().strip(b"\0") for part in padding):
        raise ValueError("packed table has padding that is not zero; it was altered after packing")
    table, alpha = table[: header.n, : header.k], alpha[: header.n]
    if header.format.is_quantized and int(table.max()) >= header.format.levels:
        raise ValueError(f"packed table has a code beyond the {header.format.levels} of {header.format.name}")
    if not header.format.is_quantized and not bool((alpha == 1).all()):
        raise ValueError("packed fp16 table has a row scale that is not 1; it was altered after packing")
    return torch.from_numpy(table.copy()), torch.from_numpy(alpha.copy())


def dequantize(packed: Tensor) -> Tensor:
    """The float32 [n, k] weights of a packed table: ``(level * unit) * alpha``, each product rounded once."""
    table, alpha = unpack(packed)
    fmt = read_header(packed).format
    if not fmt.is_quantized:
        return table.float()
    levels = table.to(torch.int32) * fmt.step + fmt.offset
    return (levels.float() * torch.tensor(fmt.unit, dtype=torch.float32)) * alpha[:, None]


def _lines_from_codes(padded: np.ndarray, fmt: WeightFormat) -> np.ndarray:
    """[n_padded, k_padded] codes -> uint8 [blocks, groups, lines of a group, 64 lanes]."""
    n_padded, k_padded = padded.shape
    blocks, groups, quads = n_padded // ROWS_PER_BLOCK, k_padded // fmt.group_columns, fmt.group_columns // 4
    shape = (blocks, ROWS_PER_BLOCK, groups, quads, K_PER_LANE)
    lanes = np.ascontiguousarray(padded.reshape(shape).transpose(0, 2, 3, 1, 4))
    lanes = lanes.reshape(blocks, groups, quads, _LINE_BYTES)
    if fmt.packing is Packing.BASE3:
        return _fold_trits(lanes)
    if fmt.code_bits == 3:
        planes = (_fold_positions(lanes & 3, 2), _fold_positions(lanes >> 2, 1))
        return np.concatenate(planes, axis=2)
    return _fold_positions(lanes, fmt.code_bits)


def _fold_trits(lanes: np.ndarray) -> np.ndarray:
    """[b, g, 5, 64] lanes -> [b, g, 1, 64] lines: ceil(n * 256 / 243) of the five digits' number n."""
    number = np.zeros_like(lanes[:, :, 0], dtype=np.uint16)
    for position in range(_TRITS):
        number = number * np.uint16(3) + lanes[:, :, position]
    return _BYTE_OF_NUMBER[number][:, :, None]


def _unfold_trits(lines: np.ndarray) -> np.ndarray:
    """The inverse of ``_fold_trits``, as the kernels do it: three times a byte is 256 * trit + the rest."""
    rest = lines[:, :, 0]
    lanes = np.empty((*lines.shape[:2], _TRITS, lines.shape[-1]), np.uint8)
    for position in range(_TRITS):
        triple = rest.astype(np.uint16) * np.uint16(3)
        lanes[:, :, position], rest = triple >> 8, triple.astype(np.uint8)
    return lanes


_BYTE_OF_NUMBER = np.array([-(-number * 256 // 3**_TRITS) for number in range(3**_TRITS)], np.uint8)


def _codes_digest(lines: np.ndarray) -> int:
    """``codes_digest`` of csrc/core/layout.cc: the sum of splitmix64's finaliser over words and their places."""
    words = lines.reshape(-1).view(np.uint64)
    z = words + np.arange(1, words.size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return int((z ^ z >> np.uint64(31)).sum(dtype=np.uint64))


def _fold_positions(lanes: np.ndarray, bits: int) -> np.ndarray:
    """[b, g, 8, 64] lanes -> [b, g, bits, 64] lines; bit position p of a byte holds its p-th lane."""
    blocks, groups, _, width = lanes.shape
    positions = lanes.reshape(blocks, groups, bits, 8 // bits, width)
    lines = np.zeros((blocks, groups, bits, width), np.uint8)
    for position in range(8 // bits):
        lines |= positions[:, :, :, position] << np.uint8(position * bits)
    return lines


def _unfold_positions(lines: np.ndarray, bits: int) -> np.ndarray:
    """The inverse of ``_fold_positions``: [b, g, bits, 64] lines -> [b, g, 8, 64] lanes."""
    blocks, groups, _, width = lines.shape
    lanes = np.empty((blocks, groups, bits, 8 // bits, width), np.uint8)
    for position in range(8 // bits):
        lanes[:, :, :, position] = (lines >> np.uint8(position * bits)) & np.uint8((1 << bits) - 1)
    return lanes.reshape(blocks, groups, 8, width)


def _table_from_lines(header: PackedHeader, raw: np.ndarray) -> np.ndarray:
    """The code bytes -> [n_padded, k_padded] uint8 codes, or float16 weights."""
    blocks, bits = header.n_padded // ROWS_PER_BLOCK, header.format.code_bits
    groups = header.k_padded // header.format.group_columns
    shape = (header.n_padded, header.k_padded)
    if not header.format.is_quantized:
        halves = raw.view(np.float16).reshape(blocks, header.k_padded // 2, ROWS_PER_BLOCK, 2)
        return halves.transpose(0, 2, 1, 3).reshape(shape)
    lines = raw.reshape(blocks, groups, header.format.group_lines, _LINE_BYTES)
    if header.format.packing is Packing.BASE3:
        lanes = _unfold_trits(lines)
    elif bits == 3:
        lanes = _unfold_positions(lines[:, :, :2], 2) | (_unfold_positions(lines[:, :, 2:], 1) << np.uint8(2))
    else:
        lanes = _unfold_positions(lines, bits)
    lanes = lanes.reshape(blocks, groups, -1, ROWS_PER_BLOCK, K_PER_LANE)
    return lanes.transpose(0, 3, 1, 2, 4).reshape(shape)


def _assemble(header: PackedHeader, alpha: np.ndarray, lines: np.ndarray) -> Tensor:
    if header.format.packing is Packing.BASE3:
        header = replace(header, digest=_codes_digest(lines))
    blob = np.zeros(header.total_bytes, np.uint8)
    blob[:HEADER_BYTES] = np.frombuffer(header.to_bytes(), np.uint8)
    blob[header.alpha_offset : header.codes_offset].view(np.float32)[: header.n] = alpha
    blob[header.codes_offset :] = lines.reshape(-1)
    return torch.from_numpy(blob)


def _checked_alpha(alpha: Tensor, n: int) -> np.ndarray:
    if alpha.dtype != torch.float32:
        raise ValueError(f"alpha must be float32, not {alpha.dtype}: rounding it would change the grid")
    if tuple(alpha.shape) not in ((n,), (n, 1)):
        raise ValueError(f"alpha must have shape [{n}] or [{n}, 1], not {list(alpha.shape)}")
    values = alpha.detach().cpu().reshape(n).numpy()
    if not bool((np.isfinite(values) & (values > 0)).all()):
        raise ValueError("alpha must be finite and positive in every row")
    return values


def _shape_of_matrix(tensor: Tensor, name: str) -> tuple[int, int]:
    if tensor.dim() != 2:
        raise ValueError(f"{name} must be a matrix [n, k], not {list(tensor.shape)}")
    return tensor.shape[0], tensor.shape[1]


def _bytes_of(packed: Tensor) -> np.ndarray:
    if packed.dtype != torch.uint8 or packed.dim() != 1:
        raise ValueError(f"a packed table is uint8 [bytes], not {packed.dtype} {list(packed.shape)}")
    return packed.detach().cpu().contiguous().numpy()


def _round_up(value: int, multiple: int) -> int:
    return (value + multiple - 1) // multiple * multiple
