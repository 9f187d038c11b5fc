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
VALUE_BLOCK = 4  # positions side by side in a line of an integer V
KEY_ELEMENTS = 4  # bytes of an integer key side by side
#: Positions beside its window that a layer's cache has room for: a prefill takes so many tokens at a time,
#: and so many can be taken back without losing what is still seen.
WINDOW_ROOM = 128
WEIGHT_MAX = 16383  # with integer values, a tile's attention weights are integers up to this: 14 bits
INT4_LEVELS = 15  # level = 2 * code - 15: 16 odd numbers, symmetric
#: Bits of an element of the cache, by the cache's format.
CACHE_BITS = {"fp32": 32, "int8": 8, "int4": 4}


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


def head_multiple(bits: int) -> int:
    """Return the number that must divide the head size, for a cache of 8 or 4 bits an element."""
    return KEY_ELEMENTS * (8 // bits)


def cache_shapes(kv_heads: int, max_seq: int, head_dim: int, bits: int) -> CacheShapes:
    """Float32: K [Hkv, S/16, D, 16], V [Hkv, S, D]. Int8: K [Hkv, S/16, D/4, 16, 4], V [Hkv, S/4, D, 4].

    Int4 is int8 with D/2 bytes in place of D: a byte has the codes of elements e (low) and e + D/2 (high).

    Args:
        bits: 32, 8 or 4.

    Raises:
        ValueError: integer caches of a head size that their bytes do not divide.
    """
    room = capacity(max_seq)
    blocks = room // KEY_BLOCK
    if bits == 32:
        return CacheShapes(
            (kv_heads, blocks, head_dim, KEY_BLOCK), (kv_heads, room, head_dim), None, torch.float32
        )
    if head_dim % head_multiple(bits) != 0:
        raise ValueError(
            f"an int{bits} KV cache takes head sizes that are multiples of {head_multiple(bits)}, not "
            f"{head_dim}; use the float32 cache"
        )
    row_bytes = head_dim * bits // 8
    return CacheShapes(
        (kv_heads, blocks, row_bytes // KEY_ELEMENTS, KEY_BLOCK, KEY_ELEMENTS),
        (kv_heads, room // VALUE_BLOCK, row_bytes, VALUE_BLOCK),
        (kv_heads, room),
        torch.int8 if bits == 8 else torch.uint8,
    )


def pack_int4(levels: Tensor) -> Tensor:
    """Odd levels [..., D] from -15 to 15 -> bytes uint8 [..., D/2]."""
    low, high = ((levels + INT4_LEVELS) // 2).to(torch.uint8).chunk(2, dim=-1)
    return low | high << 4


def _levels(cache: Tensor) -> Tensor:
    """An int4 cache in int8's layout; any other as it is."""
    if cache.dtype != torch.uint8:
        return cache
    return 2 * torch.cat([cache & 15, cache >> 4], dim=2).to(torch.int8) - INT4_LEVELS


def read_keys(cache: Tensor) -> Tensor:
    """A K cache of any type -> [S, Hkv, D]: floats, or the integers that a scale belongs to."""
    cache = _levels(cache)
    if cache.dtype == torch.int8:
        kv_heads, blocks, quads, _, _ = cache.shape
        rows = cache.permute(1, 3, 0, 2, 4)  # [S/16, 16, Hkv, D/4, 4]
        return rows.reshape(blocks * KEY_BLOCK, kv_heads, quads * KEY_ELEMENTS)
    kv_heads, blocks, head_dim, _ = cache.shape
    return cache.permute(1, 3, 0, 2).reshape(blocks * KEY_BLOCK, kv_heads, head_dim)


def read_values(cache: Tensor) -> Tensor:
    """A V cache of any type -> [S, Hkv, D], as ``read_keys``."""
    cache = _levels(cache)
    if cache.dtype == torch.int8:
        kv_heads, blocks, head_dim, _ = cache.shape
        return cache.permute(1, 3, 0, 2).reshape(blocks * VALUE_BLOCK, kv_heads, head_dim)
    return cache.transpose(0, 1)
