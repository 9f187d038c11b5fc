"""Define the packed form of weights on a GPU: codes in words of 16 bits, laid out as README.md says.

This module needs no Triton and works on every device.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Words of a chunk, and consecutive columns that one bit position of a chunk holds.
LANES = 32
WORD_BITS = 16
#: Bits of the planes of a code, lowest bits first, by the width of the code.
PLANES: dict[int, tuple[int, ...]] = {1: (1,), 2: (2,), 3: (2, 1), 4: (4,)}


def chunk_columns(plane_bits: int) -> int:
    """Count the columns of a chunk of a plane: 512 at 1 bit, 256 at 2, 128 at 4."""
    return LANES * WORD_BITS // plane_bits


def padded_columns(k: int, bits: int) -> int:
    """Round k up to whole chunks of every plane."""
    chunk = max(chunk_columns(plane) for plane in PLANES[bits])
    return -(-k // chunk) * chunk


def row_words(k: int, bits: int) -> int:
    """Count the words of a row, all planes together."""
    return padded_columns(k, bits) * bits // WORD_BITS


def words_from_codes(codes: Tensor, bits: int) -> Tensor:
    """Pack codes uint8 [n, k] into words int16 [n, row words]; columns of padding are 0."""
    n, k = codes.shape
    padded = torch.zeros(n, padded_columns(k, bits), dtype=torch.int32, device=codes.device)
    padded[:, :k] = codes
    words, below = [], 0
    for plane in PLANES[bits]:
        words.append(_fold(padded >> below & (1 << plane) - 1, plane))
        below += plane
    return torch.cat(words, dim=1)


def codes_from_words(words: Tensor, k: int, bits: int) -> Tensor:
    """Unpack words int16 [n, row words] into codes uint8 [n, k]: the inverse of ``words_from_codes``."""
    columns, below = padded_columns(k, bits), 0
    codes = torch.zeros(words.shape[0], columns, dtype=torch.int32, device=words.device)
    sizes = [columns * plane // WORD_BITS for plane in PLANES[bits]]
    for plane, part in zip(PLANES[bits], words.split(sizes, dim=1), strict=True):
        codes |= _unfold(part, plane) << below
        below += plane
    return codes[:, :k].to(torch.uint8)


def _fold(values: Tensor, plane: int) -> Tensor:
    """[n, columns] values of a plane -> int16 [n, words]."""
    positions = values.unflatten(1, (-1, WORD_BITS // plane, LANES))  # [n, chunks, positions, lanes]
    words = torch.zeros_like(positions[:, :, 0])
    for position in range(WORD_BITS // plane):
        words |= positions[:, :, position] << plane * position
    return words.to(torch.int16).flatten(1)  # wraps to the same 16 bits


def _unfold(words: Tensor, plane: int) -> Tensor:
    """Invert ``_fold``."""
    chunks = words.to(torch.int32).unflatten(1, (-1, 1, LANES))
    shifts = torch.arange(0, WORD_BITS, plane, device=words.device, dtype=torch.int32)
    return (chunks >> shifts[:, None] & (1 << plane) - 1).flatten(1)
