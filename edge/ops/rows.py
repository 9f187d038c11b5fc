"""Write and read some rows of a packed table, so that a large one need not be in memory as a whole.

Rows that begin and end with a block lie in a table as they lie in a smaller table of their own: behind its
header, a stretch of each row array, and whole blocks of codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from edge.formats.encoding import BASE3
from edge.formats.weight import QuantizedWeight
from edge.ops.packed_header import HEADER_BYTES, LINE_BYTES, ROWS_PER_BLOCK, PackedHeader
from edge.ops.packing import codes_digest, unpack, unpack_half


def put_rows(table: np.ndarray, header: PackedHeader, first: int, packed: Tensor) -> int:
    """Write a packed table of some rows into its place in a larger one.

    Args:
        table: uint8, the bytes of the larger table; its header is left alone.
        header: of the larger table.
        first: the row of the larger table that the smaller one begins with; a multiple of 16.

    Returns:
        the digest of these rows; the larger table's is the sum of all, modulo 2^64.

    Raises:
        ValueError: the smaller table has another form: columns, encoding, zero or type of scales.
    """
    part = PackedHeader.from_bytes(packed[:HEADER_BYTES].numpy().tobytes())
    if replace(part, n=header.n, digest=0) != replace(header, digest=0):
        raise ValueError(f"rows of another form cannot be put into a table of {header.encoding.name}")
    for at, start, size in _stretches(header, part, first):
        table[at : at + size] = packed[start : start + size].numpy()
    if header.encoding != BASE3:
        return 0
    words_above = first // ROWS_PER_BLOCK * header.block_lines * LINE_BYTES // 8
    return codes_digest(packed[part.codes_offset :].numpy(), words_above)


def take_rows(table: np.ndarray, header: PackedHeader, first: int, count: int) -> Tensor:
    """Copy rows of a packed table, which begin with a block, into a packed table of their own."""
    part = replace(header, n=count)
    packed = np.zeros(part.total_bytes, np.uint8)
    for at, start, size in _stretches(header, part, first):
        packed[start : start + size] = table[at : at + size]
    if header.encoding == BASE3:
        part = replace(part, digest=codes_digest(packed[part.codes_offset :]))
    packed[:HEADER_BYTES] = np.frombuffer(part.to_bytes(), np.uint8)
    return torch.from_numpy(packed)


def unpack_rows(table: np.ndarray | Tensor, rows: slice) -> QuantizedWeight | Tensor:
    """Unpack rows of a table: codes, or values float16; all other rows are left unread.

    Raises:
        ValueError: see ``unpack``.
    """
    raw = table.numpy() if isinstance(table, Tensor) else table
    header = PackedHeader.from_bytes(raw[:HEADER_BYTES].tobytes())
    first, stop, _ = rows.indices(header.n)
    block = first // ROWS_PER_BLOCK * ROWS_PER_BLOCK
    end = min(-(-stop // ROWS_PER_BLOCK) * ROWS_PER_BLOCK, header.n)
    packed = take_rows(raw, header, block, end - block)
    wanted = slice(first - block, stop - block)
    return unpack(packed)[wanted] if header.encoding.codes else unpack_half(packed)[wanted]


def _stretches(header: PackedHeader, part: PackedHeader, first: int) -> Iterator[tuple[int, int, int]]:
    """Yield where stretches of a part lie in the table and in the part, and their bytes."""
    for array in range(header.row_arrays):
        at = HEADER_BYTES + 4 * (array * header.n_padded + first)
        yield at, HEADER_BYTES + 4 * array * part.n_padded, 4 * part.n_padded
    at = header.codes_offset + first // ROWS_PER_BLOCK * header.block_lines * LINE_BYTES
    yield at, part.codes_offset, part.total_bytes - part.codes_offset
