"""Turn codes into levels in registers: what code - zero is, exact in the type that is multiplied.

A code goes into the mantissa of a float as it lies in its word. ``base`` is the float whose last mantissa bit
stands for 1; ``word & mask | base`` is base + code * 2^field, where ``field`` is the lowest bit of the code.
One multiplication by 2^-field and one subtraction leave the level. Both are exact. GPUs have few units that
convert integers to floats, and this needs none.

``TWICE_ZERO`` is twice the zero of the whole table: an integer, odd where the zero lies between two codes.
"""

# mypy: allow-untyped-defs
# Triton reads the functions as its own language, where arguments are tensors and pointers.
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def levels_at(
    low, high, position: tl.constexpr, BITS: tl.constexpr, TWICE_ZERO: tl.constexpr, dtype: tl.constexpr
):
    """Decode the codes at a bit position of every word: words int16 -> levels code - zero of dtype.

    As int8 the levels of a zero between two codes are doubled.
    """
    if dtype == tl.int8:
        level = _integers(low, high, position, BITS, TWICE_ZERO)
    elif BITS == 3:
        level = _floats(low, position, 2, TWICE_ZERO, dtype) + _floats(high, position, 1, 0, dtype) * 4.0
    else:
        level = _floats(low, position, BITS, TWICE_ZERO, dtype)
    return level


@triton.jit
def _integers(low, high, position: tl.constexpr, BITS: tl.constexpr, TWICE_ZERO: tl.constexpr):
    STEP: tl.constexpr = 1 + TWICE_ZERO % 2
    if BITS == 3:
        code = (low >> (2 * position) & 3) | (high >> position & 1) << 2
    else:
        code = low >> (BITS * position) & ((1 << BITS) - 1)
    return (code * STEP - TWICE_ZERO * STEP // 2).to(tl.int8)


@triton.jit
def _floats(words, position: tl.constexpr, BITS: tl.constexpr, TWICE_ZERO: tl.constexpr, dtype: tl.constexpr):
    """Decode one plane; several of its codes fit into a mantissa, so that most need no shift."""
    MANTISSA: tl.constexpr = 7 if dtype == tl.bfloat16 else 10
    PLACE: tl.constexpr = position % (MANTISSA // BITS) * BITS
    # 1024 - 1/2 is no half-precision number, but 512 - 1/2 is one.
    FIELD: tl.constexpr = 1 if PLACE == 0 and TWICE_ZERO % 2 else PLACE
    RIGHT: tl.constexpr = position * BITS - FIELD
    MASK: tl.constexpr = ((1 << BITS) - 1) << FIELD
    moved = words
    if RIGHT > 0:
        moved = words >> RIGHT
    elif RIGHT < 0:
        moved = words << 1
    if dtype == tl.float16:
        value = ((moved & MASK) | 0x6400).to(tl.float16, bitcast=True)
    elif dtype == tl.bfloat16:
        value = ((moved & MASK) | 0x4300).to(tl.bfloat16, bitcast=True)
    else:
        value = ((moved.to(tl.int32) & MASK) | 0x4B000000).to(tl.float32, bitcast=True)
    BASE: tl.constexpr = 1024.0 if dtype == tl.float16 else 128.0 if dtype == tl.bfloat16 else 8388608.0
    return value * (1.0 / (1 << FIELD)) - (BASE / (1 << FIELD) + TWICE_ZERO / 2)
