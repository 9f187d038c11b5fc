"""The weights that a program holds, read from a checkpoint and rounded a few rows at a time."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.lazy import ALL, rows_of
from edge.formats import Grid
from edge.formats.elastic import LOW, MIDDLE
from edge.formats.weight import QuantizedWeight, concatenate
from edge.model.config import ModelConfig
from edge.model.decoder import EMBEDDING, HEAD, Decoder
from edge.ops.packed_header import FLOAT16, FLOAT32, PackedHeader
from edge.ops.packing import header_of, pack, pack_half
from edge.quantizers import paretoq
from edge.quantizers.embedding import GROUP_SIZES, quantize_table
from edge.quantizers.plan import Plan

TABLES = (EMBEDDING, HEAD)


@dataclass
class Widths:
    """Hold the bits of each layer of an elastic program, uint8 [layers]; 0 is the widest.

    All tables share this object. The buffer that it hands them belongs to the whole program, because
    torch.export would make a buffer of each table's own name.
    """

    bits: Tensor


@dataclass(frozen=True)
class ModelWeights:
    """A checkpoint's weights on the grids of a program.

    Attributes:
        plan: grids of the linears; those of a trained checkpoint are its own.
        table_grids: of token embedding and head, by name; the checkpoint's own if it was trained on one.

    Raises:
        ValueError: the embedding was trained on another grid, or the head quantised to one; these are never
            changed.
    """

    checkpoint: Checkpoint
    plan: Plan
    table_grids: Mapping[str, Grid]

    def __post_init__(self) -> None:
        plan = self.checkpoint.plan
        learned, head = plan.embedding_format, plan.head_format
        if learned.is_quantized and any(grid != learned for grid in self.table_grids.values()):
            raise ValueError(
                f"the token embedding was trained at {learned.bits:g} bits and its learned grid is kept: "
                f"export it with --embedding-bits {learned.bits:g}, or without that option"
            )
        if head is not None and self.table_grids[HEAD].bits != head.bits:
            raise ValueError(
                f"the output head was quantised to {head.bits:g} bits, and its codes are kept: export it "
                "without --head-bits"
            )

    @property
    def config(self) -> ModelConfig:
        return self.checkpoint.config

    def grid(self, name: str) -> Grid:
        """The grid of a linear, the embedding or the head, by its full name."""
        if name == HEAD and self.checkpoint.plan.head_format is not None:
            return self.checkpoint.plan.head_format
        return self.table_grids[name] if name in TABLES else self.plan.of(name)

    @property
    def shares_a_table(self) -> bool:
        """Returns True if the head reads the embedding's table."""
        return self.config.tied_embedding and self.table_grids[EMBEDDING] is self.table_grids[HEAD]

    def _origin(self, name: str) -> str:
        """Whose weight it is: a tied head has the embedding's."""
        return EMBEDDING if name == HEAD and self.config.tied_embedding else name

    def is_learned(self, name: str) -> bool:
        """Returns True if the checkpoint was trained on this weight's grid."""
        name = self._origin(name)
        return name in self.checkpoint.alphas or name in self.checkpoint.quantized

    def original(self, name: str, rows: slice = ALL) -> Tensor:
        """Rows of a weight as the checkpoint has it, float32; latent where it has learned scales."""
        return rows_of(self.checkpoint.weights, f"{self._origin(name)}.weight", rows)

    def rounded(self, name: str, rows: slice = ALL) -> QuantizedWeight | Tensor:
        """Rows of a weight as the program holds them: codes, or float32 that becomes half precision."""
        grid, origin = self.grid(name), self._origin(name)
        if origin in self.checkpoint.quantized:
            return rows_of(self.checkpoint.quantized, origin, rows)
        weight = self.original(name, rows)
        if not grid.is_quantized:
            return weight
        if name in TABLES and not self.is_learned(name):
            return quantize_table(weight, grid)
        learned = self.checkpoint.alphas.get(origin)
        alpha = paretoq.initial_alpha(weight, grid) if learned is None else learned[rows]
        return paretoq.quantize(weight, alpha, grid)

    def packed(self, names: Sequence[str], rows: slice = ALL) -> Tensor:
        """Pack rows of the weights of these names, stacked in this order, into a table of their own.

        Raises:
            ValueError: a weight or scale that a table cannot hold; names the weights.
        """
        parts = [self.rounded(name, part) for name, part in self._split(names, rows)]
        try:
            codes = [part for part in parts if isinstance(part, QuantizedWeight)]
            if codes:
                return pack(replace(concatenate(codes), order=None))  # the program has it beside the table
            return pack_half(torch.cat([part for part in parts if isinstance(part, Tensor)]))
        except ValueError as error:
            raise ValueError(f"{', '.join(names)}: {error}") from error

    def _split(self, names: Sequence[str], rows: slice) -> Iterator[tuple[str, slice]]:
        """Yield the weights that rows of their stack belong to, and their rows there."""
        above, (first, stop, _) = 0, rows.indices(1 << 62)
        for name in names:
            count = self.shape(name)[0]
            part = slice(max(first - above, 0), min(stop - above, count))
            if part.start < part.stop:
                yield name, part
            above += count

    def header(self, names: Sequence[str]) -> PackedHeader:
        """The header of a packed table of the weights of these names, which have one form."""
        return replace(self._header(names[0]), n=sum(self.shape(name)[0] for name in names))

    def form(self, name: str) -> tuple[PackedHeader, tuple[int, ...], bool]:
        """Return a key that all weights of one table share: the header without rows, the order of columns,
        and whether they are elastic."""
        order = self.order(name)
        columns = () if order is None else tuple(order.tolist())
        return replace(self._header(name), n=1), columns, self.is_elastic(name)

    def is_elastic(self, name: str) -> bool:
        """Returns True if the weight of this name is the base of an elastic one."""
        return name + MIDDLE in self._first_rows

    @functools.cached_property
    def widths(self) -> Widths:
        """Share the width of each layer's elastic weights."""
        return Widths(torch.zeros(self.config.n_layers, dtype=torch.uint8))

    def order(self, name: str) -> Tensor | None:
        """The input of each column of a weight's table, int64 [k]; None where they are the same."""
        row = self._first_rows.get(self._origin(name))
        return None if row is None else row.order

    def _header(self, name: str) -> PackedHeader:
        (n, k), grid = self.shape(name), self.grid(name)
        if (row := self._first_rows.get(self._origin(name))) is not None:
            return replace(header_of(row), n=n)
        is_rounded_table = name in TABLES and grid.is_quantized and not self.is_learned(name)
        group = GROUP_SIZES[int(grid.bits)] if is_rounded_table else None
        return PackedHeader(grid.encoding, n, k, group, FLOAT32 if group is None else FLOAT16, grid.zero)

    @functools.cached_property
    def _first_rows(self) -> dict[str, QuantizedWeight]:
        """One row of each weight that the checkpoint holds as codes: it has the form of all."""
        codes = self.checkpoint.quantized
        return {name: rows_of(codes, name, slice(1)) for name in codes}

    def shape(self, name: str) -> tuple[int, int]:
        """Rows and columns of a weight."""
        return self._shapes[self._origin(name).removesuffix(MIDDLE).removesuffix(LOW)]

    @functools.cached_property
    def _shapes(self) -> dict[str, tuple[int, int]]:
        with torch.device("meta"):
            parameters = Decoder(self.config, positions=0).named_parameters()
        return {n.removesuffix(".weight"): (p.shape[0], p.shape[1]) for n, p in parameters if p.dim() == 2}


def skeleton(checkpoint: Checkpoint, positions: int) -> Decoder:
    """The model without its matrices, which stay on the meta device; norms and biases are there."""
    with torch.device("meta"):
        model = Decoder(checkpoint.config, positions)
    vectors = {name for name, tensor in model.state_dict().items() if tensor.dim() == 1}
    model.load_state_dict({name: checkpoint.weights[name] for name in vectors}, strict=False, assign=True)
    return model.eval()
