"""Build the eager PyTorch models that a program is compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.convert import build_model
from edge.model.decoder import HEAD, Decoder, named_linears
from edge.quantizers.prepare import weights_of
from export.lower import Options
from export.recipes import Recipe
from export.rounding import with_int8_cache, with_int8_inputs
from export.tables import tables_of, weights_in


@dataclass(frozen=True)
class References:
    """Eager models with the program's weights.

    Attributes:
        float_model: activations and KV cache in float32.
        rounded_model: the same, with everything rounded to int8 that the program rounds.
        cache_model: the float model with an int8 cache; None if the program's cache is float32.
        inputs_model: the float model with the input of every linear rounded; None as above.
        exact_prefill: a prefill must give the logits of token by token to the bit.
    """

    float_model: Decoder
    rounded_model: Decoder
    cache_model: Decoder | None
    inputs_model: Decoder | None
    exact_prefill: bool


def reference_models(model: Decoder, lowered: Decoder, recipe: Recipe, options: Options) -> References:
    """Build the references of a lowered model, from the weights in its tables."""
    weights = weights_of(model)
    for _, table in tables_of(lowered):
        weights |= {f"{name}.weight": weight for name, weight in weights_in(table).items()}
    float_model = build_model(Checkpoint(model.config, weights), options.max_seq_len)
    rounded = recipe.with_int8_activations(float_model, lowered).eval()
    if options.kv_cache == "fp32":
        return References(float_model, rounded, None, None, recipe.exact_prefill)
    inputs = with_int8_inputs(float_model, [*named_linears(float_model), HEAD])
    cache = with_int8_cache(float_model)
    return References(float_model, with_int8_cache(rounded), cache, inputs, recipe.exact_prefill)


def eager_logits(model: Decoder, tokens: list[int]) -> Tensor:
    """Logits [T, vocab] of an eager model after each token."""
    with torch.no_grad():
        return model(torch.tensor([tokens]))[0]


def perplexity(logits: Tensor, tokens: list[int]) -> float:
    """exp of the mean negative log-likelihood of each token but the first; 1.0 for a single token."""
    if len(tokens) < 2:
        return 1.0
    loss = nn.functional.cross_entropy(logits[:-1].double(), torch.tensor(tokens[1:]))
    return exp(loss.item())


def exp(value: float) -> float:
    """e to the value, and infinity beyond the range of a double, which ends at exp(709.8)."""
    return math.exp(value) if value < 700 else math.inf
