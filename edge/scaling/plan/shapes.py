"""List the shapes that a plan considers: MobileLLM's (arXiv 2402.14905), and a lattice between and below."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge.model.config import MOBILELLM, ModelConfig

#: Widths of the lattice; heads have 64, so a head more each.
_DIMS = range(128, max(config.dim for config in MOBILELLM.values()) + 1, 64)
#: Depths of the lattice over the published one at that width.
_DEPTHS = (0.5, 0.75, 1.0, 1.25)
_HEAD_DIM = 64


def candidate_shapes(vocab_size: int) -> list[ModelConfig]:
    """List the shapes once each, tied heads and a vocabulary of this size."""
    published = [replace(config, vocab_size=vocab_size) for config in MOBILELLM.values()]
    lattice = [_shape(dim, depth, vocab_size) for dim in _DIMS for depth in _DEPTHS]
    return list(dict.fromkeys([*published, *lattice]))


def _shape(dim: int, depth: float, vocab_size: int) -> ModelConfig:
    """Make a shape of a width, with the depth and the feed-forward that MobileLLM has at that width.

    Between published widths both are interpolated; below the smallest they have its ratios to the width.
    """
    dims = [0, *(config.dim for config in MOBILELLM.values())]
    layers = np.interp(dim, dims, [0, *(config.n_layers for config in MOBILELLM.values())])
    ffn = np.interp(dim, dims, [0, *(config.ffn_dim for config in MOBILELLM.values())])
    heads = dim // _HEAD_DIM
    return ModelConfig(
        vocab_size, dim, max(2, round(depth * float(layers))), heads, _kv_heads(heads),
        64 * round(float(ffn) / 64),
    )  # fmt: skip


def _kv_heads(heads: int) -> int:
    """A divisor of the heads, a third of them at most, as in MobileLLM's smaller sizes."""
    return max(count for count in range(1, max(1, heads // 3) + 1) if heads % count == 0)
