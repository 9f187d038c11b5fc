"""The model's parts as calls of native ops, with the same signatures as the parts they replace."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import edge.ops  # noqa: F401  registers torch.ops.lowbit
from edge.model.kv_cache import KVCache
from edge.model.mobilellm import RMSNorm

lowbit = torch.ops.lowbit


class PackedLinear(nn.Module):
    """y [..., n] = x [..., k] times a packed [n, k] table."""

    def __init__(self, packed: Tensor, n: int) -> None:
        super().__init__()
        self.n = n
        self.packed: Tensor
        self.register_buffer("packed", packed)

    def forward(self, x: Tensor) -> Tensor:
        return lowbit.linear(x, self.packed, self.n)


class PackedEmbedding(nn.Module):
    """Rows of a packed [vocab, dim] table."""

    def __init__(self, packed: Tensor, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.packed: Tensor
        self.register_buffer("packed", packed)

    def forward(self, tokens: Tensor) -> Tensor:
        return lowbit.embedding(tokens, self.packed, self.dim)


class PackedHead(nn.Module):
    """Logits from a packed [vocab, dim] table: its own, or the token embedding's when it has none."""

    def __init__(self, vocab_size: int, packed: Tensor | None) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.packed: Tensor | None
        self.register_buffer("packed", packed)

    def forward(self, x: Tensor, embedding: nn.Module) -> Tensor:
        packed = embedding.packed if self.packed is None else self.packed
        return lowbit.linear(x, packed, self.vocab_size)


class OpRMSNorm(nn.Module):
    def __init__(self, norm: RMSNorm) -> None:
        super().__init__()
        self.eps = norm.eps
        self.weight: Tensor
        self.register_buffer("weight", norm.weight.detach())

    def forward(self, x: Tensor) -> Tensor:
        return lowbit.rms_norm(x, self.weight, self.eps)


class OpSiluMul(nn.Module):
    def forward(self, gate: Tensor, up: Tensor) -> Tensor:
        return lowbit.silu_mul(gate, up)


class OpAttention(nn.Module):
    """RoPE, cache write and attention in one op; ``start`` may be a symbolic integer."""

    def __init__(self, cache: KVCache) -> None:
        super().__init__()
        self.cache = cache

    def forward(self, q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, start: int) -> Tensor:
        return lowbit.attention(q, k, v, cos, sin, self.cache.keys, self.cache.values, start)
