"""Random and adversarial packed tables for the op tests."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edge.formats.encoding import ENCODING_BY_NAME, ENCODINGS, HALF, Encoding
from edge.formats.weight import QuantizedWeight
from edge.ops.packing import pack, pack_half

#: Kernels that multiply base-3 tables as they are; others unpack them first (csrc/core/unpacked_ternary.h).
RUNS_BASE3 = ("scalar", "avx512vnni", "avx512vbmi")


@dataclass(frozen=True)
class Form:
    """One form of a packed table: encoding, groups, and what its zeros are."""

    encoding: Encoding
    group_size: int | None = None
    has_zeros: bool = False
    dtype: torch.dtype = torch.float16  # of grouped scales

    @property
    def name(self) -> str:
        groups = f"-g{self.group_size}" if self.group_size else ""
        kind = "-bf16" if self.dtype is torch.bfloat16 else ""
        return self.encoding.name + groups + kind + "-zeros" * self.has_zeros

    @property
    def is_quantized(self) -> bool:
        return self.encoding.codes > 0

    @property
    def zero(self) -> float:
        """Middle of the codes: between two of them, but not at 8 bits, where doubled sums overflow."""
        return 128.0 if self.encoding.codes == 256 else (self.encoding.codes - 1) / 2


def _form(name: str, *rest: object) -> Form:
    return Form(ENCODING_BY_NAME[name], *rest)


#: Every encoding with one scale a row and one zero; then zeros per row, and groups of every size and kind.
ROW_FORMS = [Form(encoding) for encoding in ENCODINGS]
FORMS = [
    *ROW_FORMS,
    *(_form(name, None, True) for name in ("bits1", "base3", "bits2", "bits4", "bits8")),
    _form("bits1", 32),
    _form("bits2", 64, True),
    _form("bits3", 32, False, torch.bfloat16),
    _form("bits3", 128, True),
    _form("bits4", 32),
    _form("bits4", 128, True, torch.bfloat16),
    _form("bits5", 64),
    _form("bits6", 32, True),
    _form("bits7", 256),
    _form("bits8", 256, True),
    _form("bits8", 32),
]
QUANTIZED = [form for form in FORMS if form.is_quantized]
INT4 = _form("bits4")
INT8 = _form("bits8")
INT2 = _form("bits2")
TERNARY = _form("base3")


def name_of(value: object) -> str | None:
    """A test id for a form."""
    return value.name if isinstance(value, Form) else None


def random_codes(n: int, k: int, form: Form, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, form.encoding.codes, (n, k), generator=generator, dtype=torch.uint8)


def random_weight(n: int, k: int, form: Form, seed: int = 0) -> QuantizedWeight:
    generator = torch.Generator().manual_seed(seed + 1)
    shape = (n, 1 if form.group_size is None else -(-k // form.group_size))
    scale = torch.rand(shape, generator=generator) + 0.01
    zeros = torch.randn(shape, generator=generator) * form.encoding.codes
    if form.dtype is torch.bfloat16:
        scale = scale * 2.0**-20  # beyond what a half holds exactly
    if form.group_size is not None:
        scale, zeros = (values.to(form.dtype).float() for values in (scale, zeros))
    zero = zeros if form.has_zeros else form.zero
    return QuantizedWeight(random_codes(n, k, form, seed), scale, zero, form.encoding, form.group_size)


def random_table(n: int, k: int, form: Form, seed: int = 0) -> Tensor:
    """A packed table of any form."""
    if form.encoding is HALF:
        return pack_half(torch.randn(n, k, generator=torch.Generator().manual_seed(seed + 1)))
    return pack(random_weight(n, k, form, seed))


def weight_of(codes: Tensor, scale: Tensor, form: Form) -> QuantizedWeight:
    """Codes with one scale a row and the form's zero."""
    return QuantizedWeight(codes.to(torch.uint8), scale.reshape(-1, 1), form.zero, form.encoding)


def random_rows(tokens: int, k: int, seed: int = 0) -> Tensor:
    return torch.randn(tokens, k, generator=torch.Generator().manual_seed(seed + 2))


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal to the bit, NaN counted equal to NaN."""
    return a.shape == b.shape and torch.equal(torch.isnan(a), torch.isnan(b)) and torch.equal(
        a.nan_to_num(nan=0.0, posinf=1e38, neginf=-1e38), b.nan_to_num(nan=0.0, posinf=1e38, neginf=-1e38)
    )  # fmt: skip
