"""Min-max quantisation: even levels from a row's least weight to its greatest, trained straight through."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.formats import Grid, grid_for_bits
from edge.formats.weight import QuantizedWeight
from edge.model.decoder import Decoder, named_linears, replace_module
from edge.quantizers.base import Method, OnGrid, QuantizedLinear
from edge.quantizers.placement import StraightThrough
from edge.quantizers.plan import Plan


def quantize_min_max(weight: Tensor, grid: Grid) -> QuantizedWeight:
    """Round weight [out, in] to ``grid.levels`` even steps of each row, its zero stored with the row.

    A row of one value keeps that value exactly.
    """
    weight = weight.detach().float()
    low, high = weight.amin(dim=1, keepdim=True), weight.amax(dim=1, keepdim=True)  # [out, 1]
    spread = torch.where(high > low, (high - low) / (grid.levels - 1), low.abs())
    scale = spread.clamp_min(torch.finfo(torch.float32).tiny)
    codes = torch.round((weight - low) / scale).clamp(0, grid.levels - 1).to(torch.uint8)
    return QuantizedWeight(codes, scale, -low / scale, grid.encoding)


class MinMaxLinear(OnGrid, nn.Linear):
    """A linear without bias whose weight [out, in] is rounded in every forward pass.

    The ends of a row's grid follow its weights.
    """

    def __init__(self, weight: Tensor, grid: Grid) -> None:
        out_features, in_features = weight.shape
        nn.Linear.__init__(self, in_features, out_features, bias=False, device="meta")
        self.weight = nn.Parameter(weight)
        self.grid = grid

    def quantized(self) -> QuantizedWeight:
        return quantize_min_max(self.weight, self.grid)

    def forward(self, x: Tensor) -> Tensor:
        rounded = self.quantized().dequantize().to(self.weight.dtype)
        return F.linear(x, StraightThrough.apply(self.weight, rounded))


class MinMax(Method):
    """``--method minmax``: linears only; embedding and head are kept."""

    name = "minmax"

    def grid(self, bits: float | str, choices: tuple[float, ...] | None = None) -> Grid:
        return grid_for_bits(bits, asymmetric=True)

    def prepare(self, model: Decoder, plan: Plan) -> Decoder:
        if plan.embedding_format.is_quantized:
            raise ValueError("--method minmax keeps embedding and head: leave --embedding-bits out")
        for name, linear in named_linears(model).items():
            if (grid := plan.of(name)).is_quantized:
                replace_module(model, name, MinMaxLinear(linear.weight.detach(), grid))
        return model

    def finish(self, model: Decoder) -> Decoder:
        for name, linear in named_linears(model).items():
            if isinstance(linear, MinMaxLinear):
                replace_module(model, name, QuantizedLinear(linear.quantized(), linear.grid))
        return model
