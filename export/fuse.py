"""Fuse norm, activation and residual add into the linear ops: a layer becomes five calls.

Weights of one input share a table, the rows of one above the rows of the next. Each row is computed by
itself, so sharing changes no result.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edge.model.decoder import Attention, Layer, RMSNorm
from edge.ops.packed_header import ROWS_PER_BLOCK, PackedHeader
from export.modules import (
    OpAttention,
    OpRMSNorm,
    OpSiluMul,
    PackedLinear,
    PackedLinearAdd,
    PackedNormGateUp,
    PackedNormLinear,
)
from export.tables import JoinedLinear
from export.weights import ModelWeights


class FusedLayer(nn.Module):
    """A decoder layer; the residual stream x is [1, T, dim].

    Args:
        qkv: x -> queries, keys and values [1, T, (H + 2 Hkv) * D] of the normalised x.
        cores: one attention per pass, each with its cache.
        between: what the model does with queries, keys and values before RoPE.
        out, down: (h, x) -> x plus a linear of h.
        gate_up: x -> SiLU(gate) * up [1, T, ffn] of the normalised x.
    """

    def __init__(
        self,
        qkv: nn.Module,
        between: nn.Module,
        cores: Sequence[OpAttention],
        out: nn.Module,
        gate_up: nn.Module,
        down: nn.Module,
    ) -> None:
        super().__init__()
        self.qkv, self.between, self.out, self.gate_up, self.down = qkv, between, out, gate_up, down
        self.cores = nn.ModuleList(cores)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, start: int, pass_index: int) -> Tensor:
        heads = self.cores[pass_index](self.between(self.qkv(x)), cos, sin, start)
        x = self.out(heads, x)
        return self.down(self.gate_up(x), x)


class AddBias(nn.Module):
    """x [..., n] + bias [n]."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias: Tensor
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class NormHeads(nn.Module):
    """RMSNorm of each head of queries and keys in qkv [1, T, (H + 2 Hkv) * D]; values stay."""

    def __init__(self, q_norm: RMSNorm, k_norm: RMSNorm, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.q_norm, self.k_norm = OpRMSNorm(q_norm), OpRMSNorm(k_norm)
        self.counts = [heads, kv_heads, kv_heads]

    def forward(self, qkv: Tensor) -> Tensor:
        q, k, v = qkv.unflatten(-1, (sum(self.counts), -1)).split(self.counts, dim=2)  # [1, T, heads, D]
        return torch.cat((self.q_norm(q), self.k_norm(k), v), dim=2).flatten(2)


def between_qkv_and_rope(attention: Attention) -> nn.Module:
    """Lower biases and head norms, if any, of queries, keys and values [1, T, (H + 2 Hkv) * D]."""
    parts: list[nn.Module] = []
    if (bias := attention.qkv_bias()) is not None:
        parts.append(AddBias(bias))
    if isinstance(attention.q_norm, RMSNorm) and isinstance(attention.k_norm, RMSNorm):
        rows = attention.q_proj.out_features, attention.k_proj.out_features
        heads, kv_heads = (count // attention.head_dim for count in rows)
        parts.append(NormHeads(attention.q_norm, attention.k_norm, heads, kv_heads))
    return nn.Sequential(*parts)


class NormCat(nn.Module):
    """Linears of one normalised input, side by side."""

    def __init__(self, norm: OpRMSNorm, linears: Sequence[nn.Module]) -> None:
        super().__init__()
        self.norm = norm
        self.linears = nn.ModuleList(linears)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return torch.cat([linear(x) for linear in self.linears], dim=-1)


class NormGateUp(nn.Module):
    """SiLU(gate h) * (up h) of h = RMSNorm(x), as four ops."""

    def __init__(self, norm: OpRMSNorm, gate: nn.Module, up: nn.Module) -> None:
        super().__init__()
        self.norm, self.gate, self.up = norm, gate, up
        self.activation = OpSiluMul()

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.activation(self.gate(x), self.up(x))


class AddLinear(nn.Module):
    """residual + a linear of x, as two ops."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return residual + self.linear(x)


def packed_layer(name: str, layer: Layer, cores: Sequence[OpAttention], weights: ModelWeights) -> FusedLayer:
    """Lower a layer to native ops on packed tables.

    q, k and v share a table if they share a grid. So do gate and up, if gate's rows are a whole number of
    blocks of 16: the op works on blocks, and must find where up begins.
    """
    qkv, out, gate_up, down = _linears(name)
    fused_qkv: nn.Module
    if _one_grid(qkv, weights):
        fused_qkv = PackedNormLinear(*_table(qkv, weights), layer.input_layernorm)
    else:
        fused_qkv = NormCat(OpRMSNorm(layer.input_layernorm), _packed_linears(qkv, weights))
    fused_gate_up: nn.Module
    if _one_grid(gate_up, weights) and weights.config.ffn_dim % ROWS_PER_BLOCK == 0:
        fused_gate_up = PackedNormGateUp(*_table(gate_up, weights), layer.post_attention_layernorm)
    else:
        norm = OpRMSNorm(layer.post_attention_layernorm)
        fused_gate_up = NormGateUp(norm, *_packed_linears(gate_up, weights))
    return FusedLayer(
        fused_qkv,
        between_qkv_and_rope(layer.self_attn),
        cores,
        PackedLinearAdd(*_table(out, weights)),
        fused_gate_up,
        PackedLinearAdd(*_table(down, weights)),
    )


def joined_layer(name: str, layer: Layer, cores: Sequence[OpAttention], weights: ModelWeights) -> FusedLayer:
    """Lower a layer to plain linears for XNNPACK; q, k and v are one, because attention reads one tensor."""
    qkv, out, gate_up, down = _linears(name)
    return FusedLayer(
        nn.Sequential(OpRMSNorm(layer.input_layernorm), JoinedLinear(qkv, weights)),
        between_qkv_and_rope(layer.self_attn),
        cores,
        AddLinear(JoinedLinear(out, weights)),
        NormGateUp(
            OpRMSNorm(layer.post_attention_layernorm), *(JoinedLinear([part], weights) for part in gate_up)
        ),
        AddLinear(JoinedLinear(down, weights)),
    )


def _linears(name: str) -> tuple[list[str], list[str], list[str], list[str]]:
    """Full names of a layer's linears: those of qkv, out, gate_up and down."""
    attention, mlp = f"{name}.self_attn", f"{name}.mlp"
    return (
        [f"{attention}.{part}_proj" for part in "qkv"],
        [f"{attention}.o_proj"],
        [f"{mlp}.gate_proj", f"{mlp}.up_proj"],
        [f"{mlp}.down_proj"],
    )


def _one_grid(names: Sequence[str], weights: ModelWeights) -> bool:
    return len({weights.grid(name) for name in names}) == 1


def _table(names: Sequence[str], weights: ModelWeights) -> tuple[PackedHeader, dict[str, int]]:
    """The header of the table of some linears, and their rows in it."""
    return weights.header(names), {name: weights.shape(name)[0] for name in names}


def _packed_linears(names: Sequence[str], weights: ModelWeights) -> list[PackedLinear]:
    return [PackedLinear(*_table([name], weights)) for name in names]
