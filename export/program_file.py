"""Fill the packed tables of a written program, and read them back from its file."""

from __future__ import annotations

import mmap
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edge.checkpoints.lazy import ALL, rows_of
from edge.formats.elastic import LOW, MIDDLE, ElasticWeight, joined
from edge.formats.slices import sliced
from edge.formats.weight import QuantizedWeight
from edge.ops.packed_header import HEADER_BYTES, ROWS_PER_BLOCK, PackedHeader
from edge.ops.packing import read_header
from edge.ops.rows import put_rows, unpack_rows
from export.parallel import in_parallel
from export.tables import MARKER, MARKER_BYTES, JoinedLinear, PackedTable, tables_of
from export.weights import TABLES, ModelWeights

#: Weights that are packed or compared at a time.
_WEIGHTS = 1 << 21


class VerificationError(ValueError):
    """The written program is not the model it was exported from."""


class ProgramFile:
    """A program's file, and where its packed tables lie.

    Args:
        path: the file, with a placeholder for each table.
        lowered: the model that it was emitted from.

    Raises:
        VerificationError: a placeholder is missing, or there twice.
    """

    def __init__(self, path: Path, lowered: nn.Module) -> None:
        self.path = path
        self.tables: dict[str, PackedTable] = {}
        self._offsets: dict[str, int] = {}
        self._place: dict[str, tuple[str, int]] = {}  # of a weight: its table, and its first row there
        self._joined: dict[str, JoinedLinear] = {}
        places = _marked_places(path)
        for name, table in tables_of(lowered):
            if isinstance(table, JoinedLinear):
                self._joined |= dict.fromkeys(table.rows, table)
                continue
            if len(places[table.marker]) != 1:
                raise VerificationError(
                    f"the program must hold the table {name} once; it was not exported as it should"
                )
            self._offsets[name] = places[table.marker][0]
            self.tables[name] = table
            above = 0
            for weight, rows in table.rows.items():
                self._place[weight] = name, above
                above += rows

    def fill(self, weights: ModelWeights, advance: Callable[[int], None] = lambda weights: None) -> None:
        """Pack the model's weights into their places.

        Args:
            advance: is told how many weights were packed.

        Raises:
            ValueError: a weight or scale that a table cannot hold.
        """

        def put(item: tuple[str, slice]) -> tuple[str, int, int]:
            name, rows = item
            table = self.tables[name]
            packed = weights.packed(list(table.rows), rows)
            digest = put_rows(self._bytes_of(name, "r+"), _header(table), rows.start, packed)
            return name, digest, (rows.stop - rows.start) * _header(table).k

        stretches = [
            (name, rows) for name, table in self.tables.items() for rows in _stretches(_header(table))
        ]
        digests = Counter[str]()
        for name, digest, count in in_parallel(put, stretches):
            digests[name] += digest
            advance(count)
        for name, table in self.tables.items():
            header = replace(_header(table), digest=digests[name] % (1 << 64))
            self._bytes_of(name, "r+")[:HEADER_BYTES] = np.frombuffer(header.to_bytes(), np.uint8)

    def check(self, weights: ModelWeights, advance: Callable[[int], None] = lambda weights: None) -> int:
        """Compare every weight in the file with the model's; returns the number of tables.

        A linear, and an embedding or head on a learned grid, must be equal bit for bit. Another embedding or
        head must be the model's, rounded to the nearest level.

        Raises:
            VerificationError: one weight differs, or a byte of a table is damaged.
        """

        def compare(item: tuple[str, slice]) -> int:
            name, rows = item
            if (wrong := _mismatch(weights, name, rows, self.stored(name, rows))) is not None:
                raise VerificationError(f"{name}: {wrong}")
            return (rows.stop - rows.start) * weights.shape(name)[1]

        for table in self.tables:
            self._check_whole(table)
        names = [name for table in self.tables.values() for name in table.rows]
        stretches = [(name, rows) for name in names for rows in _stretches(weights.header([name]))]
        for count in in_parallel(compare, stretches):
            advance(count)
        return len(self.tables)

    def stored(self, name: str, rows: slice = ALL) -> QuantizedWeight | Tensor:
        """Rows of a weight in the file: codes, or float16.

        Raises:
            VerificationError: the table there has another header, or is damaged.
        """
        table, above = self._place[name]
        count = self.tables[table].rows[name]
        first, stop, _ = rows.indices(count)
        raw = self._bytes_of(table, "r")
        try:
            self._check_header(table, raw)
            stored = unpack_rows(raw, slice(above + first, above + stop))
        except ValueError as error:
            raise self._damaged(table, error) from error
        if isinstance(stored, QuantizedWeight):
            return replace(stored, order=self.tables[table].order)
        return stored

    def values(self, name: str, rows: slice = ALL, bits: int | None = None) -> Tensor:
        """Rows of a weight as the program computes with it, float32.

        Args:
            bits: the slice of elastic weights that is wanted.
        """
        if name in self._joined:
            return self._joined[name].values()[name][rows]
        stored = self.stored(name, rows)
        if isinstance(stored, QuantizedWeight) and name + MIDDLE in self._place:
            middle, low = self.stored(name + MIDDLE, rows), self.stored(name + LOW, rows)
            assert bits is not None
            assert isinstance(middle, QuantizedWeight)
            assert isinstance(low, QuantizedWeight)
            stored = sliced(joined(ElasticWeight(stored, middle, low)), bits)
        return stored.dequantize() if isinstance(stored, QuantizedWeight) else stored.float()

    def _check_whole(self, table: str) -> None:
        """Check what belongs to no row: the header, and the digest in it."""
        try:
            read_header(
                torch.from_numpy(self._bytes_of(table, "c"))
            )  # "c": PyTorch warns of read-only arrays
        except ValueError as error:
            raise self._damaged(table, error) from error

    def _damaged(self, table: str, why: ValueError) -> VerificationError:
        return VerificationError(f"the packed table {table} is damaged in {self.path.name}: {why}")

    def _check_header(self, table: str, raw: np.ndarray) -> None:
        found = PackedHeader.from_bytes(raw[:HEADER_BYTES].tobytes())
        if replace(found, digest=0) != _header(self.tables[table]):
            raise ValueError("its header is another one than it was emitted with")

    def _bytes_of(self, table: str, mode: str) -> np.ndarray:
        """A table's bytes, mapped; what was used leaves the memory with the array."""
        size = _header(self.tables[table]).total_bytes
        return np.memmap(self.path, np.uint8, mode, self._offsets[table], (size,))  # type: ignore[call-overload]


