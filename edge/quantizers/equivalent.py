"""Move size between a producer and its consumers without changing a layer: the equivalent transform.

What a norm, or the value projection, puts out is divided channel by channel by t, and the columns of the
linears that read it are multiplied by t (SmoothQuant, arXiv 2211.10438; OmniQuant, arXiv 2308.13137). For
layers shaped as Llama's this is exact at three places: a norm and q, k, v; a norm and gate, up; and v and o,
where every head has values of its own. t is folded into the weights, so that nothing is left to run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edge.model.decoder import Layer
from edge.quantizers.post_training import SEQUENCE, Block

#: OmniQuant's: the start of t balances inputs and weights; t stays away from 0.
BALANCE, SMALLEST_START, SMALLEST = 0.5, 1e-5, 1e-2
_QKV, _OUT, _GATE_UP, _ = SEQUENCE


@dataclass(frozen=True)
class Pair:
    """One place of a layer where the transform is exact.

    Attributes:
        producers: names of the parameters whose rows, or values, are divided.
        consumers: names of the linears whose columns are multiplied.
    """

    producers: tuple[str, ...]
    consumers: tuple[str, ...]


def pairs_of(layer: Layer) -> list[Pair]:
    """The places of this layer; a layer whose norms come behind attention and MLP has none for norms."""
    before_attention, _, before_mlp, _ = layer.norm_names
    pairs = [
        Pair((f"{norm}.weight",), consumers)
        for norm, consumers in ((before_attention, _QKV), (before_mlp, _GATE_UP))
        if norm is not None
    ]
    attention = layer.self_attn
    if attention.v_proj.out_features == attention.o_proj.in_features:  # no head shares its values
        bias = ("self_attn.v_bias",) if attention.v_bias is not None else ()
        pairs.append(Pair(("self_attn.v_proj.weight", *bias), _OUT))
    return pairs


def transformed(
    parameters: Mapping[str, Tensor], pairs: Sequence[Pair], scales: Sequence[Tensor]
) -> dict[str, Tensor]:
    """A layer's parameters by name with each pair's scales t [channels] folded in; differentiable."""
    result = dict(parameters)
    for pair, t in zip(pairs, scales, strict=True):
        for name in pair.producers:
            result[name] = result[name] / (t[:, None] if result[name].dim() == 2 else t)
        for name in pair.consumers:
            result[f"{name}.weight"] = result[f"{name}.weight"] * t
    return result


def starting_scales(block: Block, pair: Pair, inputs: Sequence[Tensor]) -> Tensor:
    """t [channels] from the largest inputs and weights of each channel: max|x|^a / max|w|^(1 - a)."""
    weights = torch.cat([block.weight(name) for name in pair.consumers])
    largest = torch.zeros(weights.shape[1])

    def see(x: Tensor) -> None:
        torch.maximum(largest, x.abs().amax(dim=0), out=largest)

    block.watch(pair.consumers[0], inputs, see)
    of_weights = weights.abs().amax(dim=0).clamp_min(SMALLEST_START)
    start = largest.clamp_min(SMALLEST_START) ** BALANCE / of_weights ** (1 - BALANCE)
    return start.clamp_min(SMALLEST_START)


def away_from_zero(t: Tensor) -> Tensor:
    """t with magnitudes of at least SMALLEST."""
    return torch.where(t.abs() < SMALLEST, torch.where(t < 0, -SMALLEST, SMALLEST), t)
