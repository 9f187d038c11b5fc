"""A weight that is packed low-bit codes, as a tensor that ``F.linear`` and ``F.embedding`` take."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchao.utils import TorchAOBaseTensor

from edge.formats.weight import QuantizedWeight
from edge.ops.dequantize import HAS_TRITON, dequantize, input_gradient, keep_weight
from edge.ops.packing import pack, unpack

if HAS_TRITON:
    pass  # defines torch.ops.lowbit.gpu_linear_packed


class LowBitTensor(TorchAOBaseTensor):
    """A packed weight [rows, columns] that computes as ``dtype``.

    On the CPU a linear rounds its input to int8 for each token and runs ``lowbit::linear``; on a GPU it runs
    the kernels of ``edge/ops/triton``, where Triton is installed; elsewhere it multiplies by the dequantised
    weight. The weight has no gradient; the input of a linear has one.

    Attributes:
        packed: uint8 [bytes], the layout of ``edge/ops``.
    """

    tensor_data_names: ClassVar[list[str]] = ["packed"]
    tensor_attribute_names: ClassVar[list[str]] = ["rows", "columns", "dtype"]

    packed: Tensor
    rows: int
    columns: int

    def __new__(cls, packed: Tensor, rows: int, columns: int, dtype: torch.dtype) -> LowBitTensor:
        made: LowBitTensor = torch.Tensor._make_wrapper_subclass(
            cls, (rows, columns), dtype=dtype, device=packed.device, requires_grad=False
        )
        return made

    def __init__(self, packed: Tensor, rows: int, columns: int, dtype: torch.dtype) -> None:
        self.packed, self.rows, self.columns = packed, rows, columns

    @staticmethod
    def of(weight: QuantizedWeight, dtype: torch.dtype, device: torch.device | str = "cpu") -> LowBitTensor:
        """Pack a quantised weight, and check that what was packed is what was quantised.

        Raises:
            ValueError: the packer cannot hold it, or packing changed it.
        """
        packed = pack(weight)
        if not unpack(packed).equals(weight):
            raise ValueError(
                "packing changed the weight; please report this with the weight's shape and bits"
            )
        rows, columns = weight.codes.shape
        return LowBitTensor(packed.to(device), rows, columns, dtype)

    def quantized(self) -> QuantizedWeight:
        """The codes, scales and zeros, on the CPU."""
        return unpack(self.packed.cpu())

    def dequantize(self, output_dtype: torch.dtype | None = None) -> Tensor:
        """The weight [rows, columns] as a plain tensor."""
        return self.quantized().dequantize().to(self.device, output_dtype or self.dtype)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        size = f"{self.rows}x{self.columns}, {self.packed.numel():,} bytes"
        return f"LowBitTensor({size}, {self.dtype}, {self.device})"


def _linear(input: Tensor, weight: LowBitTensor, bias: Tensor | None = None) -> Tensor:
    x = input
    if x.shape[-1] != weight.columns:
        raise ValueError(f"the input has {x.shape[-1]} columns, and the weight {weight.columns}")
    if x.device.type == "cpu":
        out = torch.ops.lowbit.linear(x.float(), weight.packed, weight.rows).to(x.dtype)
    elif x.device.type == "cuda" and HAS_TRITON:
        out = torch.ops.lowbit.gpu_linear_packed(x, weight.packed, weight.rows)
    else:
        out = x @ dequantize(weight.packed, weight.rows, weight.columns).to(x.dtype).T
    return out if bias is None else out + bias


def _embedding(input: Tensor, weight: LowBitTensor, *_: Any, **__: Any) -> Tensor:
    """Look tokens up; what else ``F.embedding`` takes is of gradients, which a packed table has not."""
    if input.device.type == "cpu":
        return torch.ops.lowbit.embedding(input, weight.packed, weight.columns).to(weight.dtype)
    return F.embedding(input, dequantize(weight.packed, weight.rows, weight.columns)).to(weight.dtype)


@LowBitTensor.implements_torch_function([F.linear])
def _(func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Tensor:
    return _linear(*args, **(kwargs or {}))


@LowBitTensor.implements_torch_function([F.embedding])
def _(func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Tensor:
    return _embedding(*args, **(kwargs or {}))


torch.library.register_autograd("lowbit::linear", input_gradient, setup_context=keep_weight)
torch.serialization.add_safe_globals([LowBitTensor])
