"""Weights, inputs and error bounds for the tests of the GPU kernels."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from edge.formats.encoding import ENCODING_BY_NAME
from edge.formats.weight import GROUP_SIZES, QuantizedWeight
from edge.ops.triton import GpuWeight
from edge.ops.triton.checks import INTERPRETED

DEVICE = "cpu" if INTERPRETED else "cuda"
#: Encoding, and the zero of the whole table; None where every scale has one of its own.
FORMS = (
    ("bits1", 0.5),
    ("base3", 1.0),
    ("bits2", 1.5),
    ("bits2", 1.0),
    ("bits3", 4.0),
    ("bits3", 3.5),
    ("bits4", 8.0),
    ("bits4", 7.5),
    ("bits1", None),
    ("base3", None),
    ("bits2", None),
    ("bits3", None),
    ("bits4", None),
)
FORMS_AND_GROUPS = [
    (encoding, zero, group)
    for encoding, zero in FORMS
    for group in (None, *GROUP_SIZES)
    if group is None or ENCODING_BY_NAME[encoding].has_scale_groups
]
#: Largest relative error of rounding to nearest.
HALF_UNIT = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8, torch.float32: 2.0**-24}


def make_weight(
    encoding: str,
    zero: float | None,
    n: int,
    k: int,
    group: int | None = None,
    seed: int = 0,
    unit: bool = False,
) -> QuantizedWeight:
    """Make a random weight [n, k].

    Args:
        zero: of the whole table; None makes one for every scale, between the codes at no round number.
        unit: all scales are 1, and zeros integers, so that sums of integers are integers.
    """
    generator = torch.Generator().manual_seed(seed)
    codes = ENCODING_BY_NAME[encoding]
    shape = (n, 1 if group is None else -(-k // group))
    scale = torch.ones(shape) if unit else (torch.rand(shape, generator=generator) + 0.5).half().float()
    zeros = (torch.rand(shape, generator=generator) * (codes.codes - 1)).half().float()
    values = torch.randint(0, codes.codes, (n, k), generator=generator, dtype=torch.uint8)
    stored = zeros.round() if unit else zeros
    return QuantizedWeight(values, scale, stored if zero is None else zero, codes, group)


def make_input(m: int, k: int, dtype: torch.dtype, seed: int = 1) -> Tensor:
    return torch.randn(m, k, generator=torch.Generator().manual_seed(seed)).to(dtype)


def on_device(weight: QuantizedWeight) -> GpuWeight:
    return GpuWeight.of(weight, DEVICE)


def assert_close(out: Tensor, x: Tensor, weight: QuantizedWeight) -> None:
    """Compare with the dequantised weight in float64, within a bound that follows from float32 sums.

    Products x * (code - zero) are exact in float32. A sum of k of them in any order is off by at most k - 1
    roundings of the sum of their sizes. Some more are of scales, and of a stored zero, which multiplies the
    sum of x. Tensor cores cut off instead of rounding: twice as much. The output is rounded once.
    """
    wanted = x.double() @ weight.dequantize().double().T
    zero = weight.zero if isinstance(weight.zero, Tensor) else torch.full_like(weight.scale, weight.zero)
    per_column = replace(weight, scale=zero.abs() + 1, zero=0.0).scale_per_column() - 1
    sizes = (weight.codes + per_column.double()) * weight.scale_per_column()
    roundings = x.shape[-1] + 16
    bound = roundings * 2.0**-23 * (x.double().abs() @ sizes.double().T)
    bound += HALF_UNIT[out.dtype] * (wanted.abs() + bound) + (2.0**-25 if out.dtype == torch.float16 else 0)
    worst = ((out.cpu().double() - wanted).abs() / bound.clamp(min=1e-300)).max()
    assert worst <= 1, f"{float(worst):.3g} times the bound"
