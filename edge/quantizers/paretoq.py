"""ParetoQ (arXiv 2502.02631): fake quantisation with a learned scale per output channel.

Where the paper's equations and its reference code disagree, this follows the code: the clip at
0.99 and a shift of 0 for ternary avoid the extra state that the paper's SEQ equation allows.
One deviation: sign(0) is +1 here, because a stored one-bit code has no zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
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
#: The same on other devices, where it bounds the memory: the steps take a few buffers of this size.
_DEVICE_WEIGHTS = 1 << 24


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
    return _FakeQuantize.apply(weight, alpha, fmt, weight.numel())


def fake_quantize_rows(rows: Tensor, alpha: Tensor, fmt: WeightFormat, table_numel: int) -> Tensor:
    """Some rows [n, in] of a table of ``table_numel`` weights, any of them more than once, with alpha [n, 1].

    The gradients are those of the table's rows in ``fake_quantize``: they add up where rows repeat.
    """
    return _FakeQuantize.apply(rows, alpha, fmt, table_numel)


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


def _blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Views of a few rows of each: the steps in between take buffers of their size, not of the layer's."""
    weights = _CACHED_WEIGHTS if tensors[0].device.type == "cpu" else _DEVICE_WEIGHTS
    rows = max(1, weights // tensors[0].shape[1])
    return zip(*(tensor.split(rows) for tensor in tensors), strict=True)


def _rounded(weight: Tensor, scale: Tensor, fmt: WeightFormat, dtype: torch.dtype) -> Tensor:
    """The weight [out, in] on the grid of scale [out, 1], computed in float32 and then cast."""
    result = torch.empty_like(weight, dtype=dtype)
    for target, block, its_scale in _blocks(result, weight, scale):
        target.copy_(_levels(block, its_scale, fmt) * fmt.unit * its_scale)
    return result


def _pass_gradients(
    weight: Tensor, scale: Tensor, grad: Tensor, fmt: WeightFormat, result: Tensor, numel: int
) -> Tensor:
    """Writes the weight's gradient [out, in] to ``result`` and returns alpha's [out, 1].

    Args:
        grad: of the rounded weight; ``result`` may be the same tensor.
        numel: weights of the whole tensor, of which these may be some rows.
    """
    alpha_parts, positive_steps = [], 1 if fmt.gradient is Gradient.SIGN else _region(fmt)[-1]
    for target, block, its_scale, its_grad in _blocks(result, weight, scale, grad):
        passes, slope = _slopes(block, its_scale, fmt)
        alpha_parts.append((slope * its_grad).sum(dim=1, keepdim=True))
        torch.mul(its_grad, passes, out=target)
    # LSQ's scale of the gradient, 1 / sqrt(numel * Qp): arXiv 1902.08153, section 2.2
    return torch.cat(alpha_parts) / math.sqrt(numel * positive_steps)


def _slopes(weight: Tensor, scale: Tensor, fmt: WeightFormat) -> tuple[Tensor, Tensor]:
    """Where a weight's gradient passes, and the rounded weight's derivative by alpha; both [out, in]."""
    ratio, values = weight / scale, _levels(weight, scale, fmt) * fmt.unit
    if fmt.gradient is Gradient.SIGN:  # inside [-alpha, alpha] it passes; alpha sees the sign everywhere
        return ratio.abs() <= 1, values
    low, high, edge_low, edge_high, _ = _region(fmt)
    inside = (ratio >= low) & (ratio <= high)
    return inside, torch.where(inside, values - ratio, torch.where(ratio < low, edge_low, edge_high))


class _FakeQuantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, alpha: Tensor, fmt: WeightFormat, numel: int) -> Tensor:
        scale = effective_alpha(alpha)
        ctx.fmt, ctx.numel = fmt, numel
        ctx.save_for_backward(weight, scale)
        return _rounded(weight, scale, fmt, weight.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        weight, scale = ctx.saved_tensors
        grad_weight = torch.empty_like(grad)
        grad_alpha = _pass_gradients(weight, scale, grad, ctx.fmt, grad_weight, ctx.numel)
        return grad_weight, grad_alpha, None, None


class _QuantizedLinear(torch.autograd.Function):
    """Fake quantisation and the matrix product behind it, as one node of the graph.

    Apart, the product would keep the rounded weight until its backward pass: a second copy of the model.
    Here it is rounded again instead, so that one linear's at a time exists beside the weights.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, alpha: Tensor, fmt: WeightFormat) -> Tensor:
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        x, scale = x.to(dtype), effective_alpha(alpha)
        ctx.fmt = fmt
        ctx.save_for_backward(x, weight, scale)
        return F.linear(x, _rounded(weight, scale, fmt, dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, scale = ctx.saved_tensors
        grad_x = grad @ _rounded(weight, scale, ctx.fmt, x.dtype)
        grad_weight = (grad.flatten(0, -2).T @ x.flatten(0, -2)).to(weight.dtype)
        grad_alpha = _pass_gradients(weight, scale, grad_weight, ctx.fmt, grad_weight, weight.numel())
        return grad_x, grad_weight, grad_alpha, None


def _region(fmt: WeightFormat) -> tuple[float, float, float, float, int]:
    """Bounds of w / alpha where gradients pass, alpha's slope below and above, and Qp of the grad scale."""
    if fmt.gradient is Gradient.SEQ:
        n_levels, shift = _stretch(fmt)
        edge = (n_levels - shift) / n_levels
        return -SEQ_CLIP, SEQ_CLIP, -edge, edge, 1
    return fmt.offset, fmt.top_level, fmt.offset, fmt.top_level, fmt.top_level


class LearnedGrid:
    """What a module adds whose weight [rows, columns] is fake-quantised on the way through."""

    weight: Tensor
    fmt: WeightFormat

    def set_grid(self, weight: Tensor, fmt: WeightFormat, alpha: Tensor | None) -> None:
        """Takes the weight as it is, and alpha [rows, 1]; where there is none it starts from the weight."""
        self.fmt = fmt
        self.weight = nn.Parameter(weight)
        self.set_alpha(initial_alpha(weight, fmt) if alpha is None else alpha)

    def set_alpha(self, alpha: Tensor) -> None:
        """Makes a parameter of alpha."""
        raise NotImplementedError

    @property
    def alpha(self) -> Tensor:
        """The learned scale [rows, 1], with gradient."""
        raise NotImplementedError

    def quantized_weight(self) -> Tensor:
        return fake_quantize(self.weight, self.alpha, self.fmt)

    def multiply(self, x: Tensor) -> Tensor:
        """x [..., columns] times the quantised weight: [..., rows]."""
        return _QuantizedLinear.apply(x, self.weight, self.alpha, self.fmt)

    def codes(self) -> Tensor:
        """Unsigned codes [rows, columns] uint8: what the packer stores."""
        blocks = _blocks(self.weight.detach(), self.alpha.detach())
        return torch.cat([quantize_codes(weight, alpha, self.fmt) for weight, alpha in blocks])

    def scales(self) -> Tensor:
        """Alpha [rows, 1] as the forward pass uses it, without gradient: what the packer stores."""
        return effective_alpha(self.alpha.detach())


class QATLinear(LearnedGrid, nn.Linear):
    """A linear without bias on a learned grid.

    ``weight_clip_val`` is alpha [out, 1], under the name that ParetoQ's checkpoints use.
    """

    def __init__(self, weight: Tensor, fmt: WeightFormat, alpha: Tensor | None = None) -> None:
        out_features, in_features = weight.shape
        nn.Linear.__init__(self, in_features, out_features, bias=False, device="meta")
        self.set_grid(weight, fmt, alpha)

    def set_alpha(self, alpha: Tensor) -> None:
        self.weight_clip_val = nn.Parameter(alpha)

    @property
    def alpha(self) -> Tensor:
        return self.weight_clip_val

    def forward(self, x: Tensor) -> Tensor:
        return self.multiply(x)
