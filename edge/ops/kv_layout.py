"""Give the shapes of the native KV caches, and read caches back as plain [positions, kv heads, D] rows.

The contract is ``csrc/core/attention_job.h``: positions lie side by side, so that a vector holds one element
of many of them. A cache starts out as zeros; positions that were not written are never read.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TILE = 64  # positions of a step of the running softmax; a cache has room for a multiple of it
KEY_BLOCK = 16  # positions side by side in a line of K
VALUE_BLOCK = 4  # positions side by side in a line of an int8 V
KEY_ELEMENTS = 4  # elements of an int8 key side by side
#: Positions beside its window that a layer's cache has room for: a prefill takes so many tokens at a time,
#: and so many can be taken back without losing what is still seen.
WINDOW_ROOM = 128
WEIGHT_MAX = 16383  # with int8 values, a tile's attention weights are integers up to this: 14 bits


@dataclass(frozen=True)
class CacheShapes:
    """Shapes of one layer's caches; the scales are float32, None for float32 caches."""

    keys: tuple[int, ...]
    values: tuple[int, ...]
    scales: tuple[int, int] | None  # of keys, and of values alike: [kv heads, S]
    dtype: torch.dtype


def capacity(max_seq: int) -> int:
    """The positions S that a cache for ``max_seq`` positions has room for."""
    return -(-max_seq // TILE) * TILE


def cache_shapes(kv_heads: int, max_seq: int, head_dim: int, int8: bool) -> CacheShapes:
    """Float32: K [Hkv, S/16, D, 16], V [Hkv, S, D]. Int8: K [Hkv, S/16, D/4, 16, 4], V [Hkv, S/4, D, 4].

    Raises:
        ValueError: int8 caches of a head size that is not a multiple of 4.
    """
    room = capacity(max_seq)
    blocks = room // KEY_BLOCK
    if not int8:
        return CacheShapes(
            (kv_heads, blocks, head_dim, KEY_BLOCK), (kv_heads, room, head_dim), None, torch.float32
        )
    if head_dim % KEY_ELEMENTS != 0:
        raise ValueError(
            f"an int8 KV cache takes head sizes that are multiples of {KEY_ELEMENTS}, not {head_dim}; "
            "use the float32 cache"
        )
    return CacheShapes(
        (kv_heads, blocks, head_dim // KEY_ELEMENTS, KEY_BLOCK, KEY_ELEMENTS),
        (kv_heads, room // VALUE_BLOCK, head_dim, VALUE_BLOCK),
        (kv_heads, room),
        torch.int8,
    )


def read_keys(cache: Tensor) -> Tensor:
    """A K cache of either type -> [S, Hkv, D]."""
    if cache.dtype == torch.int8:
        kv_heads, blocks, quads, _, _ = cache.shape
        rows = cache.permute(1, 3, 0, 2, 4)  # [S/16, 16, Hkv, D/4, 4]
        return rows.reshape(blocks * KEY_BLOCK, kv_heads, quads * KEY_ELEMENTS)
    kv_heads, blocks, head_dim, _ = cache.shape
    return cache.permute(1, 3, 0, 2).reshape(blocks * KEY_BLOCK, kv_heads, head_dim)


def read_values(cache: Tensor) -> Tensor:
    """A V cache of either type -> [S, Hkv, D]."""
    if cache.dtype == torch.int8:
        kv_heads, blocks, head_dim, _ = cache.shape
        return cache.permute(1, 3, 0, 2).reshape(blocks * VALUE_BLOCK, kv_heads, head_dim)
    return cache.transpose(0, 1)
