"""Multiply by packed tables of the CPU's layout on a GPU: ``torch.ops.lowbit.gpu_linear_packed``.

The GPU form of a table is made at its first product, and kept as long as the table is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from edge.ops.dequantize import input_gradient, keep_weight
from edge.ops.packing import is_quantized, unpack, unpack_half
from edge.ops.triton.checks import can_run
from edge.ops.triton.layout import PLANES
from edge.ops.triton.linear import linear, linear_int8, quantize_tokens
from edge.ops.triton.weight import GpuWeight


@dataclass(frozen=True)
class _Form:
    """Hold the kernels' form of a table, or a plain weight [rows, columns] where they have none."""

    weight: GpuWeight | Tensor
    version: int


_forms = WeakTensorKeyDictionary()


def form_of(packed: Tensor) -> GpuWeight | Tensor:
    """Find the form of a packed table [bytes] on its device, made anew only if the table was written to."""
    version = 0 if packed.is_inference() else packed._version
    kept = _forms.get(packed)
    if kept is None or kept.version != version:
        kept = _Form(_made(packed), version)
        _forms[packed] = kept
    return kept.weight


def _made(packed: Tensor) -> GpuWeight | Tensor:
    table, device = packed.cpu(), packed.device
    if not is_quantized(table):
        return unpack_half(table).to(device)
    weight = unpack(table)
    if weight.order is None and weight.encoding.code_bits in PLANES and can_run(device):
        return GpuWeight.of(weight, device)
    return weight.dequantize().to(device)


def dequantized(packed: Tensor) -> Tensor:
    """Dequantise a packed table to a weight [rows, columns] float32, on its device."""
    form = form_of(packed)
    return form.dequantize() if isinstance(form, GpuWeight) else form.float().clone()


@torch.library.custom_op("lowbit::gpu_linear_packed", mutates_args=())
def _linear_packed(x: Tensor, packed: Tensor, rows: int) -> Tensor:
    """Multiply x [..., k] by a packed table -> [..., rows] of x's type.

    Half-precision inputs are multiplied as they are. float32 ones are rounded to int8 for each token, as
    ``lowbit::linear`` does on the CPU.
    """
    form = form_of(packed)
    if not isinstance(form, GpuWeight):
        return x @ form.to(x.dtype).T
    if x.dtype != torch.float32:
        return linear(x, form)
    return linear_int8(*quantize_tokens(x), form, torch.float32)


@_linear_packed.register_fake
def _(x: Tensor, packed: Tensor, rows: int) -> Tensor:
    return x.new_empty([*x.shape[:-1], rows])


_linear_packed.register_autograd(input_gradient, setup_context=keep_weight)
