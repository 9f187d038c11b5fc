"""Slow, readable versions of every op; the tests compare the native ops with them.

Integers are computed in int64 without any packing tricks and must agree exactly. Float steps follow
the order that ``csrc`` documents, in float32; where numpy's exp differs from the native one the
tests state the bound.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from edge.formats.weight import QuantizedWeight
from edge.ops.kv_layout import (
    INT4_LEVELS,
    KEY_BLOCK,
    KEY_ELEMENTS,
    TILE,
    VALUE_BLOCK,
    WEIGHT_MAX,
    pack_int4,
    read_keys,
    read_values,
)
from edge.ops.packing import is_quantized, unpack, unpack_half

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
    if not is_quantized(packed):
        return _linear_half(x, unpack_half(packed))
    weight = unpack(packed)
    q, act_scale = quantize_activations(x)
    size = weight.group_size or x.shape[1]
    total = torch.zeros(x.shape[0], weight.rows)
    for group, first in enumerate(range(0, x.shape[1], size)):
        columns = slice(first, first + size)
        share = _group(q[:, columns], weight.codes[:, columns], weight, group)
        total = share if weight.group_size is None else total + share
    return total * act_scale[:, None]


def _group(q: Tensor, codes: Tensor, weight: QuantizedWeight, group: int) -> Tensor:
    """One group of columns: exact integers, then the float expression of ``csrc/core/linear.h``."""
    acc, act_sum, scale = code_sums(q, codes), q.sum(dim=1, keepdim=True), weight.scale[:, group]
    if isinstance(weight.zero, Tensor):
        return (acc.float() - weight.zero[:, group] * act_sum.float()) * scale
    step = 1 if float(weight.zero).is_integer() else 2
    level_sums = step * acc - round(step * weight.zero) * act_sum
    return level_sums.to(torch.float32) * (scale / step)


def _linear_half(x: Tensor, weight: Tensor) -> Tensor:
    sums = torch.zeros(x.shape[0], weight.shape[0])
    for column in range(x.shape[1]):  # one rounded product and one rounded sum per column, ascending
        sums = sums + x[:, column, None] * weight[:, column].float()
    return sums


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x [..., dim] / sqrt(mean(x^2) + eps) * weight, in float64."""
    x = x.double()
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + eps) * weight.double()


def gate_mul(gate: Tensor, up: Tensor, gelu: bool = False) -> Tensor:
    """SiLU(gate) * up, or GELU(gate) * up by its tanh form, in float64."""
    gate = gate.double()
    if gelu:
        return torch.nn.functional.gelu(gate, approximate="tanh") * up.double()
    return gate * torch.sigmoid(gate) * up.double()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE, pairing i with i + D/2: x [T, heads, D], cos, sin [T, D/2]; exact in x's own type."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos[:, None, :], sin[:, None, :]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def _rotated(
    qkv: Tensor, cos: Tensor, sin: Tensor, kv_heads: int, start_pos: int, heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """q [T, H, D] and k [T, Hkv, D] after RoPE, v [T, Hkv, D], of qkv [1, T, (H + 2 Hkv) D]."""
    span = slice(start_pos, start_pos + qkv.shape[1])
    rows = qkv[0].unflatten(-1, (heads + 2 * kv_heads, -1))
    q, k, v = rows.split([heads, kv_heads, kv_heads], dim=1)
    return rotate(q, cos[span], sin[span]), rotate(k, cos[span], sin[span]), v


