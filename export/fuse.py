"""Fuse norm, activation and residual add into the linear ops: a layer becomes five calls.

Weights of one input share a table, the rows of one above the rows of the next. Each row is computed by
itself, so sharing changes no result.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edge.formats.elastic import LOW, MIDDLE
from edge.model.decoder import Attention, GateMul, Layer, RMSNorm
from edge.ops.packed_header import ROWS_PER_BLOCK
from export.modules import (
    OpAttention,
    OpGateMul,
    OpRMSNorm,
    PackedLinear,
    PackedLinearAdd,
    PackedNormGateUp,
    PackedNormLinear,
)
from export.tables import ElasticRest, JoinedLinear, TablePlan
from export.weights import ModelWeights


class FusedLayer(nn.Module):
    """A decoder layer; the residual stream x is [1, T, dim].

    Args:
        qkv: x -> queries, keys and values [1, T, (H + 2 Hkv) * D] of the normalised x.
        cores: one attention per pass, each with its cache.
        between: what the model does with queries, keys and values before RoPE.
        out, down: (h, x) -> x plus a linear of h.
        gate_up: x -> activation(gate) * up [1, T, ffn] of the normalised x.
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


class NormQueriesAndKeys(nn.Module):
    """RMSNorm of queries and keys in qkv [1, T, (H + 2 Hkv) * D], each as a whole; values stay."""

    def __init__(self, q_norm: RMSNorm, k_norm: RMSNorm) -> None:
        super().__init__()
        self.q_norm, self.k_norm = OpRMSNorm(q_norm), OpRMSNorm(k_norm)
        self.widths = [len(q_norm.weight), len(k_norm.weight), len(k_norm.weight)]

    def forward(self, qkv: Tensor) -> Tensor:
        q, k, v = qkv.split(self.widths, dim=2)
        return torch.cat((self.q_norm(q), self.k_norm(k), v), dim=2)


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
    q_norm, k_norm = attention.q_norm, attention.k_norm
    if isinstance(q_norm, RMSNorm) and isinstance(k_norm, RMSNorm):
        rows = attention.q_proj.out_features, attention.k_proj.out_features
        heads, kv_heads = (count // attention.head_dim for count in rows)
        by_head = attention.norms_heads
        parts.append(
            NormHeads(q_norm, k_norm, heads, kv_heads) if by_head else NormQueriesAndKeys(q_norm, k_norm)
        )
    return nn.Sequential(*parts)


class NormCat(nn.Module):
    """Linears of one normalised input, side by side."""

    def __init__(self, norm: nn.Module, linears: Sequence[nn.Module]) -> None:
        super().__init__()
        self.norm = norm
        self.linears = nn.ModuleList(linears)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return torch.cat([linear(x) for linear in self.linears], dim=-1)


class NormGateUp(nn.Module):
    """activation(gate h) * (up h) of h = RMSNorm(x), as separate ops."""

    def __init__(self, norm: nn.Module, gate: nn.Module, up: nn.Module, activation: OpGateMul) -> None:
        super().__init__()
        self.norm, self.gate, self.up, self.activation = norm, gate, up, activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.activation(self.gate(x), self.up(x))


class AddLinear(nn.Module):
    """residual + norm(a linear of x), as separate ops."""

    def __init__(self, linear: nn.Module, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.linear, self.norm = linear, norm or nn.Identity()

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return residual + self.norm(self.linear(x))


def packed_layer(name: str, layer: Layer, cores: Sequence[OpAttention], weights: ModelWeights) -> FusedLayer:
    """Lower a layer to native ops on packed tables.

    q, k and v share a table if they have one form: encoding, groups, kind of zero, order of columns. So do
    gate and up, if gate's rows are a whole number of blocks of 16: the op works on blocks, and must find
    where up begins.
    """
    qkv, out, gate_up, down = _linears(name)
    before_attention, after_attention, before_mlp, after_mlp = layer.norms()
    return FusedLayer(
        _packed_qkv(qkv, before_attention, weights),
        between_qkv_and_rope(layer.self_attn),
        cores,
        _packed_add(out, after_attention, weights),
        _packed_gate_up(gate_up, before_mlp, layer.mlp.activation, weights),
        _packed_add(down, after_mlp, weights),
    )


def _packed_qkv(names: list[str], norm: RMSNorm | None, weights: ModelWeights) -> nn.Module:
    if not _one_form(names, weights):
        return NormCat(_op(norm), _packed_linears(names, weights))
    if norm is None:
        return PackedLinear(_table(names, weights))
    return PackedNormLinear(_table(names, weights), norm)


def _packed_gate_up(
    names: list[str], norm: RMSNorm | None, activation: GateMul, weights: ModelWeights
) -> nn.Module:
    whole_blocks = weights.config.ffn_dim % ROWS_PER_BLOCK == 0
    if norm is not None and whole_blocks and _one_form(names, weights):
        return PackedNormGateUp(_table(names, weights), norm, activation)
    gate, up = _packed_linears(names, weights)
    return NormGateUp(_op(norm), gate, up, OpGateMul(activation))


def _packed_add(names: list[str], norm: RMSNorm | None, weights: ModelWeights) -> nn.Module:
    if norm is None:
        return PackedLinearAdd(_table(names, weights))
    return AddLinear(PackedLinear(_table(names, weights)), _op(norm))


def _op(norm: RMSNorm | None) -> nn.Module:
    return nn.Identity() if norm is None else OpRMSNorm(norm)


def joined_layer(name: str, layer: Layer, cores: Sequence[OpAttention], weights: ModelWeights) -> FusedLayer:
    """Lower a layer to plain linears for XNNPACK; q, k and v are one, because attention reads one tensor."""
    qkv, out, gate_up, down = _linears(name)
    before_attention, after_attention, before_mlp, after_mlp = map(_op, layer.norms())
    gate, up = (JoinedLinear([part], weights) for part in gate_up)
    return FusedLayer(
        nn.Sequential(before_attention, JoinedLinear(qkv, weights)),
        between_qkv_and_rope(layer.self_attn),
        cores,
        AddLinear(JoinedLinear(out, weights), after_attention),
        NormGateUp(before_mlp, gate, up, OpGateMul(layer.mlp.activation)),
        AddLinear(JoinedLinear(down, weights), after_mlp),
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


def _one_form(names: Sequence[str], weights: ModelWeights) -> bool:
    return len({weights.form(name) for name in names}) == 1


def _table(names: Sequence[str], weights: ModelWeights) -> TablePlan:
    """Plan the table of some linears of one layer and one form."""
    rows = {name: weights.shape(name)[0] for name in names}
    return TablePlan(weights.header(names), rows, weights.order(names[0]), _rest(names, weights))


def _rest(names: Sequence[str], weights: ModelWeights) -> ElasticRest | None:
    """Plan the other tables of elastic weights."""
    if not weights.is_elastic(names[0]):
        return None
    middle, low = (weights.header([name + part for name in names]) for part in (MIDDLE, LOW))
    layer = int(names[0].removeprefix("layers.").split(".")[0])
    return ElasticRest(middle, low, weights.widths, layer)


def _packed_linears(names: Sequence[str], weights: ModelWeights) -> list[PackedLinear]:
    return [PackedLinear(_table([name], weights)) for name in names]
