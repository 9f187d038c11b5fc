"""Forge a ternary table: other codes with the digest of a given table."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from edge.ops.packing import read_header

_MASK = 2**64 - 1
_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def forge_digest(packed: Tensor, at: int = 16) -> Tensor:
    """Change the 8 bytes of codes at word ``at``, and the next 8 so that ``codes_digest`` stays the same.

    The digest adds up ``mix(word + index * constant)``, and mix is a permutation, so its inverse says which
    word brings the sum back. By default the first line of codes is left alone.
    """
    raw = packed.numpy().copy()
    words = raw[read_header(packed).codes_offset :].view(np.uint64)
    changed, fixed = (int(word) for word in words[at : at + 2])
    offsets = [(at + i + 1) * _STEP for i in range(2)]
    other = changed ^ 0x0303030303030303
    needed = _mix(changed + offsets[0]) + _mix(fixed + offsets[1]) - _mix(other + offsets[0])
    words[at], words[at + 1] = other, (_unmix(needed & _MASK) - offsets[1]) & _MASK
    return torch.from_numpy(raw)


def _mix(z: int) -> int:
    z &= _MASK
    z = (z ^ z >> 30) * _FIRST & _MASK
    z = (z ^ z >> 27) * _SECOND & _MASK
    return z ^ z >> 31


def _unmix(z: int) -> int:
    z = _unshift(z, 31) * pow(_SECOND, -1, 2**64) & _MASK
    z = _unshift(z, 27) * pow(_FIRST, -1, 2**64) & _MASK
    return _unshift(z, 30)


def _unshift(z: int, bits: int) -> int:
    """Solve ``x ^ x >> bits == z``."""
    x = z
    for _ in range(64 // bits):
        x = z ^ x >> bits
    return x
