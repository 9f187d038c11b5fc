"""Hold a quantised weight in the packed form of GPUs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edge.formats.encoding import Encoding
from edge.formats.weight import QuantizedWeight
from edge.ops.packing import is_quantized, unpack
from edge.ops.triton.layout import PLANES, codes_from_words, words_from_codes


@dataclass(frozen=True)
class GpuWeight:
    """A weight [n, k] that the kernels read: weight = scale * (code - zero).

    Attributes:
        words: int16 [n, row words], the codes.
        scale: [n, G]; float32 with one scale a row, with groups the narrowest type that
            holds them all.
        zero: the code that stands for 0 in the whole table, a multiple of 1/2, or float32 [n, G].
        k: columns.
        encoding: of the table that it was made from; base 3 is held in 2 bits here.
        group_size: columns that share a scale; None for one scale a row.
    """

    words: Tensor
    scale: Tensor
    zero: float | Tensor
    k: int
    encoding: Encoding
    group_size: int | None = None

    @staticmethod
    def of(weight: QuantizedWeight, device: torch.device | str) -> GpuWeight:
        """Convert a quantised weight, and move it to a device.

        Raises:
            ValueError: codes wider than 4 bits, columns in another order than their inputs, or no data.
        """
        if weight.codes.is_meta:
            raise ValueError("a weight on the meta device has no codes to pack; load its values first")
        if weight.order is not None:
            raise ValueError("the GPU form has no place for the order of columns (act-order)")
        if weight.encoding.code_bits not in PLANES:
            raise ValueError(f"the GPU kernels take codes of 1 to 4 bits, not {weight.encoding.name}")
        words = words_from_codes(weight.codes.to(device), weight.encoding.code_bits)
        zero = weight.zero.to(device) if isinstance(weight.zero, Tensor) else float(weight.zero)
        scale = weight.scale.to(device, _scale_dtype(weight))
        return GpuWeight(words, scale, zero, weight.codes.shape[1], weight.encoding, weight.group_size)

    @staticmethod
    def from_packed(packed: Tensor, device: torch.device | str) -> GpuWeight:
        """Convert a packed table of ``edge/ops/packing.py``, and move it to a device.

        Raises:
            ValueError: a damaged table, one of halves, codes wider than 4 bits, or no data.
        """
        if packed.is_meta:
            raise ValueError("a packed table on the meta device has no bytes; load its values first")
        if not is_quantized(packed):
            raise ValueError("the table holds halves, not codes; multiply by unpack_half of it")
        return GpuWeight.of(unpack(packed), device)

    def quantized(self) -> QuantizedWeight:
        """The codes, scales and zeros as they came, on the CPU."""
        zero = self.zero.cpu() if isinstance(self.zero, Tensor) else self.zero
        codes = codes_from_words(self.words.cpu(), self.k, self.bits)
        dtype = None if self.group_size is None else self.scale.dtype
        scale = self.scale.cpu().float()
        return QuantizedWeight(codes, scale, zero, self.encoding, self.group_size, scale_dtype=dtype)

    def dequantize(self) -> Tensor:
        """Compute the weight [n, k] float32, where the codes lie."""
        zero = self.zero
        codes = codes_from_words(self.words, self.k, self.bits)
        scale = self.scale.float()
        return QuantizedWeight(codes, scale, zero, self.encoding, self.group_size).dequantize()

    @property
    def bits(self) -> int:
        """Bits of a code as they are stored: 2 for base 3."""
        return self.encoding.code_bits

    @property
    def n(self) -> int:
        """Rows."""
        return self.words.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes that a product reads of the weight."""
        tensors = [self.words, self.scale] + ([self.zero] if isinstance(self.zero, Tensor) else [])
        return sum(tensor.nbytes for tensor in tensors)


def _scale_dtype(weight: QuantizedWeight) -> torch.dtype:
    """The narrowest type that holds the scales exactly: 16 bits with groups where they fit."""
    if weight.group_size is None:
        return torch.float32
    for dtype in (weight.scale_dtype, torch.float16, torch.bfloat16):
        if dtype is not None and torch.equal(weight.scale.to(dtype).float(), weight.scale):
            return dtype
    return torch.float32