def attention(
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
    """The op in float64, caches updated in place, exactly; shapes as in ``schema.py``."""
    kv_heads = k_cache.shape[0]
    q, k, v = _rotated(qkv, cos, sin, kv_heads, start_pos, heads)
    tokens, _, head_dim = q.shape
    room = v_cache.shape[1]
    out = torch.empty(tokens, heads, head_dim, dtype=torch.float64)
    for t in range(tokens):  # written one by one: with a window, each may take the place of an old one
        block, lane = divmod((start_pos + t) % room, KEY_BLOCK)
        k_cache[:, block, :, lane] = k[t]
        v_cache[:, (start_pos + t) % room] = v[t]
        seen = _seen(start_pos + t, window, room)
        keys, values = read_keys(k_cache)[seen].double(), read_values(v_cache)[seen].double()
        for head in range(heads):
            shared = head // (heads // kv_heads)
            scores = keys[:, shared] @ q[t, head].double() / math.sqrt(head_dim)
            scores = cap * torch.tanh(scores / cap) if cap else scores
            out[t, head] = torch.softmax(scores, dim=0) @ values[:, shared]
    return out.reshape(1, tokens, heads * head_dim)


def _seen(position: int, window: int, room: int) -> list[int]:
    """The places in a cache of the positions that a token sees, in ascending order of position."""
    first = max(0, position + 1 - window) if window else 0
    return [p % room for p in range(first, position + 1)]


def hadamard(x: Tensor) -> Tensor:
    """x float32 [..., D] times a Hadamard matrix that is not normalised, in the order of the native op.

    Its size is the largest power of two that divides D; each so many elements are transformed by themselves.
    """
    rows = x.unflatten(-1, (-1, hadamard_size(x.shape[-1])))
    step = rows.shape[-1] // 2
    while step:
        a, b = rows.unflatten(-1, (-1, 2, step)).unbind(-2)  # [..., D / size, pairs, step]
        rows = torch.stack([a + b, a - b], dim=-2).flatten(-3)
        step //= 2
    return rows.flatten(-2)


def hadamard_size(dim: int) -> int:
    return dim & -dim


def quantize_int4(x: Tensor) -> tuple[Tensor, Tensor]:
    """x float32 [rows, D] -> odd levels int64 [rows, D] from -15 to 15, scale float32 [rows]."""
    rows, half = x.numpy(), _F32(INT4_LEVELS / 2)
    codes, scale = np.zeros(rows.shape, np.int64), np.zeros(rows.shape[0], _F32)
    for r, row in enumerate(rows):
        largest = np.abs(row).max()
        if not np.isfinite(largest):
            scale[r] = np.nan
            continue
        with np.errstate(over="ignore", divide="ignore"):
            inverse = half / largest
        if np.isfinite(inverse):
            codes[r] = np.rint(row * inverse + half).astype(np.int64)
            scale[r] = largest / _F32(INT4_LEVELS)
    return torch.from_numpy(2 * codes - INT4_LEVELS), torch.from_numpy(scale)


def attention_integers(
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
    """attention_int8 or attention_int4, by the caches' type: bit for bit, caches updated in place."""
    kv_heads, is_int4 = k_cache.shape[0], k_cache.dtype == torch.uint8
    q, k, v = _rotated(qkv, cos, sin, kv_heads, start_pos, heads)
    tokens, _, head_dim = q.shape
    room = k_scales.shape[1]
    scale = _F32(1.44269504) / np.sqrt(_F32(head_dim))  # log2(e) / sqrt(D)
    if is_int4:
        q, k, scale = hadamard(q), hadamard(k), scale / _F32(hadamard_size(head_dim))
    quantize = quantize_int4 if is_int4 else quantize_activations
    to_bytes = pack_int4 if is_int4 else lambda rows: rows.to(torch.int8)
    q_rows, q_scales = quantize_activations(q.reshape(-1, head_dim))
    scales = q_scales.numpy() * scale
    out = np.empty((tokens * heads, head_dim), _F32)
    for t in range(tokens):
        position = (start_pos + t) % room
        k_rows, k_scales[:, position] = quantize(k[t])
        v_rows, v_scales[:, position] = quantize(v[t])
        block, lane = divmod(position, KEY_BLOCK)
        k_cache[:, block, :, lane] = to_bytes(k_rows).reshape(kv_heads, -1, KEY_ELEMENTS)
        v_cache[:, position // VALUE_BLOCK, :, position % VALUE_BLOCK] = to_bytes(v_rows)
        seen = _seen(start_pos + t, window, room)
        first = start_pos + t + 1 - len(seen)
        keys, values = read_keys(k_cache)[seen].numpy(), read_values(v_cache)[seen].numpy()
        for head in range(heads):
            row, shared = t * heads + head, head // (heads // kv_heads)
            dots = keys[:, shared].astype(np.int64) @ q_rows[row].numpy()
            with np.errstate(all="ignore"):
                scores = dots.astype(_F32) * k_scales[shared, seen].numpy() * scales[row]
                scores = _capped(scores, cap) if cap else scores
                out[row] = _attend_integers(scores, v_scales[shared, seen].numpy(), values[:, shared], first)
    return torch.from_numpy(out).reshape(1, tokens, heads * head_dim)


def _attend_integers(scores: np.ndarray, v_scales: np.ndarray, values: np.ndarray, first: int) -> np.ndarray:
    """One query: scores float32 [n] in units of ln 2, values int8 [n, D] -> float32 [D].

    Args:
        first: position of the first score; tiles begin at multiples of TILE.
    """
    largest, total = _F32(-np.inf), np.zeros(16, _F32)
    weighted = np.zeros(values.shape[1], _F32)
    for begin in range(first // TILE * TILE, first + len(scores), TILE):
        tile = slice(max(begin - first, 0), begin - first + TILE)
        place = max(first - begin, 0)  # of the tile's first score among its positions
        finite_or_inf = scores[tile][~np.isnan(scores[tile])]  # NaN is never the largest
        older, largest = largest, max([largest, *finite_or_inf])
        shrink = _exp2(np.array([older - largest], _F32))[0]
        weights = np.zeros(TILE, _F32)
        weights[place : place + len(scores[tile])] = _exp2(scores[tile] - largest)
        lanes = weights.reshape(4, 16)
        total = total * shrink + ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3]))
        seen_weights = weights[place : place + len(scores[tile])]
        integers, unit = _quantize_weights(seen_weights * v_scales[tile])
        sums = integers @ values[tile].astype(np.int64)
        weighted = weighted * shrink + sums.astype(_F32) * unit
    while len(total) > 1:
        total = total[: len(total) // 2] + total[len(total) // 2 :]
    return weighted / total


def _capped(scores: np.ndarray, cap: float) -> np.ndarray:
    """cap * tanh(score / cap) of float32 scores in units of ln 2, in the order of ``softmax_generic.h``."""
    unit = _F32(cap) * _F32(1.44269504)
    power = _exp(scores * (_F32(2) / unit))
    return (_F32(1) - _F32(2) / (_F32(1) + power)) * unit


def _exp(x: np.ndarray) -> np.ndarray:
    """e^x for float32, by the polynomial and in the order of ``deterministic_math.h``."""
    x = np.clip(x, _F32(-104), _F32(89))
    shifted = x * _F32(1.44269504) + _F32(12582912)
    whole = shifted - _F32(12582912)
    r = (x - whole * _F32(0.693359375)) - whole * _F32(-2.12194440e-4)
    total = np.full_like(x, _F32(1 / 5040))
    for coefficient in (1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0):
        total = total * r + _F32(coefficient)
    half = np.floor(whole / 2)
    return total * np.exp2(half) * np.exp2(whole - half)


def _exp2(x: np.ndarray) -> np.ndarray:
    """2^x for float32 x <= 0, by the polynomial and in the order of ``softmax_generic.h``."""
    x = np.where(x < _F32(-126), _F32(-126), x)
    n = np.rint(x)
    f = x - n
    total = np.full_like(x, _F32(0.00132647203))
    for coefficient in (0.00967151392, 0.0555073395, 0.240222424, 0.693147004, 1.0):
        total = total * f + _F32(coefficient)
    return total * np.exp2(n)


def _quantize_weights(weights: np.ndarray) -> tuple[np.ndarray, np.float32]:
    """Weights float32 [n] of a tile, not negative -> integers up to 16383 and their unit."""
    largest = weights.max()  # NaN if there is one
    inverse = _F32(WEIGHT_MAX) / largest
    if not np.isfinite(largest) or not np.isfinite(inverse):
        return np.zeros(len(weights), np.int64), _F32(0 if np.isfinite(largest) else np.nan)
    return np.rint(weights * inverse).astype(np.int64), largest / _F32(WEIGHT_MAX)
