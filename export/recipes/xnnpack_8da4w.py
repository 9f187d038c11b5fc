"""XNNPACK's 4-bit linears, quantised by torchao: the opponent that most ExecuTorch users have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edge.checkpoints.checkpoint import Checkpoint
from edge.formats import Grid
from edge.model.decoder import Decoder, Layer, named_linears, replace_module
from edge.quantizers.plan import Plan
from export.emit import delegate_to_xnnpack, export_forward, require_ops, write_program
from export.fuse import FusedLayer, joined_layer
from export.lower import Options, lower
from export.modules import OpAttention, op_calls
from export.recipes.base import Recipe
from export.tables import JoinedLinear, joined_linears
from export.weights import ModelWeights

GROUP_SIZE = 32


class Xnnpack8da4w(Recipe):
    """``--recipe xnnpack-8da4w``, with ``--bits 4`` only: weights in groups of 32, activations per token."""

    name = "xnnpack-8da4w"
    output_suffix = "-xnnpack-8da4w"
    keeps_grid = False
    exact_prefill = False

    def plan(self, checkpoint: Checkpoint, grid: Grid) -> Plan:
        if grid.bits != 4 or checkpoint.plan.is_quantized:
            raise ValueError(
                f"--recipe {self.name} takes a full-precision checkpoint with --bits 4: it has its own "
                "grid and keeps no learned one"
            )
        with torch.device("meta"):
            model = Decoder(checkpoint.config, positions=0)
        for name, linear in named_linears(model).items():
            if linear.in_features % GROUP_SIZE:
                raise ValueError(
                    f"--recipe {self.name} needs widths that divide by its group of {GROUP_SIZE}; "
                    f"{name} has {linear.in_features} columns"
                )
        return Plan()

    def lower(self, model: Decoder, weights: ModelWeights, options: Options) -> Decoder:
        return lower(model, weights, options, _int4_layer)

    def emit(self, lowered: Decoder, options: Options, constant_methods: dict[str, Any], path: Path) -> None:
        edge = delegate_to_xnnpack(export_forward(lowered, options.max_seq_len), constant_methods)
        linears = len(joined_linears(lowered)) * lowered.config.passes_per_layer
        require_ops(edge, op_calls(lowered), delegated_linears=linears)
        write_program(edge, path)

    def with_int8_activations(self, layer: Layer, name: str, fused: FusedLayer) -> Layer:
        """The lowered layer's own torchao linears, which round activations in eager mode as XNNPACK does."""
        rounding = super().with_int8_activations(layer, name, fused)
        for linear in joined_linears(fused):
            for part in linear.rows:
                replace_module(rounding, part.removeprefix(f"{name}."), _RowsOf(linear, part))
        return rounding


class _RowsOf(nn.Module):
    """The outputs of a joined linear that belong to one of the linears it was made from."""

    def __init__(self, linear: JoinedLinear, name: str) -> None:
        super().__init__()
        names = list(linear.rows)
        self.linear = linear
        self.first = sum(linear.rows[before] for before in names[: names.index(name)])
        self.count = linear.rows[name]

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).narrow(-1, self.first, self.count)


def _int4_layer(name: str, layer: Layer, cores: Sequence[OpAttention], weights: ModelWeights) -> FusedLayer:
    # Imported here because it is slow, and other recipes do not need it.
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, PerGroup, quantize_

    fused = joined_layer(name, layer, cores, weights)
    config = Int8DynamicActivationIntxWeightConfig(
        weight_dtype=torch.int4,  # type: ignore[attr-defined]  # torch's stubs lack it
        weight_granularity=PerGroup(GROUP_SIZE),
    )
    quantize_(fused, config, filter_fn=lambda module, _: isinstance(module, JoinedLinear))
    return fused
