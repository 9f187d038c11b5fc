"""Multiply activations by a weight on a GPU: the ops as PyTorch and ``torch.compile`` see them.

gpu_linear(x float16 or bfloat16 [..., k], weight [n, k]) -> [..., n] of x's type
gpu_linear_int8(x int8 [..., k], x_scale float32 [...], weight [n, k], dtype) -> dtype [..., n]
"""

from __future__ import annotations

import torch
from torch import Tensor

from edge.ops.triton.checks import check_arguments
from edge.ops.triton.launch import launch
from edge.ops.triton.weight import GpuWeight

_OUTPUTS = (torch.float16, torch.bfloat16, torch.float32)


def linear(x: Tensor, weight: GpuWeight) -> Tensor:
    """Multiply x [..., k] by a weight [n, k] -> [..., n]; sums are float32, and rounded once to x's type.

    Raises:
        ValueError: x is not float16 or bfloat16, its columns or device are not the weight's, or the kernels
            cannot run on its device.
    """
    return torch.ops.lowbit.gpu_linear(x, *_parts(weight))


def linear_int8(x: Tensor, x_scale: Tensor, weight: GpuWeight, dtype: torch.dtype) -> Tensor:
    """Multiply x int8 [..., k], times x_scale float32 [...] of each token, by a weight -> dtype [..., n].

    Where a row has one scale and no zero of its own, sums are exact until the scales multiply them, in the
    order of the CPU ops.

    Raises:
        ValueError: see ``linear``.
    """
    return torch.ops.lowbit.gpu_linear_int8(x, x_scale, *_parts(weight), dtype)


def quantize_tokens(x: Tensor) -> tuple[Tensor, Tensor]:
    """Round x [..., k] to int8 [..., k] and a scale float32 [...] of each token, as the CPU ops do.

    A token that is not finite gets the scale NaN; one that is too small to have an inverse becomes 0.
    """
    x = x.float()
    largest = x.abs().amax(-1, keepdim=True)
    most = torch.full_like(largest, 127)  # PyTorch multiplies by the inverse of a number, which rounds twice
    inverse = most / largest
    usable = torch.isfinite(largest) & torch.isfinite(inverse)
    q = torch.where(usable, (x * inverse).round().clamp(-127, 127), 0).to(torch.int8)
    scale = torch.where(usable, largest / most, torch.where(torch.isfinite(largest), 0.0, torch.nan))
    return q, scale.squeeze(-1)


def _parts(weight: GpuWeight) -> tuple[Tensor, Tensor, Tensor | None, float, int, int, int]:
    zeros, zero = (weight.zero, 0.0) if isinstance(weight.zero, Tensor) else (None, weight.zero)
    return weight.words, weight.scale, zeros, zero, weight.k, weight.bits, weight.group_size or 0


@torch.library.custom_op("lowbit::gpu_linear", mutates_args=())
def _gpu_linear(
    x: Tensor, words: Tensor, scale: Tensor, zeros: Tensor | None, zero: float, k: int, bits: int, group: int
) -> Tensor:
    _check_floats(x)
    return launch(x, None, words, scale, zeros, zero, k, bits, group, x.dtype)


@_gpu_linear.register_fake
def _(
    x: Tensor, words: Tensor, scale: Tensor, zeros: Tensor | None, zero: float, k: int, bits: int, group: int
) -> Tensor:
    _check_floats(x)
    check_arguments(x, words, scale, zeros, zero, k, bits, group)
    return x.new_empty([*x.shape[:-1], words.shape[0]])


@torch.library.custom_op("lowbit::gpu_linear_int8", mutates_args=())
def _gpu_linear_int8(
    x: Tensor,
    x_scale: Tensor,
    words: Tensor,
    scale: Tensor,
    zeros: Tensor | None,
    zero: float,
    k: int,
    bits: int,
    group: int,
    dtype: torch.dtype,
) -> Tensor:
    _check_integers(x, x_scale, dtype)
    return launch(x, x_scale.contiguous(), words, scale, zeros, zero, k, bits, group, dtype)


@_gpu_linear_int8.register_fake
def _(
    x: Tensor,
    x_scale: Tensor,
    words: Tensor,
    scale: Tensor,
    zeros: Tensor | None,
    zero: float,
    k: int,
    bits: int,
    group: int,
    dtype: torch.dtype,
) -> Tensor:
    _check_integers(x, x_scale, dtype)
    check_arguments(x, words, scale, zeros, zero, k, bits, group)
    return x.new_empty([*x.shape[:-1], words.shape[0]], dtype=dtype)


def _check_floats(x: Tensor) -> None:
    if x.dtype not in (torch.float16, torch.bfloat16):
        raise ValueError(f"the input must be float16 or bfloat16, not {x.dtype}; linear_int8 takes int8")


def _check_integers(x: Tensor, x_scale: Tensor, dtype: torch.dtype) -> None:
    if x.dtype != torch.int8 or x_scale.dtype != torch.float32:
        raise ValueError(
            f"the input must be int8 and its scales float32, as quantize_tokens makes them, not {x.dtype} "
            f"and {x_scale.dtype}"
        )
    if x_scale.shape != x.shape[:-1] or x_scale.device != x.device:
        raise ValueError(
            f"the input {list(x.shape)} on {x.device} needs a scale for each token there, not "
            f"{list(x_scale.shape)} on {x_scale.device}"
        )
    if dtype not in _OUTPUTS:
        raise ValueError(f"the output must be float16, bfloat16 or float32, not {dtype}")
