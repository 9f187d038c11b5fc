"""The KV cache of one attention layer, preallocated for the longest sequence."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class KVCache(nn.Module):
    """Keys (after RoPE) and values of one layer, both [1, max_seq_len, n_kv_heads, head_dim] float32."""

    def __init__(self, max_seq_len: int, n_kv_heads: int, head_dim: int) -> None:
        super().__init__()
        shape = (1, max_seq_len, n_kv_heads, head_dim)
        self.keys: Tensor
        self.values: Tensor
        self.register_buffer("keys", torch.zeros(shape), persistent=False)
        self.register_buffer("values", torch.zeros(shape), persistent=False)

    def update(self, keys: Tensor, values: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Write T positions from ``start`` on; returns all positions so far: [1, start + T, Hkv, D]."""
        if keys.shape[0] != 1:
            raise ValueError(f"a cache serves one sequence, not a batch of {keys.shape[0]}")
        end = start + keys.shape[1]
        if start < 0 or end > self.keys.shape[1]:
            raise ValueError(
                f"positions {start}..{end - 1} do not fit a cache of {self.keys.shape[1]} positions"
            )
        self.keys[:, start:end] = keys
        self.values[:, start:end] = values
        return self.keys[:, :end], self.values[:, :end]
