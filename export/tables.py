"""Pack a model's weights into tables, and compare packed tables with the model.

A packed table is one uint8 tensor in the layout of ``edge/ops/packing.py``. It holds the rows of one or more
weights, those of the first above those of the next. Everything here that knows codes, scales and formats is
in ``pack_linears``, ``pack_embedding``, ``mismatch`` and ``weights_in``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from edge.checkpoints.packed import quantize_table
from edge.formats import FULL_PRECISION, WeightFormat, format_for_bits
from edge.model.decoder import Decoder
from edge.ops.packing import dequantize, pack_codes, pack_half, read_header, unpack
from edge.quantizers.paretoq import LearnedGrid, QATLinear

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
    def format(self) -> WeightFormat:
        """The format in the table's header."""
        return read_header(self.packed).format

    @property
    def weights(self) -> int:
        """The number of weights, n * k."""
        header = read_header(self.packed)
        return header.n * header.k


class JoinedLinear(nn.Linear):
    """Plain linears of one input as one, the rows of the first above those of the next; for XNNPACK."""

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
    """Pack linears of one format into one table, on the trained grid if there is one, else in half precision.

    Raises:
        ValueError: a weight or scale that the table cannot hold; names the linears.
    """
    try:
        trained = [linear for linear in linears.values() if isinstance(linear, QATLinear)]
        if len(trained) < len(linears):
            return pack_half(torch.cat([linear.weight.detach() for linear in linears.values()]))
        codes = torch.cat([linear.codes() for linear in trained])
        return pack_codes(codes, torch.cat([linear.scales() for linear in trained]), trained[0].fmt)
    except ValueError as error:
        raise ValueError(f"{', '.join(linears)}: {error}") from error


def pack_embedding(module: nn.Module, bits: int) -> Tensor:
    """Pack an embedding or head [vocab, dim] at 4, 8 or 16 bits, with one scale per row.

    Raises:
        ValueError: it was trained on the grid of another width; a learned grid is never changed.
    """
    fmt = format_for_bits(bits)
    if isinstance(module, LearnedGrid):
        if module.fmt is not fmt:
            raise ValueError(
                f"the token embedding was trained at {module.fmt.bits:g} bits and its learned grid is kept: "
                f"export it with --embedding-bits {module.fmt.bits:g}, or without that option"
            )
        return pack_codes(module.codes(), module.scales(), fmt)
    weight = module.get_parameter("weight").detach()
    if fmt is FULL_PRECISION:
        return pack_half(weight)
    return pack_codes(*quantize_table(weight, fmt), fmt)


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

    A linear, and an embedding or head with a learned grid, must be equal bit for bit. Another embedding or
    head must be the model's, rounded to the nearest level.
    """
    counts = list(table.rows.values())
    codes, alphas = (part.split(counts) for part in unpack(table.packed))
    for name, code, alpha in zip(table.rows, codes, alphas, strict=True):
        source = model.get_submodule(name)
        if isinstance(source, nn.Linear | LearnedGrid):
            if not _equal(code, alpha, source):
                return f"{name}: unpacking does not give the trained grid back"
        elif not _rounded(table, source.get_parameter("weight").detach()):
            return f"{name}: the table is not the model's, rounded to the nearest level"
    return None


def _equal(codes: Tensor, alpha: Tensor, source: nn.Linear | LearnedGrid) -> bool:
    """Tell whether codes [rows, k] and alpha [rows] of a table are exactly those of a module."""
    if not isinstance(source, LearnedGrid):  # half precision: ``unpack`` gives the weights as codes
        return torch.equal(codes, source.weight.detach().half())
    return torch.equal(alpha[:, None], source.scales()) and torch.equal(codes, source.codes())


def _rounded(table: PackedTable, weight: Tensor) -> bool:
    """Tell whether every value of a table [rows, dim] is within half a step of the weight."""
    values = dequantize(table.packed)
    if not table.format.is_quantized:
        return torch.equal(values, weight.half().float())
    half_step = unpack(table.packed)[1][:, None] * (0.5 + 1e-5)  # room for float32 in quotient and product
    return bool(((values - weight).abs() <= half_step).all())
