"""Run the eager PyTorch models that a program is compared with, one layer in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.model.decoder import EMBEDDING, HEAD, Decoder, Layer, named_linears
from edge.runtime.manifest import KVCacheFormat
from export.fuse import FusedLayer
from export.lower import Options
from export.parallel import in_parallel
from export.program_file import ProgramFile
from export.recipes import Recipe
from export.rounding import round_to_int8, with_int8_inputs, with_rounded_cache
from export.weights import TABLES, ModelWeights

#: Gives rows of a weight, float32, by the full name of its module.
Values = Callable[[str, slice], Tensor]
#: Entries of the vocabulary that logits are computed for at a time.
_VOCABULARY_ROWS = 4096


@dataclass(frozen=True)
class Rounding:
    """Selects what an eager model rounds.

    Attributes:
        layer: makes a rounding copy of the layer of a name.
        head_input: the head rounds its input.
    """

    layer: Callable[[Layer, str], Layer]
    head_input: bool = False


@dataclass(frozen=True)
class References:
    """Logits [T, vocab] of eager models with the program's weights.

    Attributes:
        float_logits: activations and KV cache in float32.
        rounded_logits: everything is rounded that the program rounds.
        activations_logits: the same with a float32 cache.
        kv_cache: the program's.
        cache_logits: float32 with the program's cache; None if that is float32.
        inputs_logits: float32 with the input of every linear rounded to int8; None if the cache is not int8.
        exact_prefill: a prefill must give the logits of token by token to the bit.
    """

    float_logits: Tensor
    rounded_logits: Tensor
    activations_logits: Tensor
    kv_cache: KVCacheFormat
    cache_logits: Tensor | None
    inputs_logits: Tensor | None
    exact_prefill: bool


def references(
    model: Decoder,
    program: ProgramFile,
    lowered: Decoder,
    recipe: Recipe,
    options: Options,
    tokens: list[int],
    advance: Callable[[], None] = lambda: None,
    bits: int | None = None,
) -> References:
    """Compute the references of a program on tokens, with the weights that are in its file.

    Args:
        model: norms and biases; its matrices are not used.
        bits: width of an elastic program.
        advance: is called after each layer.
    """
    rounds_head = program.tables[head_name(program)].is_quantized

    def activations(layer: Layer, name: str) -> Layer:
        fused = lowered.get_submodule(name)
        assert isinstance(fused, FusedLayer)
        return recipe.with_int8_activations(layer, name, fused)

    def cache(layer: Layer, name: str) -> Layer:
        return with_rounded_cache(layer, options.kv_cache)

    roundings = {"float": Rounding(_unchanged), "activations": Rounding(activations, rounds_head)}
    if options.kv_cache != "fp32":
        both = Rounding(lambda layer, name: cache(activations(layer, name), name), rounds_head)
        roundings |= {"both": both, "cache": Rounding(cache)}
    if options.kv_cache == "int8":
        linears = [
            name.removeprefix("layers.0.") for name in named_linears(model) if name.startswith("layers.0.")
        ]
        roundings["inputs"] = Rounding(lambda layer, name: with_int8_inputs(layer, linears), head_input=True)
    found = eager_logits(model, _program_values(program, bits), tokens, list(roundings.values()), advance)
    logits = dict(zip(roundings, found, strict=True))
    return References(
        float_logits=logits["float"],
        rounded_logits=logits.get("both", logits["activations"]),
        activations_logits=logits["activations"],
        kv_cache=options.kv_cache,
        cache_logits=logits.get("cache"),
        inputs_logits=logits.get("inputs"),
        exact_prefill=recipe.exact_prefill,
    )


def full_table_logits(
    model: Decoder,
    program: ProgramFile,
    weights: ModelWeights,
    tokens: list[int],
    advance: Callable[[], None] = lambda: None,
    bits: int | None = None,
) -> Tensor:
    """Logits [T, vocab] with the program's linears, and with embedding and head as they were."""

    def values(name: str, rows: slice) -> Tensor:
        return weights.original(name, rows) if name in TABLES else program.values(name, rows, bits)

    return eager_logits(model, values, tokens, [Rounding(_unchanged)], advance)[0]


