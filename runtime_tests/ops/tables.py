"""Random and adversarial packed tables for the op tests."""

from __future__ import annotations

import torch
from torch import Tensor

from edge.formats import FORMATS, WeightFormat
from edge.ops.packing import pack_codes, pack_half

QUANTIZED = [f for f in FORMATS if f.is_quantized]
#: Kernels that multiply base-3 tables as they are; the others unpack them first (csrc/core/unpacked_ternary.h).
RUNS_BASE3 = ("scalar", "avx512vbmi")


def name_of(value: object) -> str | None:
    """A test id for a format row."""
    return value.name if isinstance(value, WeightFormat) else None


def random_codes(n: int, k: int, fmt: WeightFormat, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, fmt.levels, (n, k), generator=generator, dtype=torch.uint8)


def random_table(n: int, k: int, fmt: WeightFormat, seed: int = 0) -> Tensor:
    """A packed table of any row of the format table."""
    generator = torch.Generator().manual_seed(seed + 1)
    if not fmt.is_quantized:
        return pack_half(torch.randn(n, k, generator=generator))
    alpha = torch.rand(n, generator=generator) + 0.01
    return pack_codes(random_codes(n, k, fmt, seed), alpha, fmt)


def random_rows(tokens: int, k: int, seed: int = 0) -> Tensor:
    return torch.randn(tokens, k, generator=torch.Generator().manual_seed(seed + 2))


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal to the bit, NaN counted equal to NaN."""
    return a.shape == b.shape and torch.equal(torch.isnan(a), torch.isnan(b)) and torch.equal(
        a.nan_to_num(nan=0.0, posinf=1e38, neginf=-1e38), b.nan_to_num(nan=0.0, posinf=1e38, neginf=-1e38)
    )  # fmt: skip
