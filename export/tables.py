"""Pack a model's weights into tables, and compare packed tables with the model.

A packed table is one uint8 tensor in the layout of ``edge/ops/packing.py``. It holds the rows of one or more
weights, those of the first above those of the next. Everything here that knows codes, scales and formats is
in ``pack_linears``, ``pack_embedding``, ``mismatch`` and ``weights_in``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from edge.formats import grid_for_bits
from edge.formats.weight import QuantizedWeight, concatenate
from edge.model.decoder import Decoder
from edge.ops.packing import dequantize, is_quantized, pack, pack_half, unpack, unpack_half
from edge.quantizers.base import OnGrid
from edge.quantizers.embedding import quantize_embedding

Linears = Mapping[str, nn.Linear]  # by full name, in the order of their rows


class PackedTable(nn.Module):
    """A packed [n, k] table of weights of the model.

    Args:
        packed: uint8 [bytes]; None for a tied head, which has no table of its own.
        rows: number of rows of each weight, by the full name of its module, in their order.
    """

    def __init__(self, packed: Tensor | None, rows: dict[str, int]) -> None:
        super().__init__()
        self.rows = rows
        self.n = sum(rows.values())
        self.packed: Tensor
        self.register_buffer("packed", packed)

    @property
    def is_quantized(self) -> bool:
        """Returns True if the table holds codes, False if it holds float16 weights."""
        return is_quantized(self.packed)


class JoinedLinear(nn.Linear):
    """Joins plain linears of the same input into one, their rows stacked in order; for XNNPACK."""

    def __init__(self, linears: Linears) -> None:
        self.rows = {name: linear.out_features for name, linear in linears.items()}
        weights = [linear.weight.detach() for linear in linears.values()]
        super().__init__(weights[0].shape[1], sum(self.rows.values()), bias=False, device="meta")
        weight = weights[0] if len(weights) == 1 else torch.cat(weights)
        self.weight = nn.Parameter(weight, requires_grad=False)


Table = PackedTable | JoinedLinear


def tables_of(lowered: nn.Module) -> Iterator[tuple[str, Table]]:
    """Every table of a lowered model with its full name; a tied head has none of its own."""
    for name, module in lowered.named_modules():
        if isinstance(module, PackedTable) and module.packed is None:
            continue
        if isinstance(module, PackedTable | JoinedLinear):
            yield name, module


def joined_linears(lowered: nn.Module) -> list[JoinedLinear]:
    """The plain or torchao linears of a lowered model."""
    return [module for module in lowered.modules() if isinstance(module, JoinedLinear)]


def pack_linears(linears: Linears) -> Tensor:
    """Pack linears of one grid into one table: their codes, or half precision for linears without a grid.

    Raises:
        ValueError: a weight or scale that the table cannot hold; names the linears.
    """
    try:
        on_grid: list[OnGrid] = [linear for linear in linears.values() if isinstance(linear, OnGrid)]
        if len(on_grid) < len(linears):
            return pack_half(torch.cat([linear.weight.detach() for linear in linears.values()]))
        return pack(concatenate([linear.quantized() for linear in on_grid]))
    except ValueError as error:
        raise ValueError(f"{', '.join(linears)}: {error}") from error


def pack_embedding(module: nn.Module, bits: int) -> Tensor:
    """Pack an embedding or head [vocab, dim] at 4, 8 or 16 bits, with one scale per row.

    Raises:
        ValueError: it was trained on the grid of another width; a learned grid is never changed.
    """
    grid = grid_for_bits(bits)
    if isinstance(module, OnGrid):
        if module.grid.bits != bits:
            raise ValueError(
                f"the token embedding was trained at {module.grid.bits:g} bits and its learned grid is kept: "
                f"export it with --embedding-bits {module.grid.bits:g}, or without that option"
            )
        return pack(module.quantized())
    weight = module.get_parameter("weight").detach()
    return pack(quantize_embedding(weight, grid)) if grid.is_quantized else pack_half(weight)


def weights_in(table: Table) -> dict[str, Tensor]:
    """The float32 weights that a table computes with, by the full names of the modules they come from."""
    if isinstance(table, PackedTable):
        joined = dequantize(table.packed)
    else:
        weight = table.weight  # torchao's quantised tensor, or a plain one
        joined = weight.dequantize() if hasattr(weight, "qdata") else weight.detach()
    return dict(zip(table.rows, joined.split(list(table.rows.values())), strict=True))


def mismatch(model: Decoder, table: PackedTable) -> str | None:
    """Compare every weight in a table with the model's; returns what is wrong, or None.

    A linear, and an embedding or head on a grid, must be equal bit for bit. Another embedding or head must be
    the model's, rounded to the nearest level.
    """
    counts = list(table.rows.values())
    parts = (
        unpack(table.packed).split(counts) if table.is_quantized else unpack_half(table.packed).split(counts)
    )
    for name, part in zip(table.rows, parts, strict=True):
        source = model.get_submodule(name)
        if isinstance(source, OnGrid | nn.Linear):
            if not _is_exact(part, source):
                return f"{name}: unpacking does not give the trained grid back"
        elif not _is_rounded(part, source.get_parameter("weight").detach()):
            return f"{name}: the table is not the model's, rounded to the nearest level"
    return None


def _is_exact(part: QuantizedWeight | Tensor, source: OnGrid | nn.Linear) -> bool:
    """Returns True if a table's rows equal a module's codes, or its weight in float16."""
    if isinstance(source, OnGrid):
        return isinstance(part, QuantizedWeight) and part.equals(source.quantized())
    return isinstance(part, Tensor) and torch.equal(part, source.weight.detach().half())


def _is_rounded(part: QuantizedWeight | Tensor, weight: Tensor) -> bool:
    """Returns True if every value of a table's rows is within half a step of the weight."""
    if isinstance(part, Tensor):
        return torch.equal(part, weight.half())
    half_step = part.scale * (0.5 + 1e-5)  # room for float32 in quotient and product
    return bool(((part.dequantize() - weight).abs() <= half_step).all())
