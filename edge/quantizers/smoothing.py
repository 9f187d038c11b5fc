"""SmoothQuant (arXiv 2211.10438): move outliers of activations into weights, without changing the model.

One int8 scale serves all channels of a token, so that a few large channels take the steps of all others.
Every channel is divided by t = sqrt(largest input / largest weight), which makes both equally large, by the
equivalent transform of ``equivalent.py``. Beyond the paper's two places, a norm and its readers, t is folded
into values and o, also where query heads share values, and into up and down.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edge.model.config import ModelConfig
from edge.model.decoder import Layer, RMSNorm
from edge.quantizers.equivalent import (
    Pair,
    balanced,
    down_pair,
    norm_pairs,
    starting_scales,
    transformed,
    value_pair,
)
from edge.quantizers.post_training import Block


def refuse_unsmoothable(config: ModelConfig) -> None:
    """Raise ValueError for a family whose q, k, v, gate and up read the residual stream itself."""
    if config.norms == "after":
        raise ValueError(
            "--smooth folds scales into the norms in front of attention and MLP, and this model's norms come "
            "behind them; leave --smooth out"
        )


def smoothed_pairs(layer: Layer) -> list[Pair]:
    """The places of a layer, in the order in which they are smoothed.

    v and up are producers before they are readers of norms: large rows would else decide the norms' scales.
    """
    return [value_pair(layer), down_pair(), *norm_pairs(layer)]


@torch.no_grad()
def smooth(block: Block) -> None:
    """Smooth all that the linears of a layer read, by its activations on the calibration texts.

    Raises:
        ValueError: activations are not finite.
    """
    layer = block.layer
    for pair in smoothed_pairs(layer):
        scales = starting_scales(block, pair, block.inputs)
        layer.load_state_dict(transformed(dict(layer.named_parameters()), [pair], [scales]), assign=True)


@torch.no_grad()
def smoothed_head(norm: RMSNorm, head: Tensor, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Weights of the final norm [dim] and of a head of its own [vocab, dim], smoothed.

    Args:
        inputs: float32 [1, T, dim] for each calibration text, behind the last layer.

    Raises:
        ValueError: inputs are not finite.
    """
    largest = torch.stack([norm(x).abs().amax(dim=(0, 1)) for x in inputs]).amax(dim=0)
    if not bool(torch.isfinite(largest).all()):
        raise ValueError("lm_head: activations are NaN or infinite on the calibration text")
    scales = balanced(largest, head.abs().amax(dim=0))
    return norm.weight / scales, head * scales
