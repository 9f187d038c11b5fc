"""Compute the bytes of a program that was not exported, and the memory of its KV cache.

Tables, RoPE and norms are counted as ``export`` lays them out (csrc/core/layout.h). The rest of a file, its
graph, was measured: a constant, and a part for each layer.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.formats import Grid, grid_for_bits
from edge.model.config import ModelConfig
from edge.ops.kv_layout import CACHE_BITS, cache_shapes
from edge.ops.packed_header import PackedHeader
from edge.quantizers.embedding import GROUP_SIZES, default_table_bits
from edge.runtime.manifest import KVCacheFormat

#: Bytes of a program's graph, and of a layer's part of it, which names two more tensors where the cache has
#: scales. runtime_tests/scaling/test_sizes.py compares them with the programs of edge/latency/reports.
GRAPH_BYTES, LAYER_BYTES = 4800, {"fp32": 1285, "int8": 1515, "int4": 1515}


@dataclass(frozen=True)
class ProgramSize:
    """Bytes of a program by part.

    Attributes:
        linears: packed tables of all layers.
        head: table of the logits, all of which a token reads.
        rest: a token embedding of its own, RoPE's tables, norms, and the graph.
    """

    linears: int
    head: int
    rest: int

    @property
    def total(self) -> int:
        return self.linears + self.head + self.rest


def program_size(
    config: ModelConfig,
    grid: Grid,
    positions: int,
    kv_cache: KVCacheFormat = "int8",
    embedding_bits: int | None = None,
    has_equal_norms: bool = False,
) -> ProgramSize:
    """Count the bytes of a model of Llama's parts, exported by ``--recipe lowbit``.

    Args:
        grid: of the linears; scales are those of rows, as ParetoQ trains them.
        positions: of RoPE's tables, ``--max-seq-len``.
        embedding_bits: of embedding and head; None is the exporter's default.
        has_equal_norms: as in a model with random weights; a program stores equal constants once.
    """
    table_bits = embedding_bits or default_table_bits(config.vocab_size)
    table = _table_bytes(config, grid_for_bits(table_bits))
    rope = 4 * positions * config.head_dim  # float32 cos and sin of half the head
    norms = 4 * config.dim * (1 if has_equal_norms else 2 * config.n_layers + 1)
    graph = GRAPH_BYTES + LAYER_BYTES[kv_cache] * config.n_layers
    own_embedding = 0 if config.tied_embedding else table
    return ProgramSize(linear_bytes(config, grid), table, own_embedding + rope + norms + graph)


def linear_bytes(config: ModelConfig, grid: Grid) -> int:
    """Count the bytes of all layers' packed tables: q, k and v share one, and so do gate and up."""
    heads, kv_heads = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    tables = [
        (heads + 2 * kv_heads, config.dim),
        (config.dim, heads),
        (2 * config.ffn_dim, config.dim),
        (config.dim, config.ffn_dim),
    ]
    return config.n_layers * sum(PackedHeader(grid.encoding, n, k).total_bytes for n, k in tables)


def _table_bytes(config: ModelConfig, grid: Grid) -> int:
    """Count the bytes of a table of the vocabulary; at 4 bits 32 columns share a scale."""
    group = GROUP_SIZES.get(int(grid.bits))
    return PackedHeader(grid.encoding, config.vocab_size, config.dim, group).total_bytes


def kv_bytes_per_position(config: ModelConfig, kv_cache: KVCacheFormat) -> int:
    """Count the bytes of keys, values and scales that a position takes in all layers."""
    bits = CACHE_BITS[kv_cache]
    has_scales = cache_shapes(config.n_kv_heads, 1, config.head_dim, bits).scales is not None
    values = config.n_kv_heads * config.head_dim * bits // 8
    scales = 4 * config.n_kv_heads if has_scales else 0  # float32
    return 2 * config.n_layers * config.passes_per_layer * (values + scales)
