"""The tables of a lowered model.

A packed table is one uint8 tensor in the layout of ``edge/ops/packing.py``. It holds the rows of one or more
weights, those of the first above those of the next.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge.formats.elastic import LOW, MIDDLE
from edge.ops.packed_header import PackedHeader
from export.weights import ModelWeights, Widths

#: A placeholder starts with this, and a number of its own: ExecuTorch stores equal constants once.
MARKER = b"unfilled table "
MARKER_BYTES = len(MARKER) + 16
_numbers = itertools.count()


@dataclass(frozen=True)
class ElasticRest:
    """Describe what an elastic weight has beside its base (``edge/formats/elastic.py``).

    Attributes:
        middle, low: headers of the two other tables.
        widths: of the program's layers.
        layer: whose width counts.
    """

    middle: PackedHeader
    low: PackedHeader
    widths: Widths
    layer: int


@dataclass(frozen=True)
class TablePlan:
    """Describe a packed [n, k] table that a program will hold.

    Attributes:
        header: of the table; None for a tied head, which has no table of its own.
        rows: number of rows of each weight, by the full name of its module, in their order.
        order: int64 [k], the input that each column of the table multiplies; None where they are the same.
        rest: of elastic weights, whose base the table is; None for others.
    """

    header: PackedHeader | None
    rows: dict[str, int]
    order: Tensor | None = None
    rest: ElasticRest | None = None


class PackedTable(nn.Module):
    """Hold the place of a packed table.

    ``packed`` has the table's length but not its bytes: those are written into the program's file later,
    where ``marker`` stands. So a model is never in memory as a whole.
    """

    def __init__(self, plan: TablePlan) -> None:
        super().__init__()
        header = plan.header
        self.rows, self.header = plan.rows, header
        self.n = sum(plan.rows.values())
        self.marker = MARKER + b"%016d" % next(_numbers)
        self.packed: Tensor
        self.order: Tensor | None
        self.register_buffer("order", plan.order)
        self.register_buffer(
            "packed", None if header is None else _marked_zeros(header.total_bytes, self.marker)
        )
        self.is_elastic = plan.rest is not None
        if plan.rest is not None:
            self._add_rest(plan.rest)

    def _add_rest(self, rest: ElasticRest) -> None:
        self.middle = RestTable(TablePlan(rest.middle, {name + MIDDLE: n for name, n in self.rows.items()}))
        self.low = RestTable(TablePlan(rest.low, {name + LOW: n for name, n in self.rows.items()}))
        self.widths, self.layer = rest.widths, rest.layer

    def ordered(self, x: Tensor) -> Tensor:
        """Inputs [..., k] in the order of the table's columns."""
        return x if self.order is None else x.index_select(-1, self.order)

    def arguments(self) -> tuple[Any, ...]:
        """List what stands for the table in a call of an op."""
        if not self.is_elastic:
            return (self.packed,)
        return self.packed, self.middle.packed, self.low.packed, self.widths.bits, self.layer

    @property
    def is_quantized(self) -> bool:
        """Returns True if the table holds codes, False if it holds float16 weights."""
        return self.header is not None and self.header.encoding.codes > 0


class RestTable(PackedTable):
    """Hold the place of a table of an elastic weight that its narrowest slice does without."""


class JoinedLinear(nn.Linear):
    """Joins plain linears of the same input into one, their rows stacked in order; for XNNPACK."""

    def __init__(self, names: Sequence[str], weights: ModelWeights) -> None:
        self.rows = {name: weights.shape(name)[0] for name in names}
        super().__init__(weights.shape(names[0])[1], sum(self.rows.values()), bias=False, device="meta")
        weight = torch.cat([weights.original(name) for name in names])
        self.weight = nn.Parameter(weight, requires_grad=False)

    def values(self) -> dict[str, Tensor]:
        """The float32 weights that the linear computes with, by the names of those it joins."""
        weight = self.weight  # torchao's quantised tensor, or a plain one
        joined = weight.dequantize() if hasattr(weight, "qdata") else weight.detach()
        return dict(zip(self.rows, joined.split(list(self.rows.values())), strict=True))


Table = PackedTable | JoinedLinear


def tables_of(lowered: nn.Module) -> Iterator[tuple[str, Table]]:
    """Every table of a lowered model with its full name; a tied head has none of its own."""
    for name, module in lowered.named_modules():
        if isinstance(module, PackedTable) and module.header is None:
            continue
        if isinstance(module, PackedTable | JoinedLinear):
            yield name, module


def packed_tables(lowered: nn.Module) -> dict[str, PackedTable]:
    """The packed tables of a lowered model by full name."""
    return {name: table for name, table in tables_of(lowered) if isinstance(table, PackedTable)}


def joined_linears(lowered: nn.Module) -> list[JoinedLinear]:
    """The plain or torchao linears of a lowered model."""
    return [module for module in lowered.modules() if isinstance(module, JoinedLinear)]


def untouched_zeros(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Zeros that take no memory until they are written; PyTorch's own are written at once."""
    size = torch.Size(shape).numel() * dtype.itemsize
    return torch.from_numpy(np.zeros(size, np.uint8)).view(dtype).view(*shape)


def _marked_zeros(size: int, marker: bytes) -> Tensor:
    zeros = untouched_zeros((size,), torch.uint8)
    zeros[: len(marker)] = torch.frombuffer(bytearray(marker), dtype=torch.uint8)
    return zeros
