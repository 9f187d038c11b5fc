"""One attention problem for the op tests: random qkv, angles, and caches that must not be read unwritten."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor

from edge.ops import kernel_names, native, reference
from edge.ops.kv_layout import cache_shapes

MAX = 160  # positions; the caches have room for 192


class Case:
    """Random inputs of one shape; caches full of NaN, or of integers that would show."""

    def __init__(
        self,
        tokens: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        bits: int,
        seed: int = 0,
        max_seq: int = MAX,
        window: int = 0,
        cap: float = 0.0,
        room: int | None = None,
    ):
        g = torch.Generator().manual_seed(seed)
        self.tokens, self.heads, self.kv_heads, self.head_dim = tokens, heads, kv_heads, head_dim
        self.bits, self.window, self.cap = bits, window, cap
        self.q = 2 * torch.randn(1, tokens, heads, head_dim, generator=g)
        self.k = 2 * torch.randn(1, tokens, kv_heads, head_dim, generator=g)
        self.v = torch.randn(1, tokens, kv_heads, head_dim, generator=g)
        frequency = 10000.0 ** (-torch.arange(0, head_dim, 2) / head_dim)
        angle = torch.arange(max_seq)[:, None] * frequency[None]
        self.cos, self.sin = angle.cos(), angle.sin()
        self.caches = self.fresh_caches(max_seq if room is None else room)

    def fresh_caches(self, max_seq: int = MAX) -> list[Tensor]:
        shapes = cache_shapes(self.kv_heads, max_seq, self.head_dim, self.bits)
        if shapes.scales is None:
            return [torch.full(shape, torch.nan) for shape in (shapes.keys, shapes.values)]
        unseen = -128 if self.bits == 8 else 255
        caches = [torch.full(shape, unseen, dtype=shapes.dtype) for shape in (shapes.keys, shapes.values)]
        return caches + [torch.full(shapes.scales, torch.nan) for _ in range(2)]

    def qkv(self, first: int = 0, last: int | None = None) -> Tensor:
        parts = (t[:, first:last].flatten(2) for t in (self.q, self.k, self.v))
        return torch.cat(list(parts), dim=-1)

    def run(
        self,
        first: int = 0,
        last: int | None = None,
        kernel: str | None = None,
        threads: int | None = None,
        at: int | None = None,
    ) -> Tensor:
        """Feeds tokens first .. last, by default at their own positions."""
        op = getattr(native, "attention" if self.bits == 32 else f"attention_int{self.bits}")
        start = first if at is None else at
        qkv = self.qkv(first, last)
        limits = {"window": self.window, "cap": self.cap}
        return op(
            qkv, self.cos, self.sin, *self.caches, start, self.heads, kernel=kernel, threads=threads, **limits
        )

    def reference(self, at: int = 0) -> Tensor:
        """All tokens, with the caches updated, in slow Python."""
        op = reference.attention if self.bits == 32 else reference.attention_integers
        limits = {"window": self.window, "cap": self.cap}
        return op(self.qkv(), self.cos, self.sin, *self.caches, at, self.heads, **limits)

    def same_caches(self, other: Case) -> bool:
        return all(
            torch.equal(a.nan_to_num(9), b.nan_to_num(9))
            for a, b in zip(self.caches, other.caches, strict=True)
        )


@functools.cache
def solved(*shape: int, **options: float | None) -> tuple[Case, Tensor]:
    """A case and its slow reference, computed once for all kernels. Do not change them."""
    case = Case(*shape, **options)
    return case, case.reference()


def supported(kernel: str) -> bool:
    try:
        Case(1, 1, 1, 4, bits=32).run(kernel=kernel)
    except ValueError:
        return False
    return True


def kernels() -> list:
    """Every kernel of this build; one that this CPU cannot run is skipped by name."""
    reason = "this CPU lacks the instructions of kernel {}; run on one that has them"
    return [
        pytest.param(name, marks=pytest.mark.skipif(not supported(name), reason=reason.format(name)))
        for name in kernel_names()
    ]
