"""The model's parts as calls of native ops. Every weight stands in a table that says which rows are whose."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

import edge.ops  # noqa: F401  registers torch.ops.lowbit
from edge.model.config import ModelConfig
from edge.model.decoder import RMSNorm
from edge.ops.kv_layout import cache_shapes
from edge.ops.packing import dequantize
from edge.runtime.manifest import KVCacheFormat

lowbit = torch.ops.lowbit


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


class PackedTable(nn.Module):
    """A packed [n, k] table that holds weights of the model, the rows of one below the rows of another.

    Args:
        packed: uint8 [bytes].
        rows: how many rows each weight has, by the full name of its module, in their order.
    """

    def __init__(self, packed: Tensor | None, rows: dict[str, int]) -> None:
        super().__init__()
        self.rows = rows
        self.n = sum(rows.values())
        self.packed: Tensor
        self.register_buffer("packed", packed)


class PackedLinear(PackedTable):
    """y [..., n] = x [..., k] times the table."""

    def forward(self, x: Tensor) -> Tensor:
        return lowbit.linear(x, self.packed, self.n)


class PackedLinearAdd(PackedTable):
    """residual [..., n] + x [..., k] times the table."""

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return lowbit.linear_add(x, self.packed, residual)


class PackedNormLinear(PackedTable):
    """RMSNorm(x) times the table."""

    def __init__(self, packed: Tensor, rows: dict[str, int], norm: OpRMSNorm) -> None:
        super().__init__(packed, rows)
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return lowbit.norm_linear(x, self.norm.weight, self.norm.eps, self.packed, self.n)


class PackedNormGateUp(PackedNormLinear):
    """SiLU(gate h) * (up h) of h = RMSNorm(x); the table is gate above up."""

    def forward(self, x: Tensor) -> Tensor:
        return lowbit.norm_gate_up(x, self.norm.weight, self.norm.eps, self.packed, self.n // 2)


class PackedEmbedding(PackedTable):
    """Rows of a packed [vocab, dim] table."""

    def __init__(self, packed: Tensor, rows: dict[str, int], dim: int) -> None:
        super().__init__(packed, rows)
        self.dim = dim

    def forward(self, tokens: Tensor) -> Tensor:
        return lowbit.embedding(tokens, self.packed, self.dim)


class PackedHead(PackedTable):
    """Final norm and logits from a packed [vocab, dim] table: its own, or else the embedding's."""

    def __init__(self, packed: Tensor | None, rows: dict[str, int], norm: OpRMSNorm) -> None:
        super().__init__(packed, rows)
        self.norm = norm

    def forward(self, x: Tensor, embedding: PackedEmbedding) -> Tensor:
        table = embedding if self.packed is None else self
        return lowbit.norm_linear(x, self.norm.weight, self.norm.eps, table.packed, table.n)


class JoinedLinear(nn.Linear):
    """Plain linears of one input as one, the rows of the first above those of the next; for XNNPACK."""

    def __init__(self, linears: dict[str, nn.Linear]) -> None:
        self.rows = {name: linear.out_features for name, linear in linears.items()}
        weights = [linear.weight.detach() for linear in linears.values()]
        super().__init__(weights[0].shape[1], sum(self.rows.values()), bias=False, device="meta")
        weight = weights[0] if len(weights) == 1 else torch.cat(weights)
        self.weight = nn.Parameter(weight, requires_grad=False)


class OpAttention(nn.Module):
    """RoPE, cache write and attention in one op, with the caches it writes.

    qkv [1, T, (H + 2 Hkv) * D] -> [1, T, H * D]; ``start`` may be a symbolic integer.
    """

    def __init__(self, config: ModelConfig, max_seq_len: int, kv_cache: KVCacheFormat) -> None:
        super().__init__()
        self.heads = config.n_heads
        self.op = lowbit.attention_int8 if kv_cache == "int8" else lowbit.attention
        shapes = cache_shapes(config.n_kv_heads, max_seq_len, config.head_dim, kv_cache == "int8")
        caches = {
            "k_cache": torch.zeros(shapes.keys, dtype=shapes.dtype),
            "v_cache": torch.zeros(shapes.values, dtype=shapes.dtype),
        }
        if shapes.scales is not None:
            caches |= {"k_scales": torch.zeros(shapes.scales), "v_scales": torch.zeros(shapes.scales)}
        self.cache_names = tuple(caches)
        for name, cache in caches.items():
            self.register_buffer(name, cache, persistent=False)

    def forward(self, qkv: Tensor, cos: Tensor, sin: Tensor, start: int) -> Tensor:
        return self.op(qkv, cos, sin, *self.caches(), start, self.heads)

    def caches(self) -> list[Tensor]:
        """What the op reads and writes, in its order."""
        return [self.get_buffer(name) for name in self.cache_names]


Table = PackedTable | JoinedLinear


def tables(lowered: nn.Module) -> Iterator[tuple[str, Table]]:
    """Every table of a lowered model by its full name; a tied head has none of its own."""
    for name, module in lowered.named_modules():
        if isinstance(module, PackedTable) and module.packed is None:
            continue
        if isinstance(module, PackedTable | JoinedLinear):
            yield name, module


def weights_in(table: Table) -> dict[str, Tensor]:
    """The float32 weights that a table computes with, by the full names of the modules they come from."""
    if isinstance(table, PackedTable):
        joined = dequantize(table.packed)
    else:
        weight = table.weight  # torchao's, or a plain one
        joined = weight.dequantize() if hasattr(weight, "qdata") else weight.detach()
    return dict(zip(table.rows, joined.split(list(table.rows.values())), strict=True))