def head_name(program: ProgramFile) -> str:
    """The name of the table that the head reads."""
    return HEAD if HEAD in program.tables else EMBEDDING


def _program_values(program: ProgramFile, bits: int | None) -> Values:
    head = head_name(program)
    return lambda name, rows: program.values(head if name == HEAD else name, rows, bits)


def full_precision_logits(
    model: Decoder, weights: ModelWeights, tokens: list[int], advance: Callable[[], None] = lambda: None
) -> Tensor:
    """Logits [T, vocab] of the model before rounding."""
    return eager_logits(model, weights.original, tokens, [Rounding(_unchanged)], advance)[0]


@torch.no_grad()
def eager_logits(
    model: Decoder,
    values: Values,
    tokens: list[int],
    roundings: Sequence[Rounding],
    advance: Callable[[], None] = lambda: None,
) -> list[Tensor]:
    """Logits [T, vocab] after each token, for each rounding; every layer is read once.

    Args:
        model: the shape, norms and biases.
        values: the matrices.
    """
    embedded = torch.empty(1, len(tokens), model.config.dim)
    for position, token in enumerate(tokens):
        embedded[:, position] = values(EMBEDDING, slice(token, token + 1))
    states = [model.scaled(embedded)] * len(roundings)
    for index in range(model.config.n_layers):
        name = f"layers.{index}"
        layer = _with_matrices(model, index, values)
        for number, rounding in enumerate(roundings):
            states[number] = model.run_layer(rounding.layer(layer, name), index, states[number], 0)
        del layer  # before the next one is read
        advance()
    states = [model.norm(state)[0] for state in states]
    inputs = [round_to_int8(x) if r.head_input else x for x, r in zip(states, roundings, strict=True)]
    vocab = model.config.vocab_size
    logits = [torch.empty(len(tokens), vocab) for _ in roundings]
    for first in range(0, vocab, _VOCABULARY_ROWS):
        part = slice(first, min(first + _VOCABULARY_ROWS, vocab))
        weight = values(HEAD, part)
        for x, result in zip(inputs, logits, strict=True):
            result[:, part] = F.linear(x, weight)
    return [model.capped(result) for result in logits]


def _unchanged(layer: Layer, name: str) -> Layer:
    return layer


def _with_matrices(model: Decoder, index: int, values: Values) -> Layer:
    """A layer of the model with its matrices in memory."""
    name = f"layers.{index}"
    with torch.device("meta"):
        layer = Layer(model.config, index)
    state = {n: tensor for n, tensor in model.get_submodule(name).state_dict().items() if tensor.dim() == 1}
    linears = [part for part, module in layer.named_modules() if isinstance(module, nn.Linear)]
    matrices = in_parallel(lambda part: values(f"{name}.{part}", slice(None)), linears)
    state |= {f"{part}.weight": matrix for part, matrix in zip(linears, matrices, strict=True)}
    layer.load_state_dict(state, strict=True, assign=True)
    return layer.eval()


def perplexity(logits: Tensor, tokens: list[int]) -> float:
    """exp of the mean negative log-likelihood of each token but the first; 1.0 for a single token."""
    if len(tokens) < 2:
        return 1.0
    following = torch.tensor(tokens[1:])
    losses = [  # one at a time, because the vocabulary may be large and doubles are
        nn.functional.cross_entropy(row.double()[None], token[None])
        for row, token in zip(logits[:-1], following, strict=True)
    ]
    return exp(torch.stack(losses).mean().item())


def exp(value: float) -> float:
    """e to the value, and infinity beyond the range of a double, which ends at exp(709.8)."""
    return math.exp(value) if value < 700 else math.inf
