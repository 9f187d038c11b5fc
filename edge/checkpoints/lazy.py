"""Hold tensors that are read from disk, or computed, when they are asked for; a few rows if need be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from torch import Tensor

from edge.formats.weight import QuantizedWeight

Table = TypeVar("Table", Tensor, QuantizedWeight)
#: Gives these rows of a tensor; all of them for ``slice(None)``.
Rows = Callable[[slice], Table]
ALL = slice(None)


class Lazy(Mapping[str, Table], Generic[Table]):
    """A mapping whose values are made anew at each access: nothing stays in memory, and changes are lost."""

    def __init__(self, readers: Mapping[str, Rows[Table]]) -> None:
        self._readers: dict[str, Rows[Table]] = dict(readers)

    def __getitem__(self, name: str) -> Table:
        return self.rows(name, ALL)

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)

    def __contains__(self, name: object) -> bool:
        return name in self._readers

    def __or__(self, other: Mapping[str, Table]) -> Lazy[Table]:
        """The same with some values replaced or added."""
        return Lazy(self._readers | {name: reader_of(other, name) for name in other})

    def rows(self, name: str, rows: slice) -> Table:
        """Read some rows of a tensor."""
        return self._readers[name](rows)


def rows_of(tables: Mapping[str, Table], name: str, rows: slice) -> Table:
    """Some rows of one of the tables; a lazy one reads no others."""
    if isinstance(tables, Lazy):
        return tables.rows(name, rows)
    return tables[name][rows]


def reader_of(tables: Mapping[str, Table], name: str) -> Rows[Table]:
    """The function that reads rows of one of the tables."""
    return lambda rows: rows_of(tables, name, rows)
