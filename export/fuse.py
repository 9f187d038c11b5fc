"""Fuse norm, activation and residual add into the linear ops: a layer becomes five calls.

Weights of one input share a table, the rows of one above the rows of the next. Each row is computed by
itself, so sharing changes no result.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edge.model.decoder import Attention, Layer, RMSNorm
from edge.ops.packed_header import ROWS_PER_BLOCK
from edge.quantizers.base import grid_of
from export.modules import (
    OpAttention,
    OpRMSNorm,
    OpSiluMul,
    PackedLinear,
    PackedLinearAdd,
    PackedNormGateUp,
    PackedNormLinear,
)
from export.tables import JoinedLinear, Linears, pack_linears


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


def packed_layer(name: str, layer: Layer, cores: Sequence[OpAttention]) -> FusedLayer:
    """Lower a layer to native ops on packed tables.

    q, k and v share a table if they share a grid. So do gate and up, if gate's rows are a whole number of
    blocks of 16: the op works on blocks, and must find where up begins.
    """
    qkv, out, gate_up, down = _linears(name, layer)
    fused_qkv: nn.Module
    if _one_grid(qkv):
        fused_qkv = PackedNormLinear(pack_linears(qkv), _rows(qkv), layer.input_layernorm)
    else:
        fused_qkv = NormCat(OpRMSNorm(layer.input_layernorm), _packed_linears(qkv))
    fused_gate_up: nn.Module
    if _one_grid(gate_up) and layer.mlp.gate_proj.out_features % ROWS_PER_BLOCK == 0:
        fused_gate_up = PackedNormGateUp(
            pack_linears(gate_up), _rows(gate_up), layer.post_attention_layernorm
        )
    else:
        fused_gate_up = NormGateUp(OpRMSNorm(layer.post_attention_layernorm), *_packed_linears(gate_up))
    return FusedLayer(
        fused_qkv,
        between_qkv_and_rope(layer.self_attn),
        cores,
        PackedLinearAdd(pack_linears(out), _rows(out)),
        fused_gate_up,
        PackedLinearAdd(pack_linears(down), _rows(down)),
    )


def joined_layer(name: str, layer: Layer, cores: Sequence[OpAttention]) -> FusedLayer:
    """Lower a layer to plain linears for XNNPACK; q, k and v are one, because attention reads one tensor."""
    qkv, out, gate_up, down = _linears(name, layer)
    gate, up = ({part: linear} for part, linear in gate_up.items())
    return FusedLayer(
        nn.Sequential(OpRMSNorm(layer.input_layernorm), JoinedLinear(qkv)),
        between_qkv_and_rope(layer.self_attn),
        cores,
        AddLinear(JoinedLinear(out)),
        NormGateUp(OpRMSNorm(layer.post_attention_layernorm), JoinedLinear(gate), JoinedLinear(up)),
        AddLinear(JoinedLinear(down)),
    )


def _linears(name: str, layer: Layer) -> tuple[Linears, Linears, Linears, Linears]:
    """The layer's linears by full name: those of qkv, out, gate_up and down."""
    attention, mlp = f"{name}.self_attn", f"{name}.mlp"
    q, k, v = layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj
    return (
        {f"{attention}.q_proj": q, f"{attention}.k_proj": k, f"{attention}.v_proj": v},
        {f"{attention}.o_proj": layer.self_attn.o_proj},
        {f"{mlp}.gate_proj": layer.mlp.gate_proj, f"{mlp}.up_proj": layer.mlp.up_proj},
        {f"{mlp}.down_proj": layer.mlp.down_proj},
    )


def _one_grid(linears: Linears) -> bool:
    return len({grid_of(linear) for linear in linears.values()}) == 1


def _rows(linears: Linears) -> dict[str, int]:
    return {name: linear.out_features for name, linear in linears.items()}


def _packed_linears(linears: Linears) -> list[PackedLinear]:
    parts = [{name: linear} for name, linear in linears.items()]
    return [PackedLinear(pack_linears(part), _rows(part)) for part in parts]