def _header(table: PackedTable) -> PackedHeader:
    assert table.header is not None  # as of all tables but those of tied heads
    return table.header


def _marked_places(path: Path) -> defaultdict[bytes, list[int]]:
    """Find the offsets of each table's marker in a file; one pass finds all."""
    places = defaultdict[bytes, list[int]](list)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(MARKER)
        while at >= 0:
            places[data[at : at + MARKER_BYTES]].append(at)
            at = data.find(MARKER, at + 1)
    return places


def _stretches(header: PackedHeader) -> Iterator[slice]:
    """Yield rows of a table in turn, whole blocks of about _WEIGHTS weights."""
    step = max(1, _WEIGHTS // (header.k * ROWS_PER_BLOCK)) * ROWS_PER_BLOCK
    for first in range(0, header.n, step):
        yield slice(first, min(first + step, header.n))


def _mismatch(weights: ModelWeights, name: str, rows: slice, stored: QuantizedWeight | Tensor) -> str | None:
    """Compare rows of a weight in the file with the model's; returns what is wrong, or None."""
    if name in TABLES and not weights.is_learned(name):
        near = _is_rounded(stored, weights.original(name, rows))
        return None if near else "the table is not the model's, rounded to the nearest level"
    right = weights.rounded(name, rows)
    if isinstance(right, QuantizedWeight):
        if not isinstance(stored, QuantizedWeight) or not stored.equals(right):
            return "unpacking does not give the trained grid back"
        return _other_than_the_formula(weights, name, rows, stored)
    same = isinstance(stored, Tensor) and torch.equal(stored, right.half())
    return None if same else "unpacking does not give the weights back in half precision"


def _other_than_the_formula(
    weights: ModelWeights, name: str, rows: slice, stored: QuantizedWeight
) -> str | None:
    """Compare rows with the formula of the format that the checkpoint was quantised in, if it was.

    A table's weight is scale * (code - zero), exact in float32. The format computes the same in its own
    dtype, so the weights are equal once the table's are rounded to it.
    """
    formulas = weights.checkpoint.formulas
    if name not in formulas:
        return None
    own = rows_of(formulas, name, rows)
    same = torch.equal(stored.dequantize().to(own.dtype), own)
    return None if same else f"the table does not give what the format's formula gives in {own.dtype}"


def _is_rounded(stored: QuantizedWeight | Tensor, weight: Tensor) -> bool:
    """Returns True if every value is within half a step of the weight."""
    if isinstance(stored, Tensor):
        return torch.equal(stored, weight.half())
    half_step = stored.scale_per_column() * (0.5 + 1e-5)  # room for float32 in quotient and product
    return bool(((stored.dequantize() - weight).abs() <= half_step).all())
