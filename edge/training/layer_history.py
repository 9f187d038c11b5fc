"""Measure how training changes a quantised layer: codes that changed, weights and scales that moved.

ParetoQ (arXiv 2502.02631) finds two regimes: at 3 bits and more training moves the weights by 10-20 %
("compensation"), at 2 bits and fewer by about 40 % ("reconstruction").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from edge.formats import Grid
from edge.quantizers.paretoq import effective_alpha, quantize_codes

#: Weights read at a time; small enough to stay in the CPU's cache.
BLOCK = 1 << 18
#: Codes have at most 4 bits, so a byte holds two.
NIBBLE = 16
#: Rows of each layer whose initial weights are kept.
SAMPLED_ROWS = 64
TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class LayerReading:
    """Changes of one quantised linear at one step, all as fractions (0.1 is 10 %).

    Attributes:
        changed: share of codes that differ from the start.
        changed_since_last: share of codes that differ from the last reading.
        weights_moved: |W - W0| / |W0| in L1 norms, W and W0 the weights before rounding, now and at the
            start, over ``SAMPLED_ROWS`` rows spread evenly.
        alpha_moved: mean over rows of |alpha - alpha0| / alpha0.
        codes: share of each code, from the lowest level to the highest.
    """

    changed: float
    changed_since_last: float
    weights_moved: float
    alpha_moved: float
    codes: list[float]


class LayerHistory:
    """A quantised linear's codes at the start and at the last reading, and some of its initial weights.

    Memory: one byte a weight, and ``SAMPLED_ROWS`` rows.
    """

    def __init__(self, weight: Tensor, alpha: Tensor, grid: Grid) -> None:
        """Take weight [out, in] and alpha [out, 1] at the start."""
        self.grid = grid
        self.alpha = effective_alpha(alpha.detach().float()).cpu().clone()  # [out, 1]
        self.every = math.ceil(weight.shape[0] / SAMPLED_ROWS)
        self.sample = self._sampled(weight)
        codes = quantize_codes(weight.detach(), alpha.detach(), grid).cpu()
        self.codes = codes + codes * NIBBLE  # [out, in] uint8: low bits the start, high bits the last reading

    def read(self, weight: Tensor, alpha: Tensor) -> LayerReading:
        """Compare weight [out, in] and alpha [out, 1] with the history, and remember their codes."""
        weight, alpha = weight.detach(), effective_alpha(alpha.detach().float())
        first_alpha = self.alpha.to(alpha.device)
        moved = (self._sampled(weight) - self.sample).abs().sum() / self.sample.abs().sum().clamp_min(TINY)
        histogram = torch.zeros(NIBBLE**3, dtype=torch.int64, device=weight.device)
        rows = max(1, BLOCK // weight.shape[1])
        for at in range(0, weight.shape[0], rows):
            block = slice(at, at + rows)
            before = self.codes[block].to(weight.device)
            codes = quantize_codes(weight[block], alpha[block], self.grid)
            histogram += torch.bincount((codes.int() * NIBBLE**2 + before).flatten(), minlength=NIBBLE**3)
            self.codes[block] = (before % NIBBLE + codes * NIBBLE).cpu()
        counts, total = histogram.cpu().view(NIBBLE, NIBBLE, NIBBLE), weight.numel()  # [now, last, start]
        return LayerReading(
            changed=1 - int(counts.diagonal(dim1=0, dim2=2).sum()) / total,
            changed_since_last=1 - int(counts.diagonal(dim1=0, dim2=1).sum()) / total,
            weights_moved=float(moved),
            alpha_moved=float(((alpha - first_alpha) / first_alpha).abs().mean()),
            codes=[count / total for count in counts.sum(dim=(1, 2)).tolist()[: self.grid.levels]],
        )

    def _sampled(self, weight: Tensor) -> Tensor:
        """Copy some rows: [sampled, in] float32."""
        return weight.detach()[:: self.every].to("cpu", torch.float32, copy=True)
