"""Split a parent of 8 bits into three weights, of which a narrow slice needs only the first ones.

    base    2 bits: the parent's slice of 2 bits (``slices.py``), with its scales and zeros
    middle  4 bits: bits 3 to 6 of the parent's code; needed for slices of 3 bits and more
    low     3 bits: bits 0 to 2; needed for slices of 5 bits and more

A slice of 2 bits rounds, so it is not the parent's upper two bits, and one bit of nine repeats what others
say. Bit 7 follows from the rest: see ``joined``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edge.formats.encoding import ENCODING_BY_NAME
from edge.formats.slices import PARENT_BITS, sliced
from edge.formats.weight import QuantizedWeight

#: Bits of the slices that an elastic weight has.
ELASTIC_WIDTHS = (8, 7, 6, 5, 4, 3, 2)
BASE_BITS = 2
#: What the names of a weight's other parts end with; the base has the weight's own name.
MIDDLE, LOW = ".middle", ".low"
_LOW_BITS = 3
_MIDDLE_BITS = 4


@dataclass(frozen=True)
class ElasticWeight:
    """Hold a weight [n, k] in three parts; scales of ``middle`` and ``low`` are 1 and say nothing."""

    base: QuantizedWeight
    middle: QuantizedWeight
    low: QuantizedWeight


def split(parent: QuantizedWeight) -> ElasticWeight:
    """Split a weight of 8 bits.

    Raises:
        ValueError: it has another width.
    """
    if parent.encoding.name != f"bits{PARENT_BITS}":
        raise ValueError(
            f"an elastic weight is made from {PARENT_BITS} bits, and this one has {parent.encoding.name}"
        )
    codes = parent.codes
    middle = codes >> _LOW_BITS & (1 << _MIDDLE_BITS) - 1
    return ElasticWeight(
        sliced(parent, BASE_BITS),
        _rest(parent, middle, _MIDDLE_BITS),
        _rest(parent, codes & (1 << _LOW_BITS) - 1, _LOW_BITS),
    )


def joined(weight: ElasticWeight) -> QuantizedWeight:
    """Put a parent together again: the inverse of ``split``.

    Base 2 are the codes 96 to 159 and base 3 those above. Where bits 5 and 6 are both set, a code is 96 to
    127 or 224 to 255, so bit 7 is set with base 3 alone; elsewhere it is set with base 2 and 3.
    """
    base, middle, low = (part.codes for part in (weight.base, weight.middle, weight.low))
    both_set = middle >> (_MIDDLE_BITS - 2) == 3
    bit7 = (base >= torch.where(both_set, 3, 2)).to(torch.uint8)
    codes = bit7 << 7 | middle << _LOW_BITS | low
    step = 2.0 ** (PARENT_BITS - BASE_BITS)
    assert isinstance(weight.base.zero, Tensor)
    return replace(
        weight.base,
        codes=codes,
        scale=weight.base.scale / step,
        zero=weight.base.zero * step,
        encoding=ENCODING_BY_NAME[f"bits{PARENT_BITS}"],
    )


def _rest(parent: QuantizedWeight, codes: Tensor, bits: int) -> QuantizedWeight:
    ones = torch.ones(len(codes), 1)
    return QuantizedWeight(codes, ones, 0.0, ENCODING_BY_NAME[f"bits{bits}"], order=parent.order)
