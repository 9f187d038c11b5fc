"""The ops as PyTorch and ExecuTorch see them: schemas, shape functions, CPU implementations.

Namespace ``lowbit``. Each op has a functional form and an ``.out`` form; ``to_edge`` pairs them, and
``csrc/executorch/register_ops.cc`` implements the second. Shapes and dtypes::

    linear(x float32 [..., k], packed uint8 [bytes] of an [n, k] table, n) -> float32 [..., n]
    norm_linear(x, norm_weight float32 [k], eps, packed, n) = linear(rms_norm(x, norm_weight, eps), packed, n)
    norm_gate_up(x, norm_weight, eps, packed of a [2n, k] table [gate; up], n, gelu) -> float32 [..., n]
        = gate_mul of the two halves of norm_linear; n a multiple of 16
    linear_add(x, packed, residual float32 [..., n]) = residual + linear(x, packed, n)
    elastic_linear(x, base, middle, low uint8 [bytes], the three tables of an elastic [n, k] weight,
                   widths uint8 [layers], layer, n) -> float32 [..., n]
        = linear with the slice of widths[layer] bits, 2 to 8; 0 is 8. elastic_norm_linear,
        elastic_norm_gate_up and elastic_linear_add likewise. ``widths`` is only read; it is declared as
        written so that ExecuTorch keeps it in memory that can be written between tokens
    embedding(tokens int64 [...], packed uint8 [bytes] of a [vocabulary, dim] table, dim)
        -> float32 [..., dim]
    rms_norm(x float32 [..., dim], weight float32 [dim], eps) -> float32 [..., dim]
    gate_mul(gate float32 [...], up float32 [...], gelu) -> float32 [...] = SiLU(gate) * up, or with gelu
        GELU(gate) * up, by its tanh form
    attention(qkv float32 [1, T, (H + 2 Hkv) D]: q heads, k heads, v heads, before RoPE,
              cos, sin float32 [max_seq or more, D/2], k_cache float32 [Hkv, S/16, D, 16],
              v_cache float32 [Hkv, S, D], start_pos, heads, window, cap) -> float32 [1, T, H D]; writes
        positions start_pos .. start_pos + T of the caches, then attends causally with scores scaled by
        1/sqrt(D). A window of W > 0 positions: a token sees itself and the W - 1 before it, and position p is
        at p mod S of the caches, S >= W. A cap C > 0: scores s become C * tanh(s / C)
    attention_int8(qkv, cos, sin, k_cache int8 [Hkv, S/16, D/4, 16, 4], v_cache int8 [Hkv, S/4, D, 4],
                   k_scales, v_scales float32 [Hkv, S], start_pos, heads, window, cap) -> float32 [1, T, H D]
    attention_int4(the same, k_cache uint8 [Hkv, S/16, D/8, 16, 4], v_cache uint8 [Hkv, S/4, D/2, 4])

S, the positions that a cache has room for, is a multiple of 64; ``kv_layout.py`` gives the shapes.
A fused op has the bits of the ops it stands for. Bad shapes, ids, positions and damaged tables raise
ValueError in eager PyTorch and fail the method in ExecuTorch. ``reference.py`` says in slow Python what
each op computes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edge.ops import elastic, native

# A plain fragment and not torch.library.custom_op: its ops would be wrapped in higher-order calls
# that to_edge does not pair with out-variants. Module-level, because the ops live as long as it does.
_LIBRARY = torch.library.Library("lowbit", "FRAGMENT")

_INTEGER_ATTENTION = (
    "Tensor qkv, Tensor cos, Tensor sin, Tensor(a!) k_cache, Tensor(b!) v_cache, "
    "Tensor(c!) k_scales, Tensor(d!) v_scales, SymInt start_pos, int heads, int window=0, float cap=0.0"
)
_ELASTIC = "Tensor base, Tensor middle, Tensor low, Tensor(a!) widths, int layer"
_SCHEMAS = {
    "linear": "Tensor x, Tensor packed, int n",
    "norm_linear": "Tensor x, Tensor norm_weight, float eps, Tensor packed, int n",
    "norm_gate_up": "Tensor x, Tensor norm_weight, float eps, Tensor packed, int n, bool gelu=False",
    "linear_add": "Tensor x, Tensor packed, Tensor residual",
    "elastic_linear": f"Tensor x, {_ELASTIC}, int n",
    "elastic_norm_linear": f"Tensor x, Tensor norm_weight, float eps, {_ELASTIC}, int n",
    "elastic_norm_gate_up": f"Tensor x, Tensor norm_weight, float eps, {_ELASTIC}, int n, bool gelu=False",
    "elastic_linear_add": f"Tensor x, {_ELASTIC}, Tensor residual",
    "embedding": "Tensor tokens, Tensor packed, int dim",
    "rms_norm": "Tensor x, Tensor weight, float eps",
    "gate_mul": "Tensor gate, Tensor up, bool gelu=False",
    "attention": "Tensor qkv, Tensor cos, Tensor sin, Tensor(a!) k_cache, Tensor(b!) v_cache, "
    "SymInt start_pos, int heads, int window=0, float cap=0.0",
    "attention_int8": _INTEGER_ATTENTION,
    "attention_int4": _INTEGER_ATTENTION,
}


def _linear_shape(x: Tensor, packed: Tensor, n: int) -> Tensor:
    return x.new_empty([*x.shape[:-1], n])


def _norm_linear_shape(x: Tensor, norm_weight: Tensor, eps: float, packed: Tensor, n: int) -> Tensor:
    return x.new_empty([*x.shape[:-1], n])


def _norm_gate_up_shape(
    x: Tensor, norm_weight: Tensor, eps: float, packed: Tensor, n: int, gelu: bool = False
) -> Tensor:
    return x.new_empty([*x.shape[:-1], n])


def _linear_add_shape(x: Tensor, packed: Tensor, residual: Tensor) -> Tensor:
    return residual.new_empty(residual.shape)


def _elastic_linear_shape(
    x: Tensor, base: Tensor, middle: Tensor, low: Tensor, widths: Tensor, layer: int, n: int
) -> Tensor:
    return x.new_empty([*x.shape[:-1], n])


def _elastic_norm_linear_shape(
    x: Tensor,
    norm_weight: Tensor,
    eps: float,
    base: Tensor,
    middle: Tensor,
    low: Tensor,
    widths: Tensor,
    layer: int,
    n: int,
    gelu: bool = False,
) -> Tensor:
    return x.new_empty([*x.shape[:-1], n])


def _elastic_linear_add_shape(
    x: Tensor, base: Tensor, middle: Tensor, low: Tensor, widths: Tensor, layer: int, residual: Tensor
) -> Tensor:
    return residual.new_empty(residual.shape)


def _embedding_shape(tokens: Tensor, packed: Tensor, dim: int) -> Tensor:
    return tokens.new_empty([*tokens.shape, dim], dtype=torch.float32)


def _rms_norm_shape(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x.new_empty(x.shape)


def _gate_mul_shape(gate: Tensor, up: Tensor, gelu: bool = False) -> Tensor:
    return gate.new_empty(gate.shape)


def _attention_shape(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    start_pos: int,
    heads: int,
    window: int = 0,
    cap: float = 0.0,
) -> Tensor:
    head_dim = native.attention_sizes(qkv, cos, sin, [k_cache, v_cache], heads, 32).head_dim
    return qkv.new_empty([1, qkv.shape[1], heads * head_dim])


def _integer_attention_shape(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    k_scales: Tensor,
    v_scales: Tensor,
    start_pos: int,
    heads: int,
    window: int = 0,
    cap: float = 0.0,
) -> Tensor:
    caches = [k_cache, v_cache, k_scales, v_scales]
    bits = 4 if k_cache.dtype == torch.uint8 else 8
    head_dim = native.attention_sizes(qkv, cos, sin, caches, heads, bits).head_dim
    return qkv.new_empty([1, qkv.shape[1], heads * head_dim])


_SHAPES: dict[str, Callable[..., Tensor]] = {
    "linear": _linear_shape,
    "norm_linear": _norm_linear_shape,
    "norm_gate_up": _norm_gate_up_shape,
    "linear_add": _linear_add_shape,
    "elastic_linear": _elastic_linear_shape,
    "elastic_norm_linear": _elastic_norm_linear_shape,
    "elastic_norm_gate_up": _elastic_norm_linear_shape,
    "elastic_linear_add": _elastic_linear_add_shape,
    "embedding": _embedding_shape,
    "rms_norm": _rms_norm_shape,
    "gate_mul": _gate_mul_shape,
    "attention": _attention_shape,
    "attention_int8": _integer_attention_shape,
    "attention_int4": _integer_attention_shape,
}


def _register_all() -> None:
    for name, arguments in _SCHEMAS.items():
        _LIBRARY.define(f"{name}({arguments}) -> Tensor")
        _LIBRARY.define(f"{name}.out({arguments}, *, Tensor(z!) out) -> Tensor(z!)")
        _LIBRARY.impl(name, getattr(elastic if name.startswith("elastic") else native, name), "CPU")
        torch.library.register_fake(f"lowbit::{name}", _SHAPES[name], lib=_LIBRARY)


_register_all()
