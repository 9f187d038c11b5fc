"""Multiply tokens by a packed weight: one kernel, whose tiles make it fit decode or prefill.

Weights are the left operand of every product, because a tensor core takes that one from registers, where it
was decoded. Sums are float32, or int32 for int8 activations. Scales multiply sums and not weights, so that no
weight is rounded.
"""

# mypy: allow-untyped-defs
# Triton reads the functions as its own language, where arguments are tensors and pointers.
from __future__ import annotations

import triton
import triton.language as tl

from edge.ops.triton.levels import levels_at


@triton.jit(do_not_specialize=["m"])  # one program for every batch size
def linear_kernel(
    x,  # [m, k] float16, bfloat16 or int8
    words,  # int16 [n, row_words]
    scale,  # [n, groups]
    zero,  # float32 [n, groups]; read with ZEROS
    x_sums,  # float32 [m, groups]; read with ZEROS
    x_scale,  # float32 [m]; read with int8
    out,  # [m, n]; with several splits sums [splits, m, n]
    m,
    n,
    k,
    low_words,  # of a row's plane of the lowest bits
    row_words,
    groups,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,  # columns that share a scale; 0: one scale a row
    ZEROS: tl.constexpr,  # a zero is stored with every scale
    TWICE_ZERO: tl.constexpr,  # of the whole table; 0 with ZEROS
    WHOLE: tl.constexpr,  # rows are whole tiles of columns, so that nothing need be masked
    dtype: tl.constexpr,  # that tensor cores multiply
    TOKENS: tl.constexpr,
    ROWS: tl.constexpr,
    CHUNKS: tl.constexpr,  # of 32 words, a step
    SPLITS: tl.constexpr,  # programs that share the columns
):
    PLANE: tl.constexpr = 2 if BITS == 3 else BITS
    POSITIONS: tl.constexpr = 16 // PLANE
    CHUNK: tl.constexpr = 32 * POSITIONS  # columns
    # Positions whose sums share a scale; a group holds whole steps, or a step of one chunk whole groups.
    FOLD: tl.constexpr = GROUP // 32 if GROUP > 0 and GROUP < CHUNK else POSITIONS
    SUMS: tl.constexpr = tl.int32 if dtype == tl.int8 else tl.float32

    row_tiles = tl.cdiv(n, ROWS)
    rows = tl.program_id(0) % row_tiles * ROWS + tl.arange(0, ROWS)
    tokens = tl.program_id(0) // row_tiles * TOKENS + tl.arange(0, TOKENS)
    # Rows and tokens of padding repeat the last one; they are not stored.
    safe_rows = tl.minimum(rows, n - 1).to(tl.int64)
    safe_tokens = tl.minimum(tokens, m - 1).to(tl.int64)
    lanes = tl.arange(0, 32 * CHUNKS)
    row_at = words + (safe_rows * row_words)[:, None]
    x_at = x + (safe_tokens * k)[None, :]

    steps = tl.cdiv(low_words, 32 * CHUNKS)
    share = tl.cdiv(steps, SPLITS)
    first = tl.program_id(1) * share
    total = tl.zeros((ROWS, TOKENS), tl.float32)
    sums = tl.zeros((ROWS, TOKENS), SUMS)
    for step in range(first, tl.minimum(first + share, steps)):
        word = step * (32 * CHUNKS) + lanes
        low, high = _load_words(row_at, word, low_words, BITS, WHOLE)
        for position in tl.static_range(POSITIONS):
            column = word // 32 * CHUNK + position * 32 + word % 32
            at = x_at + column[:, None]
            part = tl.load(at) if WHOLE else tl.load(at, mask=(column < k)[:, None], other=0)
            levels = levels_at(low, high, position, BITS, TWICE_ZERO, dtype)
            sums = tl.dot(levels, part.to(dtype), sums, out_dtype=SUMS)
            if GROUP > 0 and (position + 1) % FOLD == 0:
                column_of_group = step * (CHUNKS * CHUNK) + (position + 1 - FOLD) * 32
                group = tl.minimum(column_of_group // GROUP, groups - 1)
                at_group = safe_rows * groups + group
                part_sums = sums.to(tl.float32)
                # Once a group, and not in columns of padding.
                if ZEROS and (column_of_group % GROUP == 0 and column_of_group < k):
                    part_sums -= _zero_share(zero + at_group, x_sums + safe_tokens * groups + group)
                total += part_sums * tl.load(scale + at_group).to(tl.float32)[:, None]
                sums = tl.zeros((ROWS, TOKENS), SUMS)

    place = out + tokens.to(tl.int64)[None, :] * n + rows[:, None]
    stored = (tokens < m)[None, :] & (rows < n)[:, None]
    if GROUP == 0 and not ZEROS and SPLITS > 1:
        tl.store(place + tl.program_id(1).to(tl.int64) * m * n, sums, mask=stored)
    else:
        if GROUP == 0:
            total = sums.to(tl.float32)
            if ZEROS and tl.program_id(1) == 0:
                total -= _zero_share(zero + safe_rows, x_sums + safe_tokens)
        if SPLITS > 1:
            tl.store(place + tl.program_id(1).to(tl.int64) * m * n, total, mask=stored)
        else:
            row_scale, token_scale = scale + safe_rows, x_scale + safe_tokens
            value = _scaled(total, row_scale[:, None], token_scale[None, :], GROUP, TWICE_ZERO, dtype)
            tl.store(place, value, mask=stored)


@triton.jit(do_not_specialize=["m"])  # one program for every batch size
def add_splits_kernel(
    sums,  # float32 or int32 [splits, m, n]
    scale,  # [n]; read without groups
    x_scale,  # float32 [m]; read with int8
    out,  # [m, n]
    m,
    n,
    GROUP: tl.constexpr,
    TWICE_ZERO: tl.constexpr,
    dtype: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add up the splits in their order, and scale them."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    count = m.to(tl.int64) * n
    inside = at < count
    total = tl.load(sums + at, mask=inside, other=0)
    for split in tl.static_range(1, SPLITS):
        total += tl.load(sums + split * count + at, mask=inside, other=0)
    at = tl.minimum(at, count - 1)
    value = _scaled(total.to(tl.float32), scale + at % n, x_scale + at // n, GROUP, TWICE_ZERO, dtype)
    tl.store(out + at, value, mask=inside)


@triton.jit
def sum_groups_kernel(x, out, k, size, BLOCK: tl.constexpr):
    """Add up x [m, k] over each ``size`` columns -> float32 [m, groups]."""
    token, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    end = tl.minimum((group + 1) * size, k)
    sums = tl.zeros((BLOCK,), tl.int32 if x.dtype.element_ty == tl.int8 else tl.float32)
    for first in range(group * size, end, BLOCK):
        column = first + tl.arange(0, BLOCK)
        sums += tl.load(x + token * k + column, mask=column < end, other=0).to(sums.dtype)
    tl.store(out + token * tl.num_programs(1) + group, tl.sum(sums, axis=0).to(tl.float32))


@triton.jit
def _load_words(row_at, word, low_words, BITS: tl.constexpr, WHOLE: tl.constexpr):
    """Load words of both planes [rows, words]; a word of 1 bit serves two of 2 bits, these bits first."""
    usable = (word < low_words)[None, :]
    chunk = word // 32
    at = row_at + word[None, :]
    low = tl.load(at) if WHOLE else tl.load(at, mask=usable, other=0)
    high = low
    if BITS == 3:
        at = row_at + (low_words + chunk // 2 * 32 + word % 32)[None, :]
        high = tl.load(at) if WHOLE else tl.load(at, mask=usable, other=0)
        high = high >> (chunk % 2 * 8).to(tl.int16)[None, :]
    return low, high


@triton.jit
def _zero_share(zero_at, x_sums_at):
    """Multiply zeros by sums of activations: what code * x has too much."""
    return tl.load(zero_at)[:, None] * tl.load(x_sums_at)[None, :]


@triton.jit
def _scaled(total, scale_at, x_scale_at, GROUP: tl.constexpr, TWICE_ZERO: tl.constexpr, dtype: tl.constexpr):
    """Multiply sums by the scales of rows and tokens, in the order of the CPU ops."""
    if GROUP == 0:
        scale = tl.load(scale_at)
        if dtype == tl.int8 and TWICE_ZERO % 2 == 1:
            scale = scale * 0.5  # levels were doubled
        total = total * scale
    elif dtype == tl.int8 and TWICE_ZERO % 2 == 1:
        total = total * 0.5
    if dtype == tl.int8:
        total = total * tl.load(x_scale_at)
    return total
