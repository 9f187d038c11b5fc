"""Spread codes and halves over the 64-byte lines of the packed layout (``csrc/core/layout.h``), and back.

A table is [n_padded, k_padded]; its lines are uint8 [blocks, lines of a block, 64].
"""

from __future__ import annotations

from functools import partial

import numpy as np

from edge.formats.encoding import BASE3, Encoding

ROWS = 16  # of a block
COLUMNS = 4  # consecutive columns of a row in a 32-bit lane
LINE_BYTES = ROWS * COLUMNS
_TRITS = 5  # codes in a byte of base 3
_BYTE_OF_NUMBER = np.array([-(-number * 256 // 3**_TRITS) for number in range(3**_TRITS)], np.uint8)


def lines_from_codes(codes: np.ndarray, encoding: Encoding) -> np.ndarray:
    """Encode codes uint8 [n_padded, k_padded]."""
    blocks, groups = codes.shape[0] // ROWS, codes.shape[1] // encoding.group_columns
    quads = encoding.group_columns // COLUMNS
    lanes = codes.reshape(blocks, ROWS, groups, quads, COLUMNS).transpose(0, 2, 3, 1, 4)
    lanes = np.ascontiguousarray(lanes).reshape(blocks, groups, quads, LINE_BYTES)
    lines = _fold_trits(lanes) if encoding == BASE3 else _fold_planes(lanes, encoding)
    return lines.reshape(blocks, -1, LINE_BYTES)


def codes_from_lines(lines: np.ndarray, encoding: Encoding, k_padded: int) -> np.ndarray:
    """Decode lines to codes uint8 [n_padded, k_padded]."""
    blocks, groups = lines.shape[0], k_padded // encoding.group_columns
    lines = lines.reshape(blocks, groups, encoding.group_lines, LINE_BYTES)
    lanes = _unfold_trits(lines) if encoding == BASE3 else _unfold_planes(lines, encoding)
    lanes = lanes.reshape(blocks, groups, -1, ROWS, COLUMNS)
    return lanes.transpose(0, 3, 1, 2, 4).reshape(blocks * ROWS, k_padded)


def lines_from_halves(values: np.ndarray) -> np.ndarray:
    """Encode values float16 [n_padded, k_padded]: a line is 16 rows x 2 columns."""
    blocks, columns = values.shape[0] // ROWS, values.shape[1]
    lines = values.reshape(blocks, ROWS, columns // 2, 2).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(lines).view(np.uint8).reshape(blocks, -1, LINE_BYTES)


def halves_from_lines(lines: np.ndarray, k_padded: int) -> np.ndarray:
    """Decode lines to values float16 [n_padded, k_padded]."""
    blocks = lines.shape[0]
    halves = lines.reshape(-1).view(np.float16).reshape(blocks, k_padded // 2, ROWS, 2)
    return halves.transpose(0, 2, 1, 3).reshape(blocks * ROWS, k_padded)


def _fold_trits(lanes: np.ndarray) -> np.ndarray:
    """Pack five ternary digits in a byte: [b, g, 5, 64] lanes -> [b, g, 1, 64] lines.

    The digits read as a number n in base 3 are stored as ceil(n * 256 / 243).
    """
    number = np.zeros_like(lanes[:, :, 0], dtype=np.uint16)
    for position in range(_TRITS):
        number = number * np.uint16(3) + lanes[:, :, position]
    return _BYTE_OF_NUMBER[number][:, :, None]


def _unfold_trits(lines: np.ndarray) -> np.ndarray:
    """Invert ``_fold_trits`` as the kernels do it: three times a byte is 256 * trit + the rest."""
    rest = lines[:, :, 0]
    lanes = np.empty((*lines.shape[:2], _TRITS, lines.shape[-1]), np.uint8)
    for position in range(_TRITS):
        triple = rest.astype(np.uint16) * np.uint16(3)
        lanes[:, :, position], rest = triple >> 8, triple.astype(np.uint8)
    return lanes


def _fold_planes(lanes: np.ndarray, encoding: Encoding) -> np.ndarray:
    """[b, g, 8, 64] lanes -> [b, g, code bits, 64] lines, the plane of the lowest bits first."""
    planes, below = [], 0
    for bits in encoding.planes:
        fold = _fold_threes if bits == 3 else partial(_fold_positions, bits=bits)
        planes.append(fold(lanes >> np.uint8(below) & np.uint8((1 << bits) - 1)))
        below += bits
    return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)


def _unfold_planes(lines: np.ndarray, encoding: Encoding) -> np.ndarray:
    """Invert ``_fold_planes``."""
    lanes, below = np.zeros((*lines.shape[:2], 8, lines.shape[-1]), np.uint8), 0
    for bits in encoding.planes:
        unfold = _unfold_threes if bits == 3 else partial(_unfold_positions, bits=bits)
        lanes |= unfold(lines[:, :, below : below + bits]) << np.uint8(below)
        below += bits
    return lanes


def _fold_positions(lanes: np.ndarray, bits: int) -> np.ndarray:
    """[b, g, 8, 64] lanes -> [b, g, bits, 64] lines; bit position p of a byte holds its p-th lane."""
    blocks, groups, _, width = lanes.shape
    positions = lanes.reshape(blocks, groups, bits, 8 // bits, width)
    lines = np.zeros((blocks, groups, bits, width), np.uint8)
    for position in range(8 // bits):
        lines |= positions[:, :, :, position] << np.uint8(position * bits)
    return lines


def _unfold_positions(lines: np.ndarray, bits: int) -> np.ndarray:
    """Invert ``_fold_positions``: [b, g, bits, 64] lines -> [b, g, 8, 64] lanes."""
    blocks, groups, _, width = lines.shape
    lanes = np.empty((blocks, groups, bits, 8 // bits, width), np.uint8)
    for position in range(8 // bits):
        lanes[:, :, :, position] = (lines >> np.uint8(position * bits)) & np.uint8((1 << bits) - 1)
    return lanes.reshape(blocks, groups, 8, width)


def _fold_threes(lanes: np.ndarray) -> np.ndarray:
    """[b, g, 8, 64] lanes of 3 bits -> [b, g, 3, 64] lines: two codes a byte, the last two in spare bits."""
    spare = lanes[:, :, 7] << np.uint8(5) | lanes[:, :, 6] << np.uint8(2)
    lines = lanes[:, :, 0:6:2] | lanes[:, :, 1:6:2] << np.uint8(3)
    for line in range(3):
        lines[:, :, line] |= spare << np.uint8(2 * line) & np.uint8(0xC0)
    return lines


def _unfold_threes(lines: np.ndarray) -> np.ndarray:
    """Invert ``_fold_threes``."""
    lanes = np.empty((*lines.shape[:2], 8, lines.shape[-1]), np.uint8)
    lanes[:, :, 0:6:2], lanes[:, :, 1:6:2] = lines & np.uint8(7), lines >> np.uint8(3) & np.uint8(7)
    spare = np.zeros_like(lines[:, :, 0])
    for line in range(3):
        spare |= (lines[:, :, line] & np.uint8(0xC0)) >> np.uint8(2 * line)
    lanes[:, :, 6], lanes[:, :, 7] = spare >> np.uint8(2) & np.uint8(7), spare >> np.uint8(5)
    return lanes
