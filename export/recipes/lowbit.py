"""Our own low-bit kernels: linears on the trained grid, each in one op with its norm, activation or add."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge.checkpoints.checkpoint import Checkpoint
from edge.formats import Grid
from edge.model.decoder import Decoder
from edge.quantizers.plan import Plan
from export.emit import export_forward, keep_ops, require_ops, write_program
from export.fuse import packed_layer
from export.lower import Options, lower
from export.modules import op_calls
from export.recipes.base import Recipe
from export.tables import packed_tables
from export.weights import ModelWeights


class Lowbit(Recipe):
    """``--recipe lowbit``, for every bit width."""

    name = "lowbit"
    output_suffix = ""
    keeps_grid = True
    exact_prefill = True
    has_elastic_ops = True

    def plan(self, checkpoint: Checkpoint, grid: Grid) -> Plan:
        return checkpoint.plan if checkpoint.plan.is_quantized else Plan(grid)

    def lower(self, model: Decoder, weights: ModelWeights, options: Options) -> Decoder:
        return lower(model, weights, options, packed_layer)

    def emit(self, lowered: Decoder, options: Options, constant_methods: dict[str, Any], path: Path) -> None:
        edge = keep_ops(export_forward(lowered, options.max_seq_len, options.all_logits), constant_methods)
        require_ops(edge, op_calls(lowered))
        write_program(edge, path, any(table.is_elastic for table in packed_tables(lowered).values()))
