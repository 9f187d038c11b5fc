"""Define ``torch.ops.lowbit.dequantize``: a packed table as a plain weight, where no kernel takes it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from edge.ops.packing import unpack

#: Triton's kernels can run here; they keep a form of a table that is quickly dequantised.
HAS_TRITON = torch.cuda.is_available() and find_spec("triton") is not None


@torch.library.custom_op("lowbit::dequantize", mutates_args=())
def dequantize(packed: Tensor, rows: int, columns: int) -> Tensor:
    """Unpack a table [bytes] to a weight [rows, columns] float32, on the table's device."""
    if packed.is_cuda and HAS_TRITON:
        from edge.ops.triton.packed import dequantized

        return dequantized(packed)
    return unpack(packed.cpu()).dequantize().to(packed.device)


@dequantize.register_fake
def _(packed: Tensor, rows: int, columns: int) -> Tensor:
    return packed.new_empty([rows, columns], dtype=torch.float32)


def keep_weight(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
    """Keep what ``input_gradient`` needs of a product (x [..., k], packed [bytes], rows)."""
    ctx.save_for_backward(inputs[1])
    ctx.columns = inputs[0].shape[-1]


def input_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    """Compute the gradient of a product's input; it passes straight through the rounding of activations."""
    weight = dequantize(ctx.saved_tensors[0], grad.shape[-1], ctx.columns)
    return grad @ weight.to(grad.dtype), None, None
