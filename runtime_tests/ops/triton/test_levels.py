"""Levels are exact in float16 and bfloat16; NumPy, and so the interpreter, has no bfloat16.

The function of the kernel runs here on tensors of PyTorch that refuse every rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="needs Triton: pip install '.[gpu]'")
import triton.language as tl

from edge.ops.triton.levels import _floats

TYPES = {torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}


@dataclass
class ExactFloats:
    """Floats of 16 bits; an operation whose operand or result they cannot hold fails."""

    values: Tensor

    def __mul__(self, other: float) -> ExactFloats:
        return self._exact(self.values.double() * self._operand(other))

    def __sub__(self, other: float) -> ExactFloats:
        return self._exact(self.values.double() - self._operand(other))

    def _operand(self, number: float) -> float:
        assert float(torch.tensor(number).to(self.values.dtype)) == number
        return number

    def _exact(self, wanted: Tensor) -> ExactFloats:
        assert torch.equal(wanted.to(self.values.dtype).double(), wanted)
        return ExactFloats(wanted.to(self.values.dtype))


@dataclass
class Words:
    """Words of 16 bits, as the kernel computes with them."""

    words: Tensor

    def __rshift__(self, bits: int) -> Words:
        return Words(self.words >> bits)

    def __lshift__(self, bits: int) -> Words:
        return Words(self.words << bits)

    def __and__(self, mask: int) -> Words:
        return Words(self.words & mask)

    def __or__(self, mask: int) -> Words:
        return Words(self.words | mask)

    def to(self, dtype: tl.dtype, bitcast: bool) -> ExactFloats:
        assert bitcast
        return ExactFloats(self.words.view(next(t for t, name in TYPES.items() if name == dtype)))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("bits", "most_twice_zero"), [(1, 1), (2, 15), (4, 30)])
def test_every_code(bits: int, most_twice_zero: int, dtype: torch.dtype) -> None:
    """With the zeros of its width, and of 3 bits for the plane of 2."""
    words = torch.arange(-(1 << 15), 1 << 15, 37, dtype=torch.int32)  # every code in every place
    for position in range(16 // bits):
        codes = (words >> bits * position) & ((1 << bits) - 1)
        for twice_zero in range(most_twice_zero + 1):
            found = _floats.fn(Words(words.to(torch.int16)), position, bits, twice_zero, TYPES[dtype])
            assert torch.equal(found.values.double(), codes - twice_zero / 2)
