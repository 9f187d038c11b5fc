"""Move size between a producer and its consumers without changing a layer: the equivalent transform.

What a norm, or the value projection, puts out is divided channel by channel by t, and the columns of the
linears that read it are multiplied by t (SmoothQuant, arXiv 2211.10438; OmniQuant, arXiv 2308.13137). For
layers shaped as Llama's this is exact at four places: a norm and q, k, v; a norm and gate, up; v and o; and
up and down, because down reads activation(gate) * up. t is folded into the weights, so that nothing is left
to run.
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
_QKV, _OUT, _GATE_UP, _DOWN = SEQUENCE


@dataclass(frozen=True)
class Pair:
    """One place of a layer where the transform is exact.

    Attributes:
        producers: names of the parameters whose rows, or values, are divided.
        consumers: names of the linears whose columns are multiplied.
        readers: times that the consumers have each channel: query heads that share a head of values.
        run: channels in a row that repeat together: those of a head.
    """

    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    readers: int = 1
    run: int = 1

    def spread(self, t: Tensor) -> Tensor:
        """Repeat t [channels] for the consumers' columns [channels * readers]."""
        return t.view(-1, self.run).repeat_interleave(self.readers, dim=0).flatten()

    def largest(self, columns: Tensor) -> Tensor:
        """The largest [channels] of what the consumers' columns [channels * readers] have of each."""
        return columns.view(-1, self.readers, self.run).amax(dim=1).flatten()


def learned_pairs(layer: Layer) -> list[Pair]:
    """The places of this layer that OmniQuant transforms: not down's, nor o's where heads share values."""
    attention = layer.self_attn
    owns_values = attention.v_proj.out_features == attention.o_proj.in_features
    return norm_pairs(layer) + ([value_pair(layer)] if owns_values else [])


def norm_pairs(layer: Layer) -> list[Pair]:
    """The norms and what reads them; none where norms come behind attention and MLP."""
    before_attention, _, before_mlp, _ = layer.norm_names
    return [
        Pair((f"{norm}.weight",), consumers)
        for norm, consumers in ((before_attention, _QKV), (before_mlp, _GATE_UP))
        if norm is not None
    ]


def value_pair(layer: Layer) -> Pair:
    """The values of attention, and o."""
    attention = layer.self_attn
    bias = ("self_attn.v_bias",) if attention.v_bias is not None else ()
    readers = attention.o_proj.in_features // attention.v_proj.out_features
    return Pair(("self_attn.v_proj.weight", *bias), _OUT, readers, attention.head_dim)


def down_pair() -> Pair:
    """Up, whose outputs are a factor of what down reads."""
    return Pair(("mlp.up_proj.weight",), _DOWN)


def transformed(
    parameters: Mapping[str, Tensor], pairs: Sequence[Pair], scales: Sequence[Tensor]
) -> dict[str, Tensor]:
    """A layer's parameters by name with each pair's scales t [channels] folded in; differentiable."""
    result = dict(parameters)
    for pair, t in zip(pairs, scales, strict=True):
        for name in pair.producers:
            result[name] = result[name] / (t[:, None] if result[name].dim() == 2 else t)
        for name in pair.consumers:
            result[f"{name}.weight"] = result[f"{name}.weight"] * pair.spread(t)
    return result


def starting_scales(block: Block, pair: Pair, inputs: Sequence[Tensor]) -> Tensor:
    """t [channels] from the largest inputs and weights of each channel: max|x|^a / max|w|^(1 - a)."""
    weights = torch.cat([block.weight(name) for name in pair.consumers])
    largest = torch.zeros(weights.shape[1])

    def see(x: Tensor) -> None:
        torch.maximum(largest, x.abs().amax(dim=0), out=largest)

    block.watch(pair.consumers[0], inputs, see)
    return balanced(pair.largest(largest), pair.largest(weights.abs().amax(dim=0)))


def balanced(inputs: Tensor, weights: Tensor) -> Tensor:
    """t [channels] of the largest magnitudes of inputs and of weights, both [channels]."""
    weights, inputs = weights.clamp_min(SMALLEST_START), inputs.clamp_min(SMALLEST_START)
    return (inputs**BALANCE / weights ** (1 - BALANCE)).clamp_min(SMALLEST_START)


def away_from_zero(t: Tensor) -> Tensor:
    """t with magnitudes of at least SMALLEST."""
    return torch.where(t.abs() < SMALLEST, torch.where(t < 0, -SMALLEST, SMALLEST), t)
