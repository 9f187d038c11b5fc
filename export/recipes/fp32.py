"""Unquantised linears in float32, by XNNPACK: the program without any rounding of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge.checkpoints.checkpoint import Checkpoint
from edge.formats import FULL_PRECISION, Grid
from edge.model.decoder import Decoder
from edge.quantizers.plan import Plan
from export.emit import delegate_to_xnnpack, export_forward, require_ops, write_program
from export.fuse import joined_layer
from export.lower import Options, lower
from export.modules import op_calls
from export.recipes.base import Recipe
from export.tables import joined_linears
from export.weights import ModelWeights


class Fp32(Recipe):
    """``--recipe fp32``, with ``--bits 16`` only."""

    name = "fp32"
    output_suffix = "-fp32"
    keeps_grid = False
    exact_prefill = False

    def plan(self, checkpoint: Checkpoint, grid: Grid) -> Plan:
        if grid != FULL_PRECISION:
            raise ValueError(f"--recipe {self.name} is unquantised; give --bits 16")
        return Plan()

    def lower(self, model: Decoder, weights: ModelWeights, options: Options) -> Decoder:
        return lower(model, weights, options, joined_layer)

    def emit(self, lowered: Decoder, options: Options, constant_methods: dict[str, Any], path: Path) -> None:
        edge = delegate_to_xnnpack(export_forward(lowered, options.max_seq_len), constant_methods)
        linears = len(joined_linears(lowered)) * lowered.config.passes_per_layer
        require_ops(edge, op_calls(lowered), delegated_linears=linears)
        write_program(edge, path)
