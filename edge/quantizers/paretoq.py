"""ParetoQ (arXiv 2502.02631): fake quantisation with a learned scale per output channel.

Where the paper's equations and its reference code disagree, this follows the code: the clip at
0.99 and a shift of 0 for ternary avoid the extra state that the paper's SEQ equation allows.
One deviation: sign(0) is +1 here, because a stored one-bit code has no zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.formats import Grid
from edge.formats.weight import QuantizedWeight
from edge.quantizers.base import OnGrid


class Gradient(Enum):
    """Straight-through rules of ParetoQ."""

    SIGN = "sign"  # binarisation
    SEQ = "seq"  # stretched elastic quantisation, section 3
    LSQ = "lsq"  # learned step size, arXiv 1902.08153


class AlphaInit(Enum):
    """Start of alpha, from the magnitudes of a row of latent weights."""

    MEAN = "mean"
    MAX = "max"
    MAX_OVER_HIGHEST = "max over highest"  # the largest weight lands on the highest level


@dataclass(frozen=True)
class Rule:
    """Training of one grid."""

    alpha_init: AlphaInit
    gradient: Gradient


#: ParetoQ's rule for each grid that it trains; a new width is one row.
RULES = {
    "binary": Rule(AlphaInit.MEAN, Gradient.SIGN),
    "ternary": Rule(AlphaInit.MAX, Gradient.SEQ),
    "int2": Rule(AlphaInit.MAX, Gradient.SEQ),
    "int3": Rule(AlphaInit.MAX_OVER_HIGHEST, Gradient.LSQ),
    "int4": Rule(AlphaInit.MAX_OVER_HIGHEST, Gradient.LSQ),
    "int5": Rule(AlphaInit.MAX_OVER_HIGHEST, Gradient.LSQ),
    "int6": Rule(AlphaInit.MAX_OVER_HIGHEST, Gradient.LSQ),
    "int7": Rule(AlphaInit.MAX_OVER_HIGHEST, Gradient.LSQ),
    "int8": Rule(AlphaInit.MAX_OVER_HIGHEST, Gradient.LSQ),
}
ALPHA_FLOOR = 1e-5
#: SEQ clips w / alpha here, a hair inside 1, so that the rounding below cannot reach one level more.
SEQ_CLIP = 0.99
#: Weights quantised at a time on a CPU, few enough that temporaries stay in the cache: 4 times as fast.
_CACHED_WEIGHTS = 1 << 18
#: The same on other devices, to bound memory: temporaries take a few buffers of this size.
_DEVICE_WEIGHTS = 1 << 24


def initial_alpha(weight: Tensor, grid: Grid) -> Tensor:
    """Start alpha [out, 1] for a weight [out, in] as the reference code does."""
    magnitude, start = weight.detach().float().abs(), _rule(grid).alpha_init  # [out, in]
    if start is AlphaInit.MEAN:
        alpha = magnitude.mean(dim=1, keepdim=True)
    else:
        alpha = magnitude.amax(dim=1, keepdim=True)
        if start is AlphaInit.MAX_OVER_HIGHEST:
            alpha = alpha / grid.highest
    return alpha.clamp_min(ALPHA_FLOOR)


def _rule(grid: Grid) -> Rule:
    if grid.name not in RULES:
        raise ValueError(f"ParetoQ trains {', '.join(RULES)}, not {grid.name}")
    return RULES[grid.name]


def effective_alpha(alpha: Tensor) -> Tensor:
    """The scale the forward pass uses: alpha, floored at 1e-5."""
    return alpha.clamp_min(ALPHA_FLOOR)


def quantize(weight: Tensor, alpha: Tensor, grid: Grid) -> QuantizedWeight:
    """Quantise weight [out, in] on the grid of alpha [out, 1]."""
    assert grid.zero is not None
    codes = quantize_codes(weight.detach(), alpha.detach(), grid)
    return QuantizedWeight(codes, effective_alpha(alpha.detach()) * grid.spacing, grid.zero, grid.encoding)


def quantize_in(weight: Tensor, alpha: Tensor, grid: Grid, dtype: torch.dtype) -> QuantizedWeight:
    """Quantise as ``quantize`` does, dividing in another dtype: the reference code runs in bfloat16.

    A quotient that is rounded to bfloat16 may fall on another level than one of float32.
    """
    assert grid.zero is not None
    low = alpha.detach().to(dtype)
    codes = quantize_codes(weight.detach().to(dtype), low, grid)
    return QuantizedWeight(codes, effective_alpha(low).float() * grid.spacing, grid.zero, grid.encoding)


def quantize_codes(weight: Tensor, alpha: Tensor, grid: Grid) -> Tensor:
    """Unsigned codes [out, in] uint8 of weight [out, in] on the grid of alpha [out, 1]."""
    codes = torch.empty_like(weight, dtype=torch.uint8)
    for target, block, scale in _blocks(codes, weight, effective_alpha(alpha)):
        target.copy_(_steps(block, scale, grid) - grid.lowest)
    return codes


def fake_quantize(weight: Tensor, alpha: Tensor, grid: Grid) -> Tensor:
    """Weight [out, in] rounded to the grid of alpha [out, 1]; gradients of both as in ParetoQ."""
    return _FakeQuantize.apply(weight, alpha, grid, weight.numel())


def fake_quantize_rows(rows: Tensor, alpha: Tensor, grid: Grid, table_numel: int) -> Tensor:
    """Fake-quantise rows [n, in] taken from a table of ``table_numel`` weights, with their alpha [n, 1].

    A row may occur more than once. Summed over its occurrences, its gradient is the one that
    ``fake_quantize`` of the whole table gives it.
    """
    return _FakeQuantize.apply(rows, alpha, grid, table_numel)


def _steps(weight: Tensor, scale: Tensor, grid: Grid) -> Tensor:
    """Round weight [out, in] to levels in steps from 0 (code - zero, held as floats), for alpha [out, 1]."""
    gradient = _rule(grid).gradient
    if gradient is Gradient.SIGN:
        return torch.where(weight >= 0, 0.5, -0.5)  # not of w / alpha, which may underflow to -0
    ratio = weight / scale
    if gradient is Gradient.SEQ:
        n_levels, shift = _stretch(grid)
        return torch.round(ratio.clamp(-SEQ_CLIP, SEQ_CLIP) * n_levels - shift) + shift
    # + 0.0 turns -0.0 into 0.0: a stored code has one zero, and both must dequantise to the same bits.
    return torch.round(ratio).clamp(grid.lowest, grid.highest) + 0.0


def _stretch(grid: Grid) -> tuple[float, float]:
    """SEQ's n_levels and shift: 1.5 and 0 for ternary, 2 and 0.5 at 2 bits."""
    return grid.levels / 2, 0.5 if grid.levels % 2 == 0 else 0.0


