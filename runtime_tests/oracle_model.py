"""A second implementation of the model in numpy, from a checkpoint's files to logits, without ``edge``.

Formulas: ParetoQ's reference code for the grids (arXiv 2502.02631; floor of 1e-5, clip of 0.99), Hugging
Face's Llama for the network, and the project's numerics for int8: per token, symmetric,
``round_half_even(x * 127/amax)``. Weights are quantised in float32, because boundaries depend on it; latent
weights and scales that are stored in bfloat16 are divided in bfloat16, as the reference code does.
Everything else is float64, so that a difference to a program's logits comes from the program's float32.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file  # numpy has no bfloat16

F32 = np.float32
Array = NDArray[Any]
LINEARS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


@dataclass
class Result:
    """logits [T, vocab] float64; margin [T]: how near any int8 activation that a position depends on, through
    the cache too, came to the boundary between two codes, in steps (at most 0.5; inf without int8)."""

    logits: Array
    margin: Array


class OracleModel:
    """The model of a Hugging Face or ParetoQ directory, or one of mixed widths.

    Args:
        bits: 1, 1.58, 2, 3, 4 or 16 (half precision).
        embedding_bits: 4, 8 or 16, for token embedding and head; on learned scales where there are any.
        int8_activations: False computes the same weights without rounding activations.
        int8_cache: rounds queries and keys, after RoPE, and values: one scale per position and head.
    """

    def __init__(
        self,
        directory: Path,
        bits: float,
        embedding_bits: int = 8,
        int8_activations: bool = True,
        int8_cache: bool = False,
    ) -> None:
        self.hf = json.loads((directory / "config.json").read_text())
        self.int8_activations = int8_activations
        others = self.hf.get("w_bits_by_linear", {})
        self.bits = {}
        self.int8_cache = int8_cache
        self.int8_head = int8_activations and embedding_bits != 16
        raw, in_bfloat16 = _read_tensors(directory)
        self.w = {name: tensor for name, tensor in raw.items() if name.endswith("norm.weight")}
        for layer in range(self.hf["num_hidden_layers"]):
            for linear in LINEARS:
                name = f"model.layers.{layer}.{linear}"
                alpha = raw.get(f"{name}.weight_clip_val")
                self.bits[name] = (others[name] or 1.58) if name in others else bits
                low = f"{name}.weight_clip_val" in in_bfloat16
                self.w[name] = quantize_linear(raw[f"{name}.weight"], alpha, self.bits[name], low)
        tied = "lm_head.weight" not in raw or self.hf.get("tie_word_embeddings", False)
        self.embedding = read_table(raw, "model.embed_tokens", embedding_bits)
        self.head = self.embedding if tied else read_table(raw, "lm_head", embedding_bits)
        self.heads = self.hf["num_attention_heads"]
        self.kv_heads = self.hf.get("num_key_value_heads") or self.heads
        self.head_dim = self.hf.get("head_dim") or self.hf["hidden_size"] // self.heads
        self.inv_freq = rope_frequencies(self.hf, self.head_dim)

    def run(self, tokens: list[int]) -> Result:
        """All positions at once; ``tokens`` start at position 0."""
        self._margin = np.full(len(tokens), np.inf)
        x = self.embedding[tokens].astype(np.float64)  # [T, dim]
        for layer in range(self.hf["num_hidden_layers"]):
            name = f"model.layers.{layer}"
            x = x + self._attention(name + ".self_attn", self._norm(x, name + ".input_layernorm"))
            x = x + self._mlp(name + ".mlp", self._norm(x, name + ".post_attention_layernorm"))
        x = self._norm(x, "model.norm")
        if self.int8_head:
            x = self._int8(x)
        return Result(x @ self.head.T.astype(np.float64), np.minimum.accumulate(self._margin))

    def _attention(self, name: str, x: Array) -> Array:
        length = len(x)
        q = self._rope(self._product(x, f"{name}.q_proj").reshape(length, self.heads, self.head_dim))
        k = self._rope(self._product(x, f"{name}.k_proj").reshape(length, self.kv_heads, self.head_dim))
        v = self._product(x, f"{name}.v_proj").reshape(length, self.kv_heads, self.head_dim)
        if self.int8_cache:
            q, k, v = self._int8(q), self._int8(k), self._int8(v)
        out = np.empty_like(q)
        for head in range(self.heads):
            shared = head * self.kv_heads // self.heads
            for t in range(length):
                scores = k[: t + 1, shared] @ q[t, head] / math.sqrt(self.head_dim)
                weights = np.exp(scores - scores.max())
                out[t, head] = weights / weights.sum() @ v[: t + 1, shared]
        return self._product(out.reshape(length, -1), f"{name}.o_proj")

    def _mlp(self, name: str, x: Array) -> Array:
        gate = self._product(x, f"{name}.gate_proj")
        hidden = gate / (1 + np.exp(-gate)) * self._product(x, f"{name}.up_proj")
        return self._product(hidden, f"{name}.down_proj")

    def _norm(self, x: Array, name: str) -> Array:
        mean_square = (x * x).mean(axis=-1, keepdims=True)
        return (
            x / np.sqrt(mean_square + self.hf["rms_norm_eps"]) * self.w[f"{name}.weight"].astype(np.float64)
        )

    def _rope(self, x: Array) -> Array:
        """x [T, heads, head_dim]; rotates the pairs (i, i + head_dim / 2)."""
        angle = np.arange(len(x))[:, None, None] * self.inv_freq  # [T, 1, head_dim / 2]
        a, b = np.split(x, 2, axis=-1)
        cos, sin = np.cos(angle), np.sin(angle)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

    def _product(self, x: Array, name: str) -> Array:
        rounded = self._int8(x) if self.int8_activations and self.bits[name] != 16 else x
        return rounded @ self.w[name].T.astype(np.float64)

    def _int8(self, x: Array) -> Array:
        """x [T, ..., n] rounded to 255 levels per row of n."""
        amax = np.abs(x).max(axis=-1, keepdims=True)
        steps = x * (127 / np.where(amax == 0, 1, amax))
        boundary = 0.5 - np.abs(steps - np.rint(steps))  # [T, ..., n], distance of each to the next code
        self._margin = np.minimum(self._margin, boundary.reshape(len(x), -1).min(axis=-1))
        return np.rint(steps) * (amax / 127)


def to_bfloat16(x: Array) -> Array:
    """Round float32 to the nearest bfloat16, ties to even: its upper 16 bits."""
    bits = x.astype(F32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(F32)


def levels_in_bfloat16(w: Array, alpha: Array, bits: float) -> Array:
    """Levels in units of alpha, float32; every operation before the rounding is one of bfloat16."""
    ratio = to_bfloat16(w / alpha)
    if bits > 2:
        half = 2 ** (int(bits) - 1)
        return np.clip(np.rint(ratio), -half, half - 1)
    count, shift = (F32(1.5), F32(0)) if bits == 1.58 else (F32(2), F32(0.5))
    clip = to_bfloat16(np.array([0.99], F32))
    stretched = to_bfloat16(np.clip(ratio, -clip, clip) * count)
    return (np.rint(to_bfloat16(stretched - shift)) + shift) / count


def quantize_linear(w: Array, alpha: Array | None, bits: float, in_bfloat16: bool = False) -> Array:
    """Fake-quantised weight [out, in] float32. alpha [out, 1] is learned, or None for the initial one."""
    if bits == 16:
        return w.astype(np.float16).astype(F32)
    if alpha is None:
        largest = np.abs(w).max(axis=1, keepdims=True)
        mean = np.abs(w).mean(axis=1, keepdims=True, dtype=np.float64)
        alpha = {1: mean, 1.58: largest, 2: largest, 3: largest / F32(3), 4: largest / F32(7)}[bits]
    alpha = np.maximum(alpha.astype(F32), F32(1e-5))
    if bits == 1:
        return np.where(w >= 0, alpha, -alpha)
    if in_bfloat16:
        return levels_in_bfloat16(w, to_bfloat16(alpha), bits) * to_bfloat16(alpha)
    ratio = w / alpha
    if bits == 1.58:
        return np.rint(F32(1.5) * np.clip(ratio, F32(-0.99), F32(0.99))) * F32(2 / 3) * alpha
    if bits == 2:
        return (np.rint(2 * np.clip(ratio, F32(-0.99), F32(0.99)) - F32(0.5)) + F32(0.5)) / 2 * alpha
    half = 2 ** (int(bits) - 1)  # also of tables, at 4 and 8 bits
    return np.clip(np.rint(ratio), -half, half - 1) * alpha


def read_table(raw: dict[str, Array], name: str, bits: int) -> Array:
    """A token embedding or head [vocab, dim], on its learned grid if it has one."""
    weight, alpha = raw[f"{name}.weight"], raw.get(f"{name}.weight_clip_val")
    return quantize_table(weight, bits) if alpha is None else quantize_linear(weight, alpha, bits)


def quantize_table(w: Array, bits: int) -> Array:
    """Quantise symmetrically: at 8 bits per row, with a scale of 16 significant bits, so that code * scale is
    exact; at 4 bits for each 32 columns, with a float16 scale. Scales are rounded up."""
    if bits == 16:
        return w.astype(np.float16).astype(F32)
    top = 2 ** (bits - 1) - 1
    if bits == 4:
        return np.concatenate(
            [_group_of_4_bits(w[:, at : at + 32]) for at in range(0, w.shape[1], 32)], axis=1
        )
    scale = np.maximum(np.abs(w).max(axis=1, keepdims=True) / F32(top), np.finfo(F32).tiny)
    mantissa, exponent = np.frexp(scale.astype(np.float64))
    scale = np.ldexp(np.ceil(mantissa * 2**16) / 2**16, exponent).astype(F32)
    return np.clip(np.rint(w / scale), -top, top) * scale


def _group_of_4_bits(w: Array) -> Array:
    wanted = np.abs(w).max(axis=1, keepdims=True) / F32(7)
    scale = wanted.astype(np.float16)
    scale = np.where(scale.astype(F32) < wanted, np.nextafter(scale, np.float16(np.inf)), scale)
    scale = np.maximum(scale, np.float16(2**-24)).astype(F32)
    return np.rint(w / scale) * scale


def rope_frequencies(hf: dict[str, Any], head_dim: int) -> Array:
    """[head_dim / 2] radians per position; config.json of transformers 4 and 5."""
    rope = hf.get("rope_parameters") or hf.get("rope_scaling") or {}
    theta = rope.get("rope_theta") or hf.get("rope_theta", 10000.0)
    frequency = theta ** (-np.arange(0, head_dim, 2) / head_dim)
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return frequency
    slow = frequency / rope["factor"]
    if kind == "linear":
        return slow
    assert kind == "llama3", kind
    turns = rope["original_max_position_embeddings"] * frequency / (2 * math.pi)  # within the old context
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    keep = np.clip((turns - low) / (high - low), 0, 1)  # 1: as before; 0: slowed down
    return keep * frequency + (1 - keep) * slow


def _read_tensors(directory: Path) -> tuple[dict[str, Array], set[str]]:
    """Tensors in float32 by name, and the names of those stored in bfloat16."""
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(directory.glob("*.safetensors")):
        tensors |= load_file(path)
    low = {name for name, tensor in tensors.items() if tensor.dtype == torch.bfloat16}
    return {name: tensor.float().numpy() for name, tensor in tensors.items()}, low
