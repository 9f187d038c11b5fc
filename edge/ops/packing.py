"""Pack quantised weights into the byte layout that the native ops read, and unpack them.

``csrc/core/layout.h`` documents the layout; this module is its only writer. A packed table is one uint8
tensor whose bytes are the same on every CPU.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from edge.formats.encoding import BASE3, HALF, Encoding
from edge.formats.weight import QuantizedWeight
from edge.ops.lines import codes_from_lines, halves_from_lines, lines_from_codes, lines_from_halves
from edge.ops.packed_header import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    HEADER_BYTES,
    LINE_BYTES,
    ROWS_PER_BLOCK,
    PackedHeader,
)

#: Of the scales of groups, by ScaleType.
DTYPES = {FLOAT16: torch.float16, BFLOAT16: torch.bfloat16}


def packed_nbytes(
    n: int, k: int, encoding: Encoding, group_size: int | None = None, has_zeros: bool = False
) -> int:
    """Compute the bytes of a packed [n, k] table, header and padding included."""
    return PackedHeader(encoding, n, k, group_size, zero=None if has_zeros else 0.0).total_bytes


def pack(weight: QuantizedWeight) -> Tensor:
    """Pack a quantised weight [n, k] into uint8 [bytes].

    Raises:
        ValueError: a shape beyond the layout's limits, group scales or zeros that 16 bits cannot hold
            exactly, a zero between two codes whose sums could overflow 32 bits, or columns in another order
            than their inputs, which the layout does not hold.
    """
    if weight.order is not None:
        raise ValueError("a packed table has no place for the order of its columns (act-order)")
    n, k = weight.codes.shape
    header = header_of(weight)
    header.check_accumulators()
    padded = np.zeros((header.n_padded, header.k_padded), np.uint8)
    padded[:n, :k] = weight.codes.detach().cpu().numpy()
    lines = lines_from_codes(padded, weight.encoding)  # [blocks, lines, 64]
    values = [weight.scale, weight.zero] if isinstance(weight.zero, Tensor) else [weight.scale]
    if weight.group_size is not None:
        lines = _with_scale_lines(header, lines, [_bits_of(v, header.scale_type) for v in values])
        return _assemble(header, [], lines)
    if weight.encoding == BASE3:
        header = replace(header, digest=codes_digest(lines))
    return _assemble(header, [v.detach().cpu().reshape(n).numpy() for v in values], lines)


def header_of(weight: QuantizedWeight) -> PackedHeader:
    """The header of a weight's packed table, without a digest; ValueError as from ``pack``."""
    n, k = weight.codes.shape
    zero = None if isinstance(weight.zero, Tensor) else float(weight.zero)
    return PackedHeader(weight.encoding, n, k, weight.group_size, _scale_type(weight), zero)


def pack_half(weight: Tensor) -> Tensor:
    """Pack an unquantised [n, k] floating-point table as IEEE half values, rounded to nearest even.

    Raises:
        ValueError: wrong shape or dtype, NaN, or a value beyond the range of half precision.
    """
    if weight.dim() != 2:
        raise ValueError(f"weight must be a matrix [n, k], not {list(weight.shape)}")
    if not weight.dtype.is_floating_point:
        raise ValueError(f"weight must be floating point, not {weight.dtype}")
    header = PackedHeader(HALF, *weight.shape)
    half = weight.detach().cpu().to(torch.float16)
    if not bool(torch.isfinite(half).all()):
        raise ValueError("weight has values that half precision cannot hold (NaN, or beyond 65504)")
    padded = np.zeros((header.n_padded, header.k_padded), np.float16)
    padded[: header.n, : header.k] = half.numpy()
    return _assemble(header, [np.ones(header.n, np.float32)], lines_from_halves(padded))


def read_header(packed: Tensor) -> PackedHeader:
    """Read and check the header of a packed table.

    Raises:
        ValueError: not uint8 [bytes], truncated, of another layout version, any header field altered, codes
            in base 3 that do not match their digest, or scales that do not end with the rows.
    """
    raw = _bytes_of(packed)
    header = PackedHeader.from_bytes(raw[:HEADER_BYTES].tobytes())
    if raw.size != header.total_bytes:
        raise ValueError(f"packed table has {raw.size} bytes, its header promises {header.total_bytes}")
    if header.encoding == BASE3 and header.digest != codes_digest(raw[header.codes_offset :]):
        raise ValueError(f"packed table has a damaged header for [{header.n}, {header.k}] base3: its digest")
    _check_rows(header, raw)
    return header