def _blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the same few rows of each tensor, as views, so that temporaries are small, not of layer size."""
    weights = _CACHED_WEIGHTS if tensors[0].device.type == "cpu" else _DEVICE_WEIGHTS
    rows = max(1, weights // tensors[0].shape[1])
    return zip(*(tensor.split(rows) for tensor in tensors), strict=True)


def _rounded(weight: Tensor, scale: Tensor, grid: Grid, dtype: torch.dtype) -> Tensor:
    """The weight [out, in] on the grid of scale [out, 1], computed in float32 and then cast."""
    result = torch.empty_like(weight, dtype=dtype)
    for target, block, its_scale in _blocks(result, weight, scale):
        target.copy_(_steps(block, its_scale, grid) * grid.spacing * its_scale)
    return result


def _pass_gradients(
    weight: Tensor, scale: Tensor, grad: Tensor, grid: Grid, result: Tensor, numel: int
) -> Tensor:
    """Writes the weight's gradient [out, in] to ``result`` and returns alpha's [out, 1].

    Args:
        grad: of the rounded weight; ``result`` may be the same tensor.
        numel: weights of the whole tensor, of which these may be some rows.
    """
    alpha_parts, positive_steps = [], 1 if _rule(grid).gradient is Gradient.SIGN else _region(grid)[-1]
    for target, block, its_scale, its_grad in _blocks(result, weight, scale, grad):
        passes, slope = _slopes(block, its_scale, grid)
        alpha_parts.append((slope * its_grad).sum(dim=1, keepdim=True))
        torch.mul(its_grad, passes, out=target)
    # LSQ's scale of the gradient, 1 / sqrt(numel * Qp): arXiv 1902.08153, section 2.2
    return torch.cat(alpha_parts) / math.sqrt(numel * positive_steps)


def _slopes(weight: Tensor, scale: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Returns a mask of the weights whose gradient passes, and d(rounded weight)/d(alpha); both [out, in]."""
    ratio, values = weight / scale, _steps(weight, scale, grid) * grid.spacing
    if (
        _rule(grid).gradient is Gradient.SIGN
    ):  # inside [-alpha, alpha] it passes; alpha sees the sign everywhere
        return ratio.abs() <= 1, values
    low, high, edge_low, edge_high, _ = _region(grid)
    inside = (ratio >= low) & (ratio <= high)
    return inside, torch.where(inside, values - ratio, torch.where(ratio < low, edge_low, edge_high))


