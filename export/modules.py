"""The model's parts as calls of the native ops ``torch.ops.lowbit``.

Every module here calls its ``op`` once in a forward pass, so that a program's calls can be counted.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

import edge.ops  # noqa: F401  registers torch.ops.lowbit
from edge.model.config import ModelConfig
from edge.model.decoder import Decoder, GateMul, RMSNorm
from edge.ops.kv_layout import CACHE_BITS, WINDOW_ROOM, cache_shapes
from edge.runtime.manifest import KVCacheFormat
from export.tables import PackedTable, TablePlan, untouched_zeros

lowbit = torch.ops.lowbit

_ATTENTION: dict[KVCacheFormat, Any] = {
    "fp32": lowbit.attention,
    "int8": lowbit.attention_int8,
    "int4": lowbit.attention_int4,
}


_ELASTIC = {
    lowbit.linear: lowbit.elastic_linear,
    lowbit.norm_linear: lowbit.elastic_norm_linear,
    lowbit.norm_gate_up: lowbit.elastic_norm_gate_up,
    lowbit.linear_add: lowbit.elastic_linear_add,
}


class OpModule(nn.Module):
    """A module whose forward pass is one call of ``op``."""

    op: Any  # an op of torch.ops.lowbit


class OpRMSNorm(OpModule):
    """RMSNorm(x) of x [..., dim]."""

    op = lowbit.rms_norm

    def __init__(self, norm: RMSNorm) -> None:
        super().__init__()
        self.eps = norm.eps
        self.weight: Tensor
        self.register_buffer("weight", norm.weight.detach())

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x, self.weight, self.eps)


class OpGateMul(OpModule):
    """activation(gate) * up, both [..., ffn]."""

    op = lowbit.gate_mul

    def __init__(self, gate: GateMul) -> None:
        super().__init__()
        self.gelu = gate.activation == "gelu"

    def forward(self, gate: Tensor, up: Tensor) -> Tensor:
        return self.op(gate, up, self.gelu)


class PackedOp(PackedTable, OpModule):
    """A table and the op that multiplies by it; elastic weights have ops of their own."""

    def __init__(self, plan: TablePlan) -> None:
        super().__init__(plan)
        if self.is_elastic:
            self.op = _ELASTIC[self.op]


class PackedLinear(PackedOp):
    """y [..., n] = x [..., k] times the table."""

    op = lowbit.linear

    def forward(self, x: Tensor) -> Tensor:
        return self.op(self.ordered(x), *self.arguments(), self.n)


class PackedLinearAdd(PackedOp):
    """residual [..., n] + x [..., k] times the table."""

    op = lowbit.linear_add

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.op(self.ordered(x), *self.arguments(), residual)


class PackedNormTable(PackedOp):
    """A table and the RMSNorm of its input, which may come in another order: a norm does not depend on it."""

    def __init__(self, plan: TablePlan, norm: RMSNorm) -> None:
        super().__init__(plan)
        self.eps = norm.eps
        self.norm_weight: Tensor
        self.register_buffer("norm_weight", self.ordered(norm.weight.detach()))


class PackedNormLinear(PackedNormTable):
    """RMSNorm(x) times the table."""

    op = lowbit.norm_linear

    def forward(self, x: Tensor) -> Tensor:
        return self.op(self.ordered(x), self.norm_weight, self.eps, *self.arguments(), self.n)


class PackedNormGateUp(PackedNormTable):
    """activation(gate h) * (up h) of h = RMSNorm(x); the table is gate above up."""

    op = lowbit.norm_gate_up

    def __init__(self, plan: TablePlan, norm: RMSNorm, gate: GateMul) -> None:
        super().__init__(plan, norm)
        self.gelu = gate.activation == "gelu"

    def forward(self, x: Tensor) -> Tensor:
        x = self.ordered(x)
        return self.op(x, self.norm_weight, self.eps, *self.arguments(), self.n // 2, self.gelu)


class PackedEmbedding(PackedTable, OpModule):
    """Rows of a packed [vocab, dim] table."""

    op = lowbit.embedding

    def __init__(self, plan: TablePlan) -> None:
        super().__init__(plan)
        assert plan.header is not None
        self.dim = plan.header.k

    def forward(self, tokens: Tensor) -> Tensor:
        return self.op(tokens, self.packed, self.dim)


class PackedHead(PackedNormTable):
    """Final norm and logits, from a packed [vocab, dim] table of its own or the embedding's if tied."""

    op = lowbit.norm_linear

    def forward(self, x: Tensor, embedding: PackedEmbedding) -> Tensor:
        table = embedding if self.header is None else self
        return self.op(self.ordered(x), self.norm_weight, self.eps, table.packed, table.n)


class OpAttention(OpModule):
    """RoPE, KV cache and causal attention in one op; the cache belongs to the module.

    qkv [1, T, (H + 2 Hkv) * D] -> [1, T, H * D]; ``start`` may be a symbolic integer. The cache of a layer
    with a window has room for the window, and for the tokens of a prefill that are processed together.
    """

    def __init__(self, config: ModelConfig, layer: int, max_seq_len: int, kv_cache: KVCacheFormat) -> None:
        super().__init__()
        self.heads, self.window, self.cap = config.n_heads, config.window_of(layer), config.attention_cap
        if self.window:
            max_seq_len = min(max_seq_len, self.window + WINDOW_ROOM)
        self.op = _ATTENTION[kv_cache]
        shapes = cache_shapes(config.n_kv_heads, max_seq_len, config.head_dim, CACHE_BITS[kv_cache])
        caches = {
            "k_cache": untouched_zeros(shapes.keys, shapes.dtype),
            "v_cache": untouched_zeros(shapes.values, shapes.dtype),
        }
        if shapes.scales is not None:
            caches |= {f"{kind}_scales": untouched_zeros(shapes.scales, torch.float32) for kind in "kv"}
        self.cache_names = tuple(caches)
        for name, cache in caches.items():
            self.register_buffer(name, cache, persistent=False)

    def forward(self, qkv: Tensor, cos: Tensor, sin: Tensor, start: int) -> Tensor:
        return self.op(qkv, cos, sin, *self.caches(), start, self.heads, self.window, self.cap)

    def caches(self) -> list[Tensor]:
        """The tensors that the op reads and writes, in its order."""
        return [self.get_buffer(name) for name in self.cache_names]


def op_calls(lowered: Decoder) -> Counter[str]:
    """Count the calls of native ops in one forward pass of a lowered model, by op (``lowbit.linear``).

    A layer that is run twice calls its ops twice, but has an attention module for each pass.
    """
    passes = lowered.config.passes_per_layer
    calls: Counter[str] = Counter()
    for name, module in lowered.named_modules():
        if isinstance(module, OpModule):
            repeated = name.startswith("layers.") and not isinstance(module, OpAttention)
            calls[str(module.op)] += passes if repeated else 1
    return calls
