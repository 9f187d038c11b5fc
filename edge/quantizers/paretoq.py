"""ParetoQ (arXiv 2502.02631): fake quantisation with a learned scale per output channel.

Where the paper's equations and its reference code disagree, this follows the code: the clip at
0.99 and a shift of 0 for ternary avoid the extra state that the paper's SEQ equation allows.
One deviation: sign(0) is +1 here, because a stored one-bit code has no zero.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.formats import AlphaInit, Gradient, WeightFormat

ALPHA_FLOOR = 1e-5
#: SEQ clips w / alpha here, a hair inside 1, so that the rounding below cannot reach one level more.
SEQ_CLIP = 0.99
#: Weights that are quantised at a time, so that the steps in between stay in the cache: 4 times as fast.
_CACHED_WEIGHTS = 1 << 18


def initial_alpha(weight: Tensor, fmt: WeightFormat) -> Tensor:
    """Alpha [out, 1] at the start of QAT for weight [out, in] (reference code; table in formats.py)."""
    magnitude = weight.detach().float().abs()  # [out, in]
    if fmt.alpha_init is AlphaInit.MEAN_ABS:
        alpha = magnitude.mean(dim=1, keepdim=True)
    elif fmt.alpha_init is AlphaInit.MAX_ABS:
        alpha = magnitude.amax(dim=1, keepdim=True)
    elif fmt.alpha_init is AlphaInit.MAX_ABS_OVER_TOP:
        alpha = magnitude.amax(dim=1, keepdim=True) / fmt.top_level
    else:
        raise ValueError(f"format {fmt.name} has no alpha")
    return alpha.clamp_min(ALPHA_FLOOR)


def effective_alpha(alpha: Tensor) -> Tensor:
    """The scale the forward pass uses: alpha, floored at 1e-5."""
    return alpha.clamp_min(ALPHA_FLOOR)


def quantize_codes(weight: Tensor, alpha: Tensor, fmt: WeightFormat) -> Tensor:
    """Unsigned codes [out, in] uint8 of weight [out, in] on the grid of alpha [out, 1]."""
    return ((_levels(weight, effective_alpha(alpha), fmt) - fmt.offset) / fmt.step).to(torch.uint8)


def dequantize(codes: Tensor, alpha: Tensor, fmt: WeightFormat) -> Tensor:
    """``(level * unit) * alpha`` in float32, in the order that packing.py and the C++ ops repeat."""
    levels = codes.to(torch.float32) * fmt.step + fmt.offset
    return levels * fmt.unit * effective_alpha(alpha)


def fake_quantize(weight: Tensor, alpha: Tensor, fmt: WeightFormat) -> Tensor:
    """Weight [out, in] rounded to the grid of alpha [out, 1]; gradients of both as in ParetoQ."""
    return _FakeQuantize.apply(weight, alpha, fmt)


def _levels(weight: Tensor, scale: Tensor, fmt: WeightFormat) -> Tensor:
    """Grid levels [out, in] (integers, held as floats) of weight [out, in] for scale [out, 1] > 0."""
    if fmt.gradient is Gradient.SIGN:
        return torch.where(weight >= 0, 1.0, -1.0)  # not of w / alpha, which may underflow to -0
    ratio = weight / scale
    if fmt.gradient is Gradient.SEQ:
        n_levels, shift = _stretch(fmt)
        scaled = ratio.clamp(-SEQ_CLIP, SEQ_CLIP) * n_levels - shift
        return (torch.round(scaled) + shift) * fmt.step
    # + 0.0 turns -0.0 into 0.0: a stored code has one zero, and both must dequantise to the same bits.
    return torch.round(ratio).clamp(fmt.offset, fmt.top_level) + 0.0


def _stretch(fmt: WeightFormat) -> tuple[float, float]:
    """SEQ's n_levels and shift: 1.5 and 0 for ternary, 2 and 0.5 at 2 bits."""
    return fmt.levels / 2, 0.5 if fmt.levels % 2 == 0 else 0.0


class _FakeQuantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, alpha: Tensor, fmt: WeightFormat) -> Tensor:
        scale = effective_alpha(alpha)
        ctx.fmt = fmt
        ctx.save_for_backward(weight, scale)
        return (_levels(weight, scale, fmt) * fmt.unit * scale).to(weight.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        weight, scale = ctx.saved_tensors
        fmt: WeightFormat = ctx.fmt
        ratio, values = weight / scale, _levels(weight, scale, fmt) * fmt.unit
        if fmt.gradient is Gradient.SIGN:
            # The weight's gradient passes inside [-alpha, alpha]; alpha sees the sign everywhere.
            return grad * (ratio.abs() <= 1), _alpha_gradient(values, grad, positive_steps=1), None
        low, high, edge_low, edge_high, positive_steps = _region(fmt)
        inside = (ratio >= low) & (ratio <= high)
        error = values - ratio  # d(w_q)/d(alpha) inside
        outside = torch.where(ratio < low, edge_low, edge_high)
        return grad * inside, _alpha_gradient(torch.where(inside, error, outside), grad, positive_steps), None


def _region(fmt: WeightFormat) -> tuple[float, float, float, float, int]:
    """Bounds of w / alpha where gradients pass, alpha's slope below and above, and Qp of the grad scale."""
    if fmt.gradient is Gradient.SEQ:
        n_levels, shift = _stretch(fmt)
        edge = (n_levels - shift) / n_levels
        return -SEQ_CLIP, SEQ_CLIP, -edge, edge, 1
    return fmt.offset, fmt.top_level, fmt.offset, fmt.top_level, fmt.top_level


def _alpha_gradient(slope: Tensor, grad: Tensor, positive_steps: int) -> Tensor:
    """Sum over a row of slope * grad, scaled by 1 / sqrt(numel * Qp) (LSQ, arXiv 1902.08153, section 2.2)."""
    return (slope * grad).sum(dim=1, keepdim=True) / math.sqrt(grad.numel() * positive_steps)


class QATLinear(nn.Linear):
    """A linear without bias whose weight [out, in] is fake-quantised on the way through.

    ``weight_clip_val`` is alpha [out, 1], under the name that ParetoQ's checkpoints use.
    """

    def __init__(self, weight: Tensor, fmt: WeightFormat, alpha: Tensor | None = None) -> None:
        out_features, in_features = weight.shape
        super().__init__(in_features, out_features, bias=False, device="meta")
        self.fmt = fmt
        self.weight = nn.Parameter(weight)
        self.weight_clip_val = nn.Parameter(initial_alpha(weight, fmt) if alpha is None else alpha)

    def quantized_weight(self) -> Tensor:
        return fake_quantize(self.weight, self.weight_clip_val, self.fmt)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.quantized_weight())

    def codes(self) -> Tensor:
        """Unsigned codes [out, in] uint8: what the packer stores."""
        rows = max(1, _CACHED_WEIGHTS // self.in_features)
        blocks = (tensor.detach().split(rows) for tensor in (self.weight, self.weight_clip_val))
        return torch.cat([quantize_codes(w, alpha, self.fmt) for w, alpha in zip(*blocks, strict=True)])
