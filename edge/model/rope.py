"""Rotary position embedding (arXiv 2104.09864): its tables, and their application.

transformers computes the frequencies, because it has every published scaling rule. The tables are computed
in float32, and are part of the exported program, so that every CPU rotates by the same bits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from edge.model.config import ModelConfig


def rope_tables(config: ModelConfig, positions: int) -> tuple[Tensor, Tensor]:
    """cos and sin, each [positions, head_dim / 2] float32, scaled as ``rope_scaling`` asks.

    A position has the same bits in tables of any length. They are computed on the CPU even if the default
    device is meta, so that such a model has real tables.
    """
    with torch.device("cpu"):
        inv_freq, factor = _inverse_frequencies(config)  # [D/2]
        angles = torch.outer(torch.arange(positions, dtype=torch.float32), inv_freq)
        return angles.cos() * factor, angles.sin() * factor


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