class _FakeQuantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, alpha: Tensor, grid: Grid, numel: int) -> Tensor:
        scale = effective_alpha(alpha)
        ctx.grid, ctx.numel = grid, numel
        ctx.save_for_backward(weight, scale)
        return _rounded(weight, scale, grid, weight.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        weight, scale = ctx.saved_tensors
        grad_weight = torch.empty_like(grad)
        grad_alpha = _pass_gradients(weight, scale, grad, ctx.grid, grad_weight, ctx.numel)
        return grad_weight, grad_alpha, None, None


class _QuantizedLinear(torch.autograd.Function):
    """Fake quantisation and the matrix product behind it, as one node of the graph.

    As two nodes, the product would keep every rounded weight until its backward pass: a second copy of the
    model. Here the backward pass rounds the weight again, so only one rounded weight exists at a time.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, alpha: Tensor, grid: Grid) -> Tensor:
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        x, scale = x.to(dtype), effective_alpha(alpha)
        ctx.grid = grid
        ctx.save_for_backward(x, weight, scale)
        return F.linear(x, _rounded(weight, scale, grid, dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, scale = ctx.saved_tensors
        grad_x = grad @ _rounded(weight, scale, ctx.grid, x.dtype)
        grad_weight = (grad.flatten(0, -2).T @ x.flatten(0, -2)).to(weight.dtype)
        grad_alpha = _pass_gradients(weight, scale, grad_weight, ctx.grid, grad_weight, weight.numel())
        return grad_x, grad_weight, grad_alpha, None


def _region(grid: Grid) -> tuple[float, float, float, float, int]:
    """Bounds of w / alpha where gradients pass, alpha's slope below and above, and Qp of the grad scale."""
    if _rule(grid).gradient is Gradient.SEQ:
        n_levels, shift = _stretch(grid)
        edge = (n_levels - shift) / n_levels
        return -SEQ_CLIP, SEQ_CLIP, -edge, edge, 1
    return grid.lowest, grid.highest, grid.lowest, grid.highest, int(grid.highest)


class LearnedGrid(OnGrid):
    """Mixin for a module that fake-quantises its weight [rows, columns] in the forward pass."""

    def set_grid(self, weight: Tensor, grid: Grid, alpha: Tensor | None) -> None:
        """Sets weight and alpha [rows, 1]; alpha None means the initial alpha of this weight."""
        self.grid = grid
        self.weight = nn.Parameter(weight)
        self.set_alpha(initial_alpha(weight, grid) if alpha is None else alpha)

    def set_alpha(self, alpha: Tensor) -> None:
        """Makes a parameter of alpha."""
        raise NotImplementedError

    @property
    def alpha(self) -> Tensor:
        """The learned scale [rows, 1], with gradient."""
        raise NotImplementedError

    def quantized_weight(self) -> Tensor:
        return fake_quantize(self.weight, self.alpha, self.grid)

    def multiply(self, x: Tensor) -> Tensor:
        """x [..., columns] times the quantised weight: [..., rows]."""
        return _QuantizedLinear.apply(x, self.weight, self.alpha, self.grid)

    def quantized(self) -> QuantizedWeight:
        return quantize(self.weight, self.alpha, self.grid)


class QATLinear(LearnedGrid, nn.Linear):
    """A linear without bias on a learned grid.

    ``weight_clip_val`` is alpha [out, 1], under the name that ParetoQ's checkpoints use.
    """

    def __init__(self, weight: Tensor, grid: Grid, alpha: Tensor | None = None) -> None:
        out_features, in_features = weight.shape
        nn.Linear.__init__(self, in_features, out_features, bias=False, device="meta")
        self.set_grid(weight, grid, alpha)

    def set_alpha(self, alpha: Tensor) -> None:
        self.weight_clip_val = nn.Parameter(alpha)

    @property
    def alpha(self) -> Tensor:
        return self.weight_clip_val

    def forward(self, x: Tensor) -> Tensor:
        return self.multiply(x)
