"""A layer of the model as five calls: what stands in front of a product and behind it goes into its op.

Where weights share an input they share a table, the rows of one below the rows of another. A row knows
nothing of its neighbours, so joining changes no number.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edge.checkpoints.convert import format_of
from edge.model.decoder import Layer
from edge.ops.packing import ROWS_PER_BLOCK, pack_codes, pack_half
from edge.quantizers.paretoq import QATLinear
from export.modules import (
    JoinedLinear,
    OpAttention,
    OpRMSNorm,
    OpSiluMul,
    PackedLinear,
    PackedLinearAdd,
    PackedNormGateUp,
    PackedNormLinear,
)

Linears = dict[str, nn.Linear]  # by full name, in the order of their rows


class FusedLayer(nn.Module):
    """A decoder layer; the residual stream x is [1, T, dim].

    Args:
        qkv: x -> queries, keys and values [1, T, (H + 2 Hkv) * D] of the normalised x.
        cores: one attention per pass, each with its cache.
        out, down: (h, x) -> x plus a linear of h.
        gate_up: x -> SiLU(gate) * up [1, T, ffn] of the normalised x.
    """

    def __init__(
        self,
        qkv: nn.Module,
        cores: Sequence[OpAttention],
        out: nn.Module,
        gate_up: nn.Module,
        down: nn.Module,
    ) -> None:
        super().__init__()
        self.qkv, self.out, self.gate_up, self.down = qkv, out, gate_up, down
        self.cores = nn.ModuleList(cores)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, start: int, pass_index: int) -> Tensor:
        heads = self.cores[pass_index](self.qkv(x), cos, sin, start)
        x = self.out(heads, x)
        return self.down(self.gate_up(x), x)


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
    def __init__(self, norm: OpRMSNorm, gate: nn.Module, up: nn.Module) -> None:
        super().__init__()
        self.norm, self.gate, self.up = norm, gate, up
        self.activation = OpSiluMul()

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.activation(self.gate(x), self.up(x))


class AddLinear(nn.Module):
    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return residual + self.linear(x)


def packed_layer(name: str, layer: Layer, cores: Sequence[OpAttention]) -> FusedLayer:
    """A layer of native ops on packed tables.

    q, k and v share a table where they share a format; gate and up too, where the op can also tell their
    rows apart: it works on blocks of 16, so neither may end inside one.
    """
    qkv, out, gate_up, down = _linears(name, layer)
    before_attention, before_mlp = OpRMSNorm(layer.input_layernorm), OpRMSNorm(layer.post_attention_layernorm)
    fused_qkv: nn.Module
    if _one_format(qkv):
        fused_qkv = PackedNormLinear(pack(qkv), _rows(qkv), before_attention)
    else:
        fused_qkv = NormCat(before_attention, _packed_linears(qkv))
    fused_gate_up: nn.Module
    if _one_format(gate_up) and layer.mlp.gate_proj.out_features % ROWS_PER_BLOCK == 0:
        fused_gate_up = PackedNormGateUp(pack(gate_up), _rows(gate_up), before_mlp)
    else:
        fused_gate_up = NormGateUp(before_mlp, *_packed_linears(gate_up))
    return FusedLayer(
        fused_qkv,
        cores,
        PackedLinearAdd(pack(out), _rows(out)),
        fused_gate_up,
        PackedLinearAdd(pack(down), _rows(down)),
    )


def joined_layer(name: str, layer: Layer, cores: Sequence[OpAttention]) -> FusedLayer:
    """The same layer of plain linears, for XNNPACK: attention reads q, k and v from one tensor here too."""
    qkv, out, gate_up, down = _linears(name, layer)
    gate, up = ({part: linear} for part, linear in gate_up.items())
    return FusedLayer(
        nn.Sequential(OpRMSNorm(layer.input_layernorm), JoinedLinear(qkv)),
        cores,
        AddLinear(JoinedLinear(out)),
        NormGateUp(OpRMSNorm(layer.post_attention_layernorm), JoinedLinear(gate), JoinedLinear(up)),
        AddLinear(JoinedLinear(down)),
    )


def pack(linears: Linears) -> Tensor:
    """The packed table of linears of one format: the trained grid where they have one, else half precision.

    Raises:
        ValueError: a weight or scale that the table cannot hold; names the linears.
    """
    try:
        if any(not isinstance(linear, QATLinear) for linear in linears.values()):
            return pack_half(torch.cat([linear.weight.detach() for linear in linears.values()]))
        trained = [linear for linear in linears.values() if isinstance(linear, QATLinear)]
        codes, alphas = ([linear.codes() for linear in trained], [linear.scales() for linear in trained])
        return pack_codes(torch.cat(codes), torch.cat(alphas), trained[0].fmt)
    except ValueError as error:
        raise ValueError(f"{', '.join(linears)}: {error}") from error


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


def _one_format(linears: Linears) -> bool:
    return len({format_of(linear) for linear in linears.values()}) == 1


def _rows(linears: Linears) -> dict[str, int]:
    return {name: linear.out_features for name, linear in linears.items()}


def _packed_linears(linears: Linears) -> list[PackedLinear]:
    parts = [{name: linear} for name, linear in linears.items()]
    return [PackedLinear(pack(part), _rows(part)) for part in parts]
