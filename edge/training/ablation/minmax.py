"""Plain min-max quantisation, which ParetoQ's grids are compared with. No exporter knows it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.model.decoder import Decoder, named_linears, replace_module
from edge.quantizers.plan import Plan


def round_min_max(weight: Tensor, levels: int) -> Tensor:
    """Weight [out, in] at the nearest of ``levels`` values, evenly from each row's least to its greatest."""
    low, high = weight.amin(dim=1, keepdim=True), weight.amax(dim=1, keepdim=True)  # [out, 1]
    step = ((high - low) / (levels - 1)).clamp_min(torch.finfo(weight.dtype).tiny)
    return torch.round((weight - low) / step) * step + low


class MinMaxLinear(nn.Linear):
    """A linear without bias whose weight [out, in] is rounded on the way through.

    The ends of a row's grid follow its weights at every step. The gradient passes the rounding as if it were
    not there (arXiv 1308.3432).
    """

    def __init__(self, weight: Tensor, levels: int) -> None:
        out_features, in_features = weight.shape
        super().__init__(in_features, out_features, bias=False, device="meta")
        self.weight = nn.Parameter(weight)
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        fixed = self.weight.detach()
        return F.linear(x, self.weight + (round_min_max(fixed, self.levels) - fixed))


def prepare_min_max(model: Decoder, plan: Plan) -> Decoder:
    """Puts a MinMaxLinear with as many levels as its format in place of every linear that is quantised."""
    for name, linear in named_linears(model).items():
        if (fmt := plan.of(name)).is_quantized:
            replace_module(model, name, MinMaxLinear(linear.weight.detach(), fmt.levels))
    return model


def keep_rounded(model: Decoder) -> Decoder:
    """Makes plain linears of MinMaxLinears: a full-precision model whose weights are the rounded ones."""
    for name, linear in named_linears(model).items():
        if isinstance(linear, MinMaxLinear):
            plain = nn.Linear(linear.in_features, linear.out_features, bias=False, device="meta")
            plain.weight = nn.Parameter(round_min_max(linear.weight.detach(), linear.levels))
            replace_module(model, name, plain)
    return model
