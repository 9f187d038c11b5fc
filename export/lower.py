"""Lower a model: put calls of ops in place of its parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from edge.formats import Grid, grid_for_bits
from edge.model.decoder import EMBEDDING, HEAD, Decoder, Layer, clone_structure, replace_module
from edge.model.rope import ropes
from edge.runtime.manifest import KVCacheFormat
from export.fuse import FusedLayer
from export.modules import OpAttention, PackedEmbedding, PackedHead
from export.tables import TablePlan
from export.weights import ModelWeights


@dataclass(frozen=True)
class Options:
    """A user's choices for a program, besides its model and recipe.

    Attributes:
        grid: format of the linears.
        max_seq_len: positions of the KV cache.
        embedding_bits: 4, 8 or 16, of the token embedding.
        head_bits: of the head, 4, 8 or 16 or those of a head that is quantised already; None are the same.
        all_logits: a forward pass gives those of every token, not of the last.
        widths: slices to verify of an elastic program, the widest first; a None of other programs.
    """

    grid: Grid
    max_seq_len: int
    embedding_bits: int = 8
    head_bits: int | None = None
    kv_cache: KVCacheFormat = "fp32"
    all_logits: bool = False
    widths: tuple[int | None, ...] = (None,)

    @property
    def is_elastic(self) -> bool:
        return self.widths != (None,)

    @property
    def table_grids(self) -> dict[str, Grid]:
        """The grids of token embedding and head, by name."""
        head_bits = self.head_bits or self.embedding_bits
        return {EMBEDDING: grid_for_bits(self.embedding_bits), HEAD: grid_for_bits(head_bits)}


#: Lowers the layer of a full name, with one attention module for each of its passes.
LowerLayer = Callable[[str, Layer, Sequence[OpAttention], ModelWeights], FusedLayer]


def lower(model: Decoder, weights: ModelWeights, options: Options, lower_layer: LowerLayer) -> Decoder:
    """A copy of the model whose parts are calls of ops, with caches of ``max_seq_len`` positions.

    Args:
        model: its matrices may be on the meta device.
    """
    lowered, config = clone_structure(model), model.config
    lowered.ropes = ropes(config, options.max_seq_len)
    for index, layer in enumerate(model.layers):
        name = f"layers.{index}"
        cores = [
            OpAttention(config, index, options.max_seq_len, options.kv_cache)
            for _ in range(config.passes_per_layer)
        ]
        assert isinstance(layer, Layer)
        replace_module(lowered, name, lower_layer(name, layer, cores, weights))
    embedding, vocab = weights.header([EMBEDDING]), config.vocab_size
    head = None if weights.shares_a_table else weights.header([HEAD])
    replace_module(lowered, EMBEDDING, PackedEmbedding(TablePlan(embedding, {EMBEDDING: vocab})))
    head_plan = TablePlan(head, {HEAD: vocab}, weights.order(HEAD))
    replace_module(lowered, HEAD, PackedHead(head_plan, model.norm))
    replace_module(lowered, "norm", nn.Identity())  # the head's op includes the final norm
    return lowered.eval()
