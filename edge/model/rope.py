"""Rotary position embedding (arXiv 2104.09864): its tables, and their application.

transformers computes the frequencies, because it has every published scaling rule. The tables are computed
in float32, and are part of the exported program, so that every CPU rotates by the same bits.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from edge.model.config import ModelConfig


class Rope(nn.Module):
    """Holds the RoPE tables of some layers: cos and sin, each [positions, head_dim / 2] float32."""

    def __init__(self, config: ModelConfig, positions: int, kind: str = "full") -> None:
        super().__init__()
        cos, sin = rope_tables(config, positions, kind)
        self.cos: Tensor
        self.sin: Tensor
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)


def ropes(config: ModelConfig, positions: int) -> nn.ModuleDict:
    """Make the RoPE tables that a model's layers use, by ``ModelConfig.rope_of``."""
    kinds = sorted({config.rope_of(layer) for layer in range(config.n_layers)})
    return nn.ModuleDict({kind: Rope(config, positions, kind) for kind in kinds})


def rope_tables(config: ModelConfig, positions: int, kind: str = "full") -> tuple[Tensor, Tensor]:
    """cos and sin, each [positions, head_dim / 2] float32, scaled as ``rope_scaling`` asks.

    Attention divides scores by sqrt(head_dim). A model with another ``query_scale`` has the rest of it in
    cos and sin, which multiply queries and keys.

    A position has the same bits in tables of any length. They are computed on the CPU even if the default
    device is meta, so that such a model has real tables.
    """
    with torch.device("cpu"):
        if kind == "nope":
            inv_freq, factor = torch.zeros(config.head_dim // 2), 1.0
        else:
            inv_freq, factor = _inverse_frequencies(_as_full(config) if kind == "local" else config)  # [D/2]
        if config.query_scale is not None:
            factor *= (config.head_dim / config.query_scale) ** 0.25
        angles = torch.outer(torch.arange(positions, dtype=torch.float32), inv_freq)
        return angles.cos() * factor, angles.sin() * factor


def _as_full(config: ModelConfig) -> ModelConfig:
    """The config whose full layers rotate as the local ones of this config do."""
    if config.local_rope_theta is None:
        return config
    return replace(config, rope_theta=config.local_rope_theta, rope_scaling=None, local_rope_theta=None)


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates x [B, T, H, D] by tables [T, D/2]; feature i pairs with i + D/2, as in Hugging Face's Llama."""
    first, second = x.chunk(2, dim=-1)  # [B, T, H, D/2] each
    cos, sin = cos[:, None, :], sin[:, None, :]  # [T, 1, D/2]
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def _inverse_frequencies(config: ModelConfig) -> tuple[Tensor, float]:
    """Compute the angle per position of each pair [D/2], and the factor of cos and sin.

    Raises:
        ValueError: the config's numbers, each possible, together give no finite frequencies.
    """
    try:
        inv_freq, factor = _from_the_scaling_rule(config)
    except ArithmeticError as error:
        raise ValueError(
            f"model config: the numbers of rope type {config.rope_type} give no frequencies ({error})"
        ) from error
    if not bool(inv_freq.isfinite().all()) or not math.isfinite(factor):
        raise ValueError(
            f"model config: the numbers of rope type {config.rope_type} give frequencies that are not finite"
        )
    return inv_freq, factor


def _from_the_scaling_rule(config: ModelConfig) -> tuple[Tensor, float]:
    if config.rope_type == "default":
        exponent = torch.arange(0, config.head_dim, 2, dtype=torch.int64).float() / config.head_dim
        return 1.0 / config.rope_theta**exponent, 1.0
    from transformers import LlamaConfig  # here, because they are slow to import
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaling = dict(config.rope_scaling or {})
    scaling.pop("type", None)
    hf = LlamaConfig(
        # Frequencies depend on head_dim alone, and LlamaConfig refuses a width that is no multiple of it.
        hidden_size=config.head_dim,
        num_attention_heads=1,
        max_position_embeddings=config.max_seq_len,
        rope_parameters={**scaling, "rope_type": config.rope_type, "rope_theta": float(config.rope_theta)},
    )
    inv_freq, factor = ROPE_INIT_FUNCTIONS[config.rope_type](hf, torch.device("cpu"))
    return inv_freq, float(factor)
