"""The grid of each part of a model: every linear, and the token embedding with the head.

ParetoQ (arXiv 2502.02631) gives all linears one grid and keeps embedding and head; a plan may also give
some linears another grid, keep some, and quantise embedding and head.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edge.formats import FULL_PRECISION, Grid
from edge.model.decoder import HEAD
from edge.text import first_of

#: The name of a model on several grids; a model on one has that grid's name.
MIXED = "mixed"


@dataclass(frozen=True)
class Plan:
    """The grids that a model is trained on.

    Attributes:
        default: of every linear but ``others``; FULL_PRECISION where nothing is quantised.
        others: grids by full name of the linears that differ from the default.
        embedding_format: of token embedding and head; FULL_PRECISION where they are kept, as ParetoQ does.
        head_format: of a head that was quantised without the embedding, by another project; else None.

    Raises:
        ValueError: something is quantised though the default is not.
    """

    default: Grid = FULL_PRECISION
    others: Mapping[str, Grid] = field(default_factory=dict)
    embedding_format: Grid = FULL_PRECISION
    head_format: Grid | None = None

    def __post_init__(self) -> None:
        if not self.is_quantized and (self.others or self.embedding_format.is_quantized):
            raise ValueError("other widths and a quantised embedding are for models of a low default width")

    @classmethod
    def from_grids(
        cls,
        grids: Mapping[str, Grid],
        default: Grid,
        embedding_format: Grid = FULL_PRECISION,
    ) -> Plan:
        """Make the plan of linears on these grids, by full name."""
        return cls(default, {name: grid for name, grid in grids.items() if grid != default}, embedding_format)

    @classmethod
    def from_patterns(
        cls,
        linears: Iterable[str],
        default: Grid,
        patterns: Sequence[tuple[str, Grid]],
        embedding_format: Grid = FULL_PRECISION,
    ) -> Plan:
        """The plan of these linears, by full name: the last pattern that matches decides, else the default.

        Args:
            patterns: as ``fnmatch`` understands them, ``layers.0.*`` or ``*.down_proj``.

        Raises:
            ValueError: a pattern matches nothing, or no linear is left at the default.
        """
        grids = dict.fromkeys(linears, default)
        for pattern, grid in patterns:
            matching = [name for name in grids if fnmatch.fnmatchcase(name, pattern)]
            if not matching:
                raise ValueError(f"the pattern {pattern} matches no linear; there are {first_of(grids)}")
            grids |= dict.fromkeys(matching, grid)
        if default not in grids.values():
            raise ValueError(
                f"the patterns leave no linear at {default.bits:g} bits; give --bits a width that one keeps"
            )
        return cls.from_grids(grids, default, embedding_format)

    @property
    def is_quantized(self) -> bool:
        return self.default.is_quantized

    @property
    def name(self) -> str:
        """The grid's name, or MIXED."""
        return MIXED if self.others else self.default.name

    def of(self, linear: str) -> Grid:
        """The grid of a linear, by its full name."""
        return self.others.get(linear, self.default)

    def of_table(self, name: str) -> Grid:
        """The grid of the token embedding or the head, by its name."""
        return self.head_format if name == HEAD and self.head_format else self.embedding_format

    def __str__(self) -> str:
        words, embedding = f"{self.default.bits:g} bits", self.embedding_format
        for grid in sorted(set(self.others.values()), key=lambda f: f.bits):
            names = first_of(name for name, other in self.others.items() if other is grid)
            words += f", {grid.bits:g} in {names}"
        return words + (f", {embedding.bits:g} in the embedding" if embedding.is_quantized else "")


def mean_bits(weights: Iterable[tuple[Grid, int]]) -> float:
    """Mean of the grids' bits over so many weights of each, to two decimals; ternary counts as 1.58."""
    parts = list(weights)
    return round(sum(grid.bits * count for grid, count in parts) / sum(count for _, count in parts), 2)
