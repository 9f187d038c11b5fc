"""Our own low-bit kernels: linears on the trained grid, each in one op with its norm, activation or add."""

from __future__ import annotations

from typing import Any

from edge.formats import Grid
from edge.model.decoder import Decoder
from edge.quantizers.plan import Plan
from edge.quantizers.prepare import plan_of, prepare_qat
from export.emit import export_forward, keep_ops, program_bytes, require_ops
from export.fuse import packed_layer
from export.lower import Options, lower
from export.modules import op_calls
from export.recipes.base import Recipe


class Lowbit(Recipe):
    """``--recipe lowbit``, for every bit width."""

    name = "lowbit"
    output_suffix = ""
    keeps_grid = True
    exact_prefill = True

    def prepare(self, model: Decoder, grid: Grid) -> Decoder:
        trained = plan_of(model).is_quantized
        return model if trained or not grid.is_quantized else prepare_qat(model, Plan(grid))

    def lower(self, model: Decoder, options: Options) -> Decoder:
        return lower(model, options, packed_layer)

    def emit(self, lowered: Decoder, options: Options, constant_methods: dict[str, Any]) -> bytes:
        edge = keep_ops(export_forward(lowered, options.max_seq_len), constant_methods)
        require_ops(edge, op_calls(lowered))
        return program_bytes(edge)
