"""One linear as another project's format stores it, and the same as a weight of this project's.

Every format read here has the formula

    weight = scale[g] * (code - zero[g]),    g the group of the column,

computed in the dtype of the scales, mostly float16: the product is rounded to it. Tables here compute it in
float32, where it is exact: a scale has at most 11 significant bits and a difference of codes 8. So codes,
scales and zeros are taken over as they are, and a table's weight is the format's before its last rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edge.formats import GRIDS, Grid
from edge.formats.encoding import ENCODING_BY_NAME
from edge.formats.weight import GROUP_SIZES, QuantizedWeight

#: Reads what belongs to rows int64 [r] of a linear.
RowsAt = Callable[[Tensor], Tensor]
#: A larger group is split into groups of this size.
_LARGEST_GROUP = max(GROUP_SIZES)


@dataclass(frozen=True)
class StoredLinear:
    """A linear [n, k] of a file; G is the number of groups of columns.

    Attributes:
        name: of its codes, for messages.
        bits: of a code.
        group_size: columns that share a scale; k for one scale a row.
        codes: reads uint8 [r, k], columns as the model has them.
        zeros: reads uint8 [r, G].
        scales: reads [r, G] in the stored dtype.
        scale_dtype: that dtype.
        symmetric: the file promises zeros in the middle of the codes.
        g_idx: int64 [k], the group of each column, where groups are not stretches of columns (act-order).
        row_order: int64 [n], the row of the file that each row comes from; None for the same.
        columns_follow: inputs come in the order of ``order``, because the linears that make them do.

    Raises:
        ValueError: ``g_idx`` does not fit the groups.
    """

    name: str
    shape: tuple[int, int]
    bits: int
    group_size: int
    codes: RowsAt
    zeros: RowsAt
    scales: RowsAt
    scale_dtype: torch.dtype
    symmetric: bool
    g_idx: Tensor | None = None
    row_order: Tensor | None = None
    columns_follow: bool = False

    def __post_init__(self) -> None:
        if self.g_idx is not None:
            self._check_groups(self.g_idx)

    @property
    def grid(self) -> Grid:
        """The grid of its width whose zero is the linear's, or that has zeros of each group's own."""
        same_codes = [grid for grid in GRIDS if grid.encoding is ENCODING_BY_NAME[f"bits{self.bits}"]]
        wanted = self._middle if self.symmetric else None
        stored = next(grid for grid in same_codes if grid.zero is None)
        return next((grid for grid in same_codes if grid.zero == wanted), stored)

    @functools.cached_property
    def order(self) -> Tensor | None:
        """The columns, int64 [k], sorted by their groups; None where they are."""
        if self.g_idx is None or bool((self.g_idx.diff() >= 0).all()):
            return None
        return torch.argsort(self.g_idx, stable=True)

    def with_rows(self, order: Tensor) -> StoredLinear:
        """The same linear with its outputs in another order."""
        return replace(self, row_order=order)

    def following(self) -> StoredLinear:
        """The same linear for inputs that come in the order of its columns."""
        return replace(self, columns_follow=True)

    def quantized(self, rows: slice) -> QuantizedWeight:
        """Rows of the linear, with columns sorted by groups; codes, scales and zeros are the file's.

        Raises:
            ValueError: scales that are not finite and positive or that a table cannot hold, or zeros that are
                not where the file promises them.
        """
        at = self._rows_of_file(rows)
        codes, scales, zeros = self.codes(at), self._checked_scales(at), self._checked_zeros(at)
        if self.order is not None:
            codes = codes[:, self.order]
        order = None if self.columns_follow else self.order
        try:
            if scales.shape[1] == 1:
                return QuantizedWeight(codes, scales, zeros, self.grid.encoding, None, order)
            group = min(self.group_size, _LARGEST_GROUP)
            scales, zeros = self._split(scales), self._split(zeros) if isinstance(zeros, Tensor) else zeros
            return QuantizedWeight(
                codes, scales, zeros, self.grid.encoding, group, order, self._dtype_in_tables
            )
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error

    def formula(self, rows: slice) -> Tensor:
        """Weights [r, k] by the format's own formula, in its own dtype."""
        at = self._rows_of_file(rows)
        group = torch.arange(self.shape[1]) // self.group_size if self.g_idx is None else self.g_idx
        scale, zero = self.scales(at)[:, group], self.zeros(at)[:, group]
        weight = scale * (self.codes(at).to(scale.dtype) - zero.to(scale.dtype))
        return weight[:, self.order] if self.columns_follow and self.order is not None else weight

    def _rows_of_file(self, rows: slice) -> Tensor:
        rows_of_file = torch.arange(self.shape[0]) if self.row_order is None else self.row_order
        return rows_of_file[rows]

    def _checked_scales(self, at: Tensor) -> Tensor:
        """Scales float32 [r, G]; that they are positive is checked with the rest of the weight."""
        scales = self.scales(at).float()
        if bool((scales > torch.finfo(self.scale_dtype).max / 2**self.bits).any()):
            raise ValueError(f"{self.name}: a scale is so large that weights overflow {self.scale_dtype}")
        return scales

    def _checked_zeros(self, at: Tensor) -> Tensor | float:
        """Zeros float32 [r, G], or one for the whole table where its grid has one."""
        zeros, middle = self.zeros(at), self._middle
        if self.symmetric and bool((wrong := zeros != middle).any()):
            raise ValueError(
                f"{self.name}: a zero is {int(zeros[wrong][0])} where config.json promises {middle} "
                "everywhere (symmetric): the zeros are damaged, or of another version of the format"
            )
        return zeros.float() if self.grid.zero is None else self.grid.zero

    def _split(self, values: Tensor) -> Tensor:
        """Values [r, G] of groups that are larger than a table's, repeated for each part of a group."""
        parts = max(1, self.group_size // _LARGEST_GROUP)
        return values.repeat_interleave(parts, dim=1)[:, : -(-self.shape[1] * parts // self.group_size)]

    @functools.cached_property
    def _dtype_in_tables(self) -> torch.dtype:
        """The dtype of 16 bits in which a table holds the scales of groups."""
        if self.scale_dtype != torch.float32:
            return self.scale_dtype
        scales = self.scales(torch.arange(self.shape[0]))
        for dtype in (torch.float16, torch.bfloat16):
            if torch.equal(scales.to(dtype).float(), scales):
                return dtype
        raise ValueError("a program's tables hold scales of groups in 16 bits, and these need float32")

    @property
    def _middle(self) -> int:
        return 1 << (self.bits - 1)

    def _check_groups(self, g_idx: Tensor) -> None:
        """Raise ValueError unless each group has its number of columns, the last one what is left."""
        columns = self.shape[1]
        groups = -(-columns // self.group_size)
        if not bool(((g_idx >= 0) & (g_idx < groups)).all()):
            outside = int(g_idx[(g_idx < 0) | (g_idx >= groups)][0])
            raise ValueError(
                f"{self.name}: g_idx names group {outside}, and there are {groups}; it is damaged"
            )
        counts = torch.bincount(g_idx, minlength=groups)
        expected = torch.full_like(counts, self.group_size)
        expected[-1] = columns - (groups - 1) * self.group_size
        if not torch.equal(counts, expected):
            group = int((counts != expected).nonzero()[0])
            raise ValueError(
                f"{self.name}: g_idx gives group {group} {int(counts[group])} columns instead of "
                f"{int(expected[group])}; a table's groups have equal sizes, so quantise without act-order"
            )
