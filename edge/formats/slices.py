"""Slice codes: keep the highest bits of each, as MatQuant does (arXiv 2502.06786, equations 6 and 8).

A parent of c bits holds a slice of every smaller width r. A code q becomes q / 2^(c-r), rounded with half
going up, so that bit r + 1 decides. The slice stays on the parent's levels:

    weight = scale * 2^(c-r) * (slice - zero / 2^(c-r))

Codes at the upper end round up to 2^r, which r bits cannot hold. They are clamped to 2^r - 1, or kept:
2^r + 1 levels, which the paper calls Extra Precision.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from edge.formats.encoding import ENCODING_BY_NAME
from edge.formats.weight import QuantizedWeight

PARENT_BITS = 8


@dataclass(frozen=True)
class Nesting:
    """Hold the widths that a parent was trained at, and the kind of its slices.

    Attributes:
        widths: in bits, falling.
        extra: slices keep 2^r, so that one of r bits is stored with r + 1.

    Raises:
        ValueError: widths that are none, repeat, do not fall, or that no parent has.
    """

    widths: tuple[int, ...]
    extra: bool = False

    def __post_init__(self) -> None:
        widths = self.widths
        falls = all(a > b for a, b in pairwise(widths))
        if not widths or not falls or not PARENT_BITS >= widths[0] >= widths[-1] >= 1:
            said = ", ".join(map(str, widths)) or "none"
            raise ValueError(f"widths are {said}; give some of 8 to 1, each once and falling")


def slice_codes(codes: Tensor, bits: int, extra: bool = False, parent_bits: int = PARENT_BITS) -> Tensor:
    """Slice codes uint8 of ``parent_bits`` to ``bits``, uint8 of the same shape.

    Args:
        extra: keep 2^bits instead of clamping it.

    Raises:
        ValueError: no slice of a parent has so many bits.
    """
    shift = parent_bits - bits
    if bits < 1 or shift < 0:
        raise ValueError(
            f"a parent of {parent_bits} bits has no slice of {bits}; choose from 1 to {parent_bits}"
        )
    if shift == 0:
        return codes
    rounded = (codes.to(torch.int16) + (1 << (shift - 1))) >> shift
    return rounded.clamp(max=(1 << bits) - (0 if extra else 1)).to(torch.uint8)


def sliced(parent: QuantizedWeight, bits: int, extra: bool = False) -> QuantizedWeight:
    """Slice a weight [n, k] to ``bits``; scales and zeros are the parent's times a power of two.

    Raises:
        ValueError: the parent's codes are no plain integers, or have fewer bits.
    """
    if not parent.encoding.planes:
        raise ValueError(f"codes in {parent.encoding.name} cannot be sliced; quantise to {PARENT_BITS} bits")
    parent_bits = parent.encoding.code_bits
    codes = slice_codes(parent.codes, bits, extra, parent_bits)
    step = 2.0 ** (parent_bits - bits)
    zero = parent.zero if isinstance(parent.zero, Tensor) else torch.full_like(parent.scale, parent.zero)
    stored_bits = bits + 1 if extra and bits < parent_bits else bits
    encoding = ENCODING_BY_NAME[f"bits{stored_bits}"]
    return replace(parent, codes=codes, scale=parent.scale * step, zero=zero / step, encoding=encoding)
