"""Run the kernels: allocate, choose tiles, launch."""

from __future__ import annotations

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from edge.ops.triton.checks import INTERPRETED, check_arguments, check_device
from edge.ops.triton.kernels import add_splits_kernel, linear_kernel, sum_groups_kernel
from edge.ops.triton.layout import PLANES
from edge.ops.triton.tiles import Tiles, choose_tiles, is_whole

#: What tensor cores multiply, by the type of the input. NumPy, which interprets, has no bfloat16.
_MULTIPLIED = {
    torch.float16: tl.float16,
    torch.bfloat16: tl.float32 if INTERPRETED else tl.bfloat16,
    torch.int8: tl.int8,
}
_BLOCK = 1024  # outputs that a program adds up over splits


def launch(
    x: Tensor,
    x_scale: Tensor | None,
    words: Tensor,
    scale: Tensor,
    zeros: Tensor | None,
    zero: float,
    k: int,
    bits: int,
    group: int,
    dtype: torch.dtype,
    tiles: Tiles | None = None,
) -> Tensor:
    """Multiply x [..., k] by a weight [n, k] -> [..., n] of ``dtype``.

    Args:
        tiles: None takes them from the table.
    """
    check_arguments(x, words, scale, zeros, zero, k, bits, group)
    check_device(x.device)
    rows = x.reshape(-1, k).contiguous()
    m, n = rows.shape[0], words.shape[0]
    # The interpreter rounds float32 to bfloat16 wrongly; PyTorch does it there.
    stored = torch.float32 if INTERPRETED and dtype == torch.bfloat16 else dtype
    out = torch.empty(m, n, dtype=stored, device=x.device)
    if m > 0:
        tiles = tiles or choose_tiles(m, n, k, bits, group or None, *limits(x.device))
        with torch.cuda.device_of(rows):  # Triton launches on the current GPU
            _launch(rows, x_scale, words, scale, zeros, zero, bits, group, out, tiles)
    return out.to(dtype).reshape(*x.shape[:-1], n)


def _launch(
    x: Tensor,
    x_scale: Tensor | None,
    words: Tensor,
    scale: Tensor,
    zeros: Tensor | None,
    zero: float,
    bits: int,
    group: int,
    out: Tensor,
    tiles: Tiles,
) -> None:
    (m, k), (n, row_words) = x.shape, words.shape
    multiplied, integers = _MULTIPLIED[x.dtype], x.dtype == torch.int8
    twice_zero = 0 if zeros is not None else int(2 * zero)
    exact = integers and not group and zeros is None
    sums = out
    if tiles.splits > 1:
        kind = torch.int32 if exact else torch.float32
        sums = torch.empty(tiles.splits, m, n, dtype=kind, device=x.device)
    x_sums = scale if zeros is None else _sum_groups(x, scale.shape[1], group or k)
    x_scale = scale if x_scale is None else x_scale  # what a kernel does not read may be any tensor
    linear_kernel[(triton.cdiv(n, tiles.rows) * triton.cdiv(m, tiles.tokens), tiles.splits)](
        x,
        words,
        scale,
        scale if zeros is None else zeros,
        x_sums,
        x_scale,
        sums,
        m,
        n,
        k,
        row_words * PLANES[bits][0] // bits,
        row_words,
        scale.shape[1],
        BITS=bits,
        GROUP=group,
        ZEROS=zeros is not None,
        TWICE_ZERO=twice_zero,
        WHOLE=is_whole(k, bits, tiles.chunks),
        dtype=multiplied,
        TOKENS=tiles.tokens,
        ROWS=tiles.rows,
        CHUNKS=tiles.chunks,
        SPLITS=tiles.splits,
        num_warps=tiles.warps,
        num_stages=tiles.stages,
    )
    if tiles.splits > 1:
        add_splits_kernel[(triton.cdiv(m * n, _BLOCK),)](
            sums,
            scale,
            x_scale,
            out,
            m,
            n,
            GROUP=group,
            TWICE_ZERO=twice_zero,
            dtype=multiplied,
            SPLITS=tiles.splits,
            BLOCK=_BLOCK,
        )


def _sum_groups(x: Tensor, groups: int, size: int) -> Tensor:
    """Add up x [m, k] over groups of columns -> float32 [m, groups]."""
    sums = torch.empty(x.shape[0], groups, dtype=torch.float32, device=x.device)
    sum_groups_kernel[(x.shape[0], groups)](
        x, sums, x.shape[1], size, BLOCK=min(1024, triton.next_power_of_2(size))
    )
    return sums


@cache
def limits(device: torch.device) -> tuple[int, int]:
    """Multiprocessors, and bytes of shared memory of a program; the interpreter stands for a small GPU."""
    if INTERPRETED:
        return 4, 99 << 10
    properties = torch.cuda.get_device_properties(device)
    return properties.multi_processor_count, getattr(properties, "shared_memory_per_block_optin", 48 << 10)
