"""Define the quantised weight: what quantisers emit, checkpoints hold and the packer packs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edge.formats.encoding import Encoding

#: Columns that may share a scale.
GROUP_SIZES = (32, 64, 128, 256)


@dataclass(frozen=True)
class QuantizedWeight:
    """A weight table [n, k] on a grid: ``weight = scale * (code - zero)``.

    Attributes:
        codes: uint8 [n, k].
        scale: float32 [n, G], finite and positive; G is 1, or k / group_size rounded up.
        zero: the code that stands for 0: one number for the table (a multiple of 1/2), or float32 [n, G].
        encoding: how the packer stores the codes.
        group_size: columns that share a scale, one of GROUP_SIZES; None for one scale a row.
        order: int64 [k], the column of the weight that each column of codes belongs to, where columns were
            sorted so that each group lies together; None where codes lie as the weight does.
        scale_dtype: of 16 bits, in which a packed table stores scales and zeros of groups; None for the first
            of float16 and bfloat16 that holds them all.

    Raises:
        ValueError: shapes or dtypes that do not fit each other, codes that the encoding cannot hold, a scale
            that is not finite and positive, a zero that is not finite, an order that is no permutation.
    """

    codes: Tensor
    scale: Tensor
    zero: float | Tensor
    encoding: Encoding
    group_size: int | None = None
    order: Tensor | None = None
    scale_dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        _check_codes(self.codes, self.encoding)
        if self.order is not None and not torch.equal(
            self.order.sort().values, torch.arange(self.codes.shape[1])
        ):
            raise ValueError("order must name each column once")
        if self.group_size is not None and self.group_size not in GROUP_SIZES:
            raise ValueError(f"a scale is shared by 32, 64, 128 or 256 columns, not {self.group_size}")
        if self.group_size is not None and not self.encoding.has_scale_groups:
            raise ValueError(f"{self.encoding.name} has one scale per row; store grouped codes as bits2")
        rows, columns = self.codes.shape
        shape = (rows, 1 if self.group_size is None else -(-columns // self.group_size))
        _check_floats(self.scale, shape, "scale")
        if not bool((self.scale > 0).all()):
            raise ValueError("scale must be positive in every row")
        if isinstance(self.zero, Tensor):
            _check_floats(self.zero, shape, "zero")
        elif not 0 <= self.zero < self.encoding.codes or not float(2 * self.zero).is_integer():
            raise ValueError(
                f"a zero of the whole table must be a multiple of 1/2 among the codes, not {self.zero}"
            )

    @property
    def rows(self) -> int:
        return self.codes.shape[0]

    def dequantize(self) -> Tensor:
        """Compute the weights [n, k] float32; the difference and the product are each rounded once."""
        zero = self.zero if isinstance(self.zero, float | int) else self._per_column(self.zero)
        values = (self.codes.float() - zero) * self._per_column(self.scale)
        if self.order is None:
            return values
        in_place = torch.empty_like(values)
        in_place[:, self.order] = values
        return in_place

    def equals(self, other: QuantizedWeight) -> bool:
        """Compare bit for bit: codes, scales, zeros, the order of columns, and their form."""
        return (
            (self.encoding, self.group_size) == (other.encoding, other.group_size)
            and same_order(self.order, other.order)
            and torch.equal(self.codes, other.codes)
            and torch.equal(self.scale, other.scale)
            and _equal_zeros(self.zero, other.zero)
        )

    def __getitem__(self, rows: slice) -> QuantizedWeight:
        """Some of the rows, as a table that shares their memory."""
        zero = self.zero[rows] if isinstance(self.zero, Tensor) else self.zero
        return replace(self, codes=self.codes[rows], scale=self.scale[rows], zero=zero)

    def split(self, counts: list[int]) -> list[QuantizedWeight]:
        """Split by rows into tables of ``counts`` rows each."""
        zeros = self.zero.split(counts) if isinstance(self.zero, Tensor) else [self.zero] * len(counts)
        parts = zip(self.codes.split(counts), self.scale.split(counts), zeros, strict=True)
        return [replace(self, codes=c, scale=s, zero=z) for c, s, z in parts]

    def scale_per_column(self) -> Tensor:
        """Scales that broadcast to the codes: [n, 1], or [n, k] with groups."""
        return self._per_column(self.scale)

    def _per_column(self, values: Tensor) -> Tensor:
        """Values [n, G] as [n, 1], or repeated to [n, k]."""
        if self.group_size is None:
            return values
        return values.repeat_interleave(self.group_size, dim=1)[:, : self.codes.shape[1]]


def concatenate(weights: list[QuantizedWeight]) -> QuantizedWeight:
    """Join tables of one form below each other.

    Raises:
        ValueError: they differ in encoding, group size, kind of zero or order of columns.
    """
    first = weights[0]
    if len(weights) == 1:
        return first
    if not all(can_share_a_table(first, weight) for weight in weights):
        raise ValueError("only weights of one encoding, group size and kind of zero can share a table")
    zeros = [weight.zero for weight in weights if isinstance(weight.zero, Tensor)]
    return replace(
        first,
        codes=torch.cat([weight.codes for weight in weights]),
        scale=torch.cat([weight.scale for weight in weights]),
        zero=torch.cat(zeros) if zeros else first.zero,
    )


def can_share_a_table(a: QuantizedWeight, b: QuantizedWeight) -> bool:
    """Returns True if two weights can be stacked in one packed table."""
    both_stored = isinstance(a.zero, Tensor) and isinstance(b.zero, Tensor)
    same_zero = both_stored or (not isinstance(a.zero, Tensor | type(None)) and _equal_zeros(a.zero, b.zero))
    same_form = (a.encoding, a.group_size, a.scale_dtype) == (b.encoding, b.group_size, b.scale_dtype)
    return same_form and same_zero and same_order(a.order, b.order)


def same_order(a: Tensor | None, b: Tensor | None) -> bool:
    """Returns True if two orders of columns are the same."""
    return a is b or (a is not None and b is not None and torch.equal(a, b))


def _equal_zeros(a: float | Tensor, b: float | Tensor) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a, b)
    return not isinstance(a, Tensor) and not isinstance(b, Tensor) and a == b


def _check_codes(codes: Tensor, encoding: Encoding) -> None:
    if codes.dim() != 2 or 0 in codes.shape:
        raise ValueError(f"codes must be a matrix [n, k] that is not empty, not {list(codes.shape)}")
    if codes.dtype != torch.uint8:
        raise ValueError(f"codes must be uint8, not {codes.dtype}")
    if not encoding.codes:
        raise ValueError(f"{encoding.name} has no codes; use pack_half for unquantised tables")
    if (largest := int(codes.max())) >= encoding.codes:
        raise ValueError(f"{encoding.name} codes must lie in 0..{encoding.codes - 1}, found {largest}")


def _check_floats(values: Tensor, shape: tuple[int, int], name: str) -> None:
    if values.dtype != torch.float32:
        raise ValueError(f"{name} must be float32, not {values.dtype}: rounding it would change the grid")
    if tuple(values.shape) != shape:
        raise ValueError(f"{name} must have shape {list(shape)}, not {list(values.shape)}")
    if not bool(torch.isfinite(values).all()):
        raise ValueError(
            f"{name} must be finite and positive in every row"
            if name == "scale"
            else f"{name} must be finite"
        )
