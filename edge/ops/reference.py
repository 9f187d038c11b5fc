"""What every op computes, slowly and readably. The tests hold the native ops to these.

Integers are computed in int64 without any packing tricks and must agree exactly. Float steps follow
the order that ``csrc`` documents, in float32; where numpy's exp differs from the native one the
tests state the bound.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from edge.ops.packing import read_header, unpack

_F32 = np.float32


def quantize_activations(x: Tensor) -> tuple[Tensor, Tensor]:
    """x float32 [tokens, k] -> q int64 [tokens, k], scale float32 [tokens]; symmetric, per token."""
    rows = x.numpy()
    q = np.zeros(rows.shape, np.int64)
    scale = np.zeros(rows.shape[0], _F32)
    for t, row in enumerate(rows):
        largest = np.abs(row).max()  # NaN if the row has one
        if not np.isfinite(largest):
            scale[t] = np.nan
            continue
        with np.errstate(over="ignore", divide="ignore"):
            inverse = _F32(127) / largest
        if np.isfinite(inverse):
            q[t] = np.clip(np.rint(row * inverse), -127, 127).astype(np.int64)
            scale[t] = largest / _F32(127)
    return torch.from_numpy(q), torch.from_numpy(scale)


def code_sums(q: Tensor, codes: Tensor) -> Tensor:
    """sum over k of code * q, exact: q int64 [tokens, k], codes [n, k] -> int64 [tokens, n]."""
    # Every partial sum is below 2^31, so float64 is exact, and fast enough for large shapes.
    return (q.double() @ codes.double().T).to(torch.int64)


def linear(x: Tensor, packed: Tensor) -> Tensor:
    """x float32 [tokens, k], packed [n, k] -> float32 [tokens, n], bit for bit the native result."""
    fmt = read_header(packed).format
    table, alpha = unpack(packed)
    if not fmt.is_quantized:
        return _linear_half(x, table)
    q, scale = quantize_activations(x)
    level_sums = fmt.step * code_sums(q, table) + fmt.offset * q.sum(dim=1, keepdim=True)
    row_scale = alpha * torch.tensor(fmt.unit, dtype=torch.float32)
    return (level_sums.to(torch.float32) * row_scale) * scale[:, None]


def _linear_half(x: Tensor, weight: Tensor) -> Tensor:
    sums = torch.zeros(x.shape[0], weight.shape[0])
    for column in range(x.shape[1]):  # one rounded product and one rounded sum per column, ascending
        sums = sums + x[:, column, None] * weight[:, column].float()
    return sums


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x [..., dim] / sqrt(mean(x^2) + eps) * weight, in float64."""
    x = x.double()
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + eps) * weight.double()


def silu_mul(gate: Tensor, up: Tensor) -> Tensor:
    """gate * sigmoid(gate) * up, in float64."""
    return gate.double() * torch.sigmoid(gate.double()) * up.double()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE, pairing i with i + D/2: x [T, heads, D], cos, sin [T, D/2]."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos[:, None, :], sin[:, None, :]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cos: Tensor,
    sin: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    start_pos: int,
) -> Tensor:
    """The op in float64, caches updated in place; shapes as in ``schema.py``."""
    tokens, heads, head_dim = q.shape[1:]
    span = slice(start_pos, start_pos + tokens)
    q64, cos, sin = q[0].double(), cos[span].double(), sin[span].double()
    k_cache[0, span] = rotate(k[0].double(), cos, sin).to(k_cache.dtype)
    v_cache[0, span] = v[0]
    rotated = rotate(q64, cos, sin)
    out = torch.empty(tokens, heads, head_dim, dtype=torch.float64)
    for t in range(tokens):
        seen = start_pos + t + 1
        for head in range(heads):
            shared = head // (heads // k.shape[2])
            keys, values = k_cache[0, :seen, shared].double(), v_cache[0, :seen, shared].double()
            scores = keys @ rotated[t, head] / math.sqrt(head_dim)
            out[t, head] = torch.softmax(scores, dim=0) @ values
    return out[None]
