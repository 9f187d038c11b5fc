"""Place weights on a grid after training: a scale, and maybe a zero, for each row or group of columns.

Every method that rounds after training shares this file, so that methods differ in nothing else. The range of
some weights, which always includes 0, gives their scale:

    zero of the grid's own    scale = 2 * max(high, -low) / (levels - 1)
    zero of the weights       scale = (high - low) / (levels - 1), zero = round(-low / scale)

With a zero of their own the weights' levels are integers, as in GPTQ's reference code (arXiv 2210.17323).
Scales of groups are float16, because packed tables hold them so; they are rounded before any code is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edge.formats import Grid
from edge.formats.weight import QuantizedWeight

#: Shares of the range that a searched clip tries; it keeps the one with the least squared error.
SHARES = tuple(step / 50 for step in range(50, 9, -1))
_SMALLEST_HALF = 2.0**-24


@dataclass(frozen=True)
class Levels:
    """Scales, and zeros, that broadcast to some weights.

    Attributes:
        scale: float32 [..., 1], one for all weights along the last dimension.
        zero: one number, or integers in float32 of the scale's shape.
        highest: the largest code.
    """

    scale: Tensor
    zero: float | Tensor
    highest: int

    def codes(self, values: Tensor) -> Tensor:
        """Codes of the nearest levels, float32 of the shape of ``values``; gradients pass unchanged."""
        half = self.zero % 1 if isinstance(self.zero, float) else 0.0  # of a zero between two codes
        steps = straight_through(torch.round, values / self.scale + half)
        return (steps + (self.zero - half)).clamp(0, self.highest)

    def values(self, codes: Tensor) -> Tensor:
        """The weights of codes, in the arithmetic of ``QuantizedWeight.dequantize``."""
        return (codes - self.zero) * self.scale

    def rounded(self, values: Tensor) -> Tensor:
        """The nearest levels as weights."""
        return self.values(self.codes(values))

    def of(self, columns: Tensor | slice) -> Levels:
        """Select the levels of some columns; where a row or group has one scale, they are this object."""
        if self.scale.shape[1] == 1:
            return self
        zero = self.zero[:, columns] if isinstance(self.zero, Tensor) else self.zero
        return Levels(self.scale[:, columns], zero, self.highest)


@dataclass(frozen=True)
class Target:
    """The grid, the groups and the choice of ranges for one linear.

    Attributes:
        group_size: columns that share a scale; None for one scale a row. The last group of a row is shorter
            where it does not divide the columns.
        searches: look for the range that rounds best, instead of taking that of the weights.
    """

    grid: Grid
    group_size: int | None = None
    searches: bool = False

    def parts(self, weight: Tensor) -> list[Tensor]:
        """Weight [n, k] as views [n, G, columns]: the whole groups, and the shorter last one if there is."""
        rows, columns = weight.shape
        size = self.group_size or columns
        whole = columns // size * size
        parts = [weight[:, :whole].reshape(rows, -1, size), weight[:, None, whole:]]
        return [part for part in parts if part.numel()]

    def fit(self, values: Tensor) -> Levels:
        """Levels [..., 1] for values [..., columns] that share them along the last dimension."""
        low, high = ranges(values)
        best = self.between(low, high)
        if not self.searches:
            return best
        least = (best.rounded(values) - values).square().sum(-1, keepdim=True)
        scale, zero = best.scale, best.zero
        for share in SHARES[1:]:
            tried = self.between(low * share, high * share)
            error = (tried.rounded(values) - values).square().sum(-1, keepdim=True)
            better = error < least
            least, scale = torch.where(better, error, least), torch.where(better, tried.scale, scale)
            if isinstance(zero, Tensor):
                zero = torch.where(better, tried.zero, zero)
        return Levels(scale, zero, best.highest)

    def between(self, low: Tensor, high: Tensor) -> Levels:
        """Levels of ranges [..., 1]; differentiable but for the rounding of scales and zeros."""
        steps = self.grid.levels - 1
        if self.grid.zero is not None:
            return Levels(self._stored(2 * torch.maximum(high, -low) / steps), self.grid.zero, steps)
        scale = self._stored((high - low) / steps)
        zero = straight_through(torch.round, -low / scale).clamp(0, steps)
        return Levels(scale, zero, steps)

    def quantized(self, codes: Sequence[Tensor], levels: Sequence[Levels]) -> QuantizedWeight:
        """The table of the codes and levels of ``parts``.

        Raises:
            ValueError: a scale is NaN, or beyond what its type holds.
        """
        table = torch.cat([part.flatten(1) for part in codes], dim=1).to(torch.uint8)
        scale = torch.cat([level.scale.flatten(1) for level in levels], dim=1)
        zeros = [level.zero.flatten(1) for level in levels if isinstance(level.zero, Tensor)]
        zero = torch.cat(zeros, dim=1) if zeros else self.grid.zero
        assert zero is not None
        encoding = self.grid.encoding_of(self.group_size)
        return QuantizedWeight(table, scale, zero, encoding, self.group_size)

    def _stored(self, scale: Tensor) -> Tensor:
        """Scales as a packed table holds them; those of zeros must be positive too."""
        if self.group_size is None:
            return scale.clamp_min(torch.finfo(torch.float32).tiny)
        return straight_through(lambda values: values.half().float().clamp_min(_SMALLEST_HALF), scale)


def ranges(values: Tensor) -> tuple[Tensor, Tensor]:
    """The least and greatest of values [..., columns] and 0, both [..., 1]."""
    return values.amin(-1, keepdim=True).clamp_max(0), values.amax(-1, keepdim=True).clamp_min(0)


def straight_through(rounding: Any, values: Tensor) -> Tensor:
    """Round values; the gradient passes unchanged (arXiv 1308.3432)."""
    if not values.requires_grad:
        return rounding(values)
    return StraightThrough.apply(values, rounding(values.detach()))


class StraightThrough(torch.autograd.Function):
    """Replace values by rounded ones; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx: object, values: Tensor, rounded: Tensor) -> Tensor:
        return rounded

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None