def unpack(packed: Tensor) -> QuantizedWeight:
    """Unpack a table: the exact inverse of ``pack``.

    Raises:
        ValueError: a damaged header, padding that is not zero, a code, scale or zero that ``pack`` cannot
            write, or a table of halves, which ``unpack_half`` reads.
    """
    header, raw = read_header(packed), _bytes_of(packed)
    if not header.encoding.codes:
        raise ValueError("the table holds halves, not codes; use unpack_half")
    lines = raw[header.codes_offset :].reshape(header.n_padded // ROWS_PER_BLOCK, -1, LINE_BYTES)
    values = _row_arrays(header, raw)
    if header.group_size is not None:
        lines, bits = _without_scale_lines(header, lines)
        values = [_floats_of(b, header.scale_type) for b in bits]
    codes = codes_from_lines(lines, header.encoding, header.k_padded)
    groups = 1 if header.group_size is None else -(-header.k // header.group_size)
    _check_padding(codes[header.n :], codes[:, header.k :], *(v[header.n :] for v in values))
    _check_padding(*(v[:, groups:] for v in values))
    scale, *zeros = (torch.from_numpy(v[: header.n, :groups].copy()) for v in values)
    table = torch.from_numpy(codes[: header.n, : header.k].copy())
    zero = zeros[0] if header.zero is None else header.zero
    dtype = None if header.group_size is None else DTYPES[header.scale_type]
    try:
        return QuantizedWeight(table, scale, zero, header.encoding, header.group_size, scale_dtype=dtype)
    except ValueError as error:
        raise ValueError(f"packed table was altered after packing: {error}") from error


def unpack_half(packed: Tensor) -> Tensor:
    """Unpack a table of halves to its values [n, k] float16; raises ValueError like ``unpack``."""
    header, raw = read_header(packed), _bytes_of(packed)
    lines = raw[header.codes_offset :].reshape(header.n_padded // ROWS_PER_BLOCK, -1, LINE_BYTES)
    values, (scale,) = halves_from_lines(lines, header.k_padded), _row_arrays(header, raw)
    _check_padding(values[header.n :], values[:, header.k :], scale[header.n :])
    if not bool((scale[: header.n] == 1).all()):
        raise ValueError("packed table of halves has a row scale that is not 1; it was altered after packing")
    return torch.from_numpy(values[: header.n, : header.k].copy())


def dequantize(packed: Tensor) -> Tensor:
    """Compute the float32 weights [n, k] of a packed table of either kind."""
    return unpack(packed).dequantize() if is_quantized(packed) else unpack_half(packed).float()


def is_quantized(packed: Tensor) -> bool:
    """Returns True if a packed table holds codes, False if it holds float16 weights."""
    return read_header(packed).encoding.codes > 0


def _scale_type(weight: QuantizedWeight) -> int:
    """Returns the type in which a weight's scales and zeros are stored without loss."""
    if weight.group_size is None:
        return FLOAT32
    values = [weight.scale] + ([weight.zero] if isinstance(weight.zero, Tensor) else [])
    for code, dtype in DTYPES.items():
        if weight.scale_dtype in (None, dtype) and all(torch.equal(v.to(dtype).float(), v) for v in values):
            return code
    raise ValueError(
        "scales and zeros of groups are stored in 16 bits: round them to float16 or bfloat16 first"
    )


def _check_rows(header: PackedHeader, raw: np.ndarray) -> None:
    """Raise ValueError unless the last real row's first scale is positive and those of padding rows are 0."""
    if header.group_size is None:
        scale = _row_arrays(header, raw)[0][:, 0]
        last, padding = scale[header.n - 1], scale[header.n :]
    else:
        block_lines = header.code_lines + header.scale_lines
        bits = raw[raw.size - block_lines * LINE_BYTES :][: 2 * ROWS_PER_BLOCK].view(np.uint16)
        real = ROWS_PER_BLOCK - (header.n_padded - header.n)
        last, padding = _floats_of(bits[real - 1 : real], header.scale_type)[0], bits[real:]
    if not last > 0 or padding.any():
        raise ValueError(f"packed table has row scales that do not end at row {header.n}; it was altered")


def _row_arrays(header: PackedHeader, raw: np.ndarray) -> list[np.ndarray]:
    """Scales, and zeros where they are stored per row: float32 [n_padded, 1] each."""
    arrays = raw[HEADER_BYTES : header.codes_offset].view(np.float32)
    return list(arrays.reshape(header.row_arrays, header.n_padded, 1))


def _with_scale_lines(header: PackedHeader, lines: np.ndarray, bits: list[np.ndarray]) -> np.ndarray:
    """Interleave code lines [blocks, lines, 64] with 16-bit scales (and zeros) [n, G]."""
    blocks, per_group = lines.shape[0], _lines_per_group(header)
    arrays = np.zeros((len(bits), header.n_padded, header.scale_lines * (2 // len(bits))), np.uint16)
    for target, values in zip(arrays, bits, strict=True):
        target[: header.n, : values.shape[1]] = values
    # [blocks, scale lines, 2 halves of a line, 16 rows]: two groups, or a group's scales and zeros
    halves = arrays.reshape(len(bits), blocks, ROWS_PER_BLOCK, -1)
    pairs = halves[0].transpose(0, 2, 1) if len(bits) == 1 else halves.transpose(1, 3, 0, 2)
    scale_lines = np.ascontiguousarray(pairs).reshape(blocks, header.scale_lines, 32).view(np.uint8)
    step = per_group * (2 if len(bits) == 1 else 1)
    parts = []
    for index in range(header.scale_lines):
        parts += [scale_lines[:, index : index + 1], lines[:, index * step : (index + 1) * step]]
    return np.concatenate(parts, axis=1)


def _without_scale_lines(header: PackedHeader, lines: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Separate code lines [blocks, lines, 64] from 16-bit scales (and zeros) [n_padded, groups]."""
    step = _lines_per_group(header) * (1 if header.zero is None else 2) + 1
    is_scale = np.arange(lines.shape[1]) % step == 0
    halves = np.ascontiguousarray(lines[:, is_scale]).view(np.uint16)
    halves = halves.reshape(lines.shape[0], -1, 2, ROWS_PER_BLOCK)
    if header.zero is None:
        bits = [halves[:, :, part].transpose(0, 2, 1).reshape(header.n_padded, -1) for part in (0, 1)]
    else:
        bits = [halves.transpose(0, 3, 1, 2).reshape(header.n_padded, -1)]
    return lines[:, ~is_scale], bits


def _lines_per_group(header: PackedHeader) -> int:
    assert header.group_size is not None
    return header.group_size // header.encoding.group_columns * header.encoding.group_lines


def _bits_of(values: Tensor, scale_type: int) -> np.ndarray:
    """Float32 values as the 16 bits that store them, exactly."""
    dtype = torch.float16 if scale_type == FLOAT16 else torch.bfloat16
    return values.detach().cpu().to(dtype).view(torch.int16).numpy().view(np.uint16)


def _floats_of(bits: np.ndarray, scale_type: int) -> np.ndarray:
    if scale_type == FLOAT16:
        return bits.view(np.float16).astype(np.float32)
    return (bits.astype(np.uint32) << 16).view(np.float32)


def codes_digest(lines: np.ndarray, first: int = 0) -> int:
    """Hash codes as ``codes_digest`` of csrc/core/layout.cc does.

    Args:
        first: 64-bit words of the table's codes in front of these; the hashes of a table's parts, summed
            modulo 2^64, are the table's.
    """
    words = lines.reshape(-1).view(np.uint64)
    z = words + np.arange(first + 1, first + words.size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return int((z ^ z >> np.uint64(31)).sum(dtype=np.uint64))


def _assemble(header: PackedHeader, arrays: list[np.ndarray], lines: np.ndarray) -> Tensor:
    blob = np.zeros(header.total_bytes, np.uint8)
    blob[:HEADER_BYTES] = np.frombuffer(header.to_bytes(), np.uint8)
    for index, array in enumerate(arrays):
        blob[HEADER_BYTES : header.codes_offset].view(np.float32)[index * header.n_padded :][: header.n] = (
            array
        )
    blob[header.codes_offset :] = lines.reshape(-1)
    return torch.from_numpy(blob)


def _check_padding(*parts: np.ndarray) -> None:
    if any(part.tobytes().strip(b"\0") for part in parts):
        raise ValueError("packed table has padding that is not zero; it was altered after packing")


def _bytes_of(packed: Tensor) -> np.ndarray:
    if packed.dtype != torch.uint8 or packed.dim() != 1:
        raise ValueError(f"a packed table is uint8 [bytes], not {packed.dtype} {list(packed.shape)}")
    return packed.detach().cpu().contiguous().numpy()
