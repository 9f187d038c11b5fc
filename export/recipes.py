"""The recipes: which backend computes the linears and which tables hold the weights.

Every recipe takes the same model and uses the same attention, norm and activation ops, so that a
comparison between two programs is a comparison of their linears and of what fits around them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edge.checkpoints.convert import qat_linears
from edge.checkpoints.packed import quantize_table
from edge.formats import FULL_PRECISION, WeightFormat, format_for_bits
from edge.model.decoder import Decoder, Layer, named_linears, replace_module
from edge.ops.packing import pack_codes, pack_half, read_header
from edge.quantizers.paretoq import LearnedGrid
from edge.runtime.manifest import KVCacheFormat
from export.fuse import FusedLayer, joined_layer, packed_layer
from export.modules import (
    JoinedLinear,
    OpAttention,
    OpRMSNorm,
    PackedEmbedding,
    PackedHead,
    PackedTable,
    tables,
)
from export.rounding import clone_structure, with_int8_inputs

XNNPACK_GROUP_SIZE = 32
EMBEDDING, HEAD = "embed_tokens", "lm_head"


@dataclass(frozen=True)
class Recipe:
    """How a prepared model becomes a program.

    Attributes:
        lower_layer: a layer of the model, by its full name, with these attention cores.
        keeps_grid: the linears run on the format's own grid, so the model is put on it first.
        uses_xnnpack: linears that are left in ATen are delegated to XNNPACK.
        refuses: why a model and format cannot go through this recipe, or None where they can.
        with_int8_activations: from the float reference and the lowered model, an eager model that rounds
            activations as the program's linears do (``verify.py``).
    """

    name: str
    lower_layer: Callable[[str, Layer, Sequence[OpAttention]], FusedLayer]
    keeps_grid: bool
    uses_xnnpack: bool
    refuses: Callable[[Decoder, WeightFormat], str | None]
    with_int8_activations: Callable[[Decoder, Decoder], Decoder]


@dataclass(frozen=True)
class Options:
    """What a user chooses for a program besides the model."""

    recipe: Recipe
    fmt: WeightFormat
    max_seq_len: int
    embedding_bits: int = 8
    kv_cache: KVCacheFormat = "fp32"


def lower(model: Decoder, options: Options) -> Decoder:
    """A copy of the model whose parts are calls of ops, with caches of ``max_seq_len`` positions."""
    lowered, config = clone_structure(model), model.config
    lowered.cos, lowered.sin = (table[: options.max_seq_len].clone() for table in (model.cos, model.sin))
    for index, layer in enumerate(model.layers):
        name = f"layers.{index}"
        cores = [
            OpAttention(config, options.max_seq_len, options.kv_cache) for _ in range(config.passes_per_layer)
        ]
        assert isinstance(layer, Layer)
        replace_module(lowered, name, options.recipe.lower_layer(name, layer, cores))
    embedding = pack_table(model.embed_tokens, options.embedding_bits)
    head = None if model.lm_head.weight is None else pack_table(model.lm_head, options.embedding_bits)
    vocab = config.vocab_size
    replace_module(lowered, EMBEDDING, PackedEmbedding(embedding, {EMBEDDING: vocab}, config.dim))
    replace_module(lowered, HEAD, PackedHead(head, {HEAD: vocab}, OpRMSNorm(model.norm)))
    replace_module(lowered, "norm", nn.Identity())  # the head's op does it
    return lowered.eval()


def pack_table(module: nn.Module, bits: int) -> Tensor:
    """The packed table of an embedding or head [vocab, dim] at 4, 8 or 16 bits, one scale per row.

    Raises:
        ValueError: it was trained on the grid of other bits, which is kept.
    """
    fmt = format_for_bits(bits)
    if isinstance(module, LearnedGrid):
        if module.fmt is not fmt:
            raise ValueError(
                f"the token embedding was trained at {module.fmt.bits:g} bits and its learned grid is kept: "
                f"export it with --embedding-bits {module.fmt.bits:g}, or without that option"
            )
        return pack_codes(module.codes(), module.scales(), fmt)
    weight = module.get_parameter("weight").detach()
    if fmt is FULL_PRECISION:
        return pack_half(weight)
    return pack_codes(*quantize_table(weight, fmt), fmt)


def _xnnpack_layer(name: str, layer: Layer, cores: Sequence[OpAttention]) -> FusedLayer:
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, PerGroup, quantize_

    fused = joined_layer(name, layer, cores)
    config = Int8DynamicActivationIntxWeightConfig(
        weight_dtype=torch.int4,  # type: ignore[attr-defined]  # torch's stubs lack it
        weight_granularity=PerGroup(XNNPACK_GROUP_SIZE),
    )
    quantize_(fused, config, filter_fn=lambda module, _: isinstance(module, JoinedLinear))
    return fused


def _int8_like_lowbit(float_model: Decoder, lowered: Decoder) -> Decoder:
    """The float model with activations rounded to int8 wherever the lowered model's ops round them."""
    rounded: set[str] = set()
    for _, table in tables(lowered):
        if isinstance(table, PackedTable) and read_header(table.packed).format.is_quantized:
            rounded |= table.rows.keys()
    if EMBEDDING in rounded:
        rounded.remove(EMBEDDING)  # a lookup has no input to round; as the head's table it has
        rounded |= {HEAD} if float_model.lm_head.weight is None else set()
    return with_int8_inputs(float_model, rounded)


class _RowsOf(nn.Module):
    """Some outputs of a joined linear: those of one of the linears it was made from."""

    def __init__(self, linear: JoinedLinear, name: str) -> None:
        super().__init__()
        names = list(linear.rows)
        self.linear = linear
        self.first = sum(linear.rows[before] for before in names[: names.index(name)])
        self.count = linear.rows[name]

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).narrow(-1, self.first, self.count)


def _int8_like_torchao(float_model: Decoder, lowered: Decoder) -> Decoder:
    """The lowered model's own torchao linears, which round activations in eager mode as XNNPACK does."""
    model = _int8_like_lowbit(float_model, lowered)
    for _, table in tables(lowered):
        if isinstance(table, JoinedLinear):
            for name in table.rows:
                replace_module(model, name, _RowsOf(table, name))
    return model


def _refuse_for_lowbit(model: Decoder, fmt: WeightFormat) -> str | None:
    return None


def _refuse_for_xnnpack(model: Decoder, fmt: WeightFormat) -> str | None:
    if fmt.bits != 4 or qat_linears(model):
        return (
            "takes a full-precision checkpoint with --bits 4: its grid is its own, and no learned one is kept"
        )
    ragged = [n for n, linear in named_linears(model).items() if linear.in_features % XNNPACK_GROUP_SIZE]
    if ragged:
        return f"needs widths that divide by its group of {XNNPACK_GROUP_SIZE}, and {ragged[0]} has none"
    return None


def _refuse_for_fp32(model: Decoder, fmt: WeightFormat) -> str | None:
    return None if fmt is FULL_PRECISION else "is unquantised; give --bits 16"


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("lowbit", packed_layer, True, False, _refuse_for_lowbit, _int8_like_lowbit),
        Recipe("xnnpack-8da4w", _xnnpack_layer, False, True, _refuse_for_xnnpack, _int8_like_torchao),
        Recipe("fp32", joined_layer, False, True, _refuse_for_fp32, _int8_like_lowbit),
    )
}
