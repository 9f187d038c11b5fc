"""Plant outlier channels into a model without changing it: the reverse of smoothing.

Small models have no activations that are hard to round, as large ones do (arXiv 2208.07339). Here some
channels of what the linears read are multiplied by powers of two, and the weights that read them divided by
the same, so that the float model gives the same logits to the bit.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from edge.checkpoints.checkpoint import Checkpoint
from edge.model.decoder import Layer
from edge.quantizers.equivalent import transformed
from edge.quantizers.smoothing import smoothed_pairs

#: The largest factor is 2 to this power; one channel in SPACING is an outlier, and two at least.
LARGEST_POWER, SPACING = 6, 32


def with_outliers(checkpoint: Checkpoint, seed: int = 0) -> Checkpoint:
    """A copy of a full-precision checkpoint whose layers have outlier channels, the largest 64-fold."""
    dice = torch.Generator().manual_seed(seed)
    weights = {name: checkpoint.weights[name] for name in checkpoint.weights}
    for index in range(checkpoint.config.n_layers):
        with torch.device("meta"):
            layer = Layer(checkpoint.config, index)
        own = {name: weights[f"layers.{index}.{name}"] for name in layer.state_dict()}
        for pair in smoothed_pairs(layer):
            factors = _factors(own[pair.producers[0]].shape[0], dice)
            own = transformed(own, [pair], [1 / factors])
        weights |= {f"layers.{index}.{name}": tensor for name, tensor in own.items()}
    return replace(checkpoint, weights=weights)


def _factors(channels: int, dice: torch.Generator) -> Tensor:
    """Powers of two [channels], 1 for most; one is the largest."""
    count = max(2, channels // SPACING)
    factors, chosen = torch.ones(channels), torch.randperm(channels, generator=dice)[:count]
    factors[chosen] = 2.0 ** torch.randint(1, LARGEST_POWER + 1, (count,), generator=dice)
    factors[chosen[0]] = 2.0**LARGEST_POWER
    return factors
