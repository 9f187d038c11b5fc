"""Define the grids: what a code of a weight table means.

    weight = scale * (code - zero)

``scale`` is one float32 per row, or per group of columns of a row. ``zero`` is the code that stands for 0: a
property of the grid, or, where the grid has none, stored with the weight. Several grids may share a width. A
method (``edge/quantizers``) decides how weights get onto a grid.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.formats.encoding import ENCODING_BY_NAME, Encoding


@dataclass(frozen=True)
class Grid:
    """One set of levels.

    Attributes:
        name: its name in manifests and reports.
        bits: information per weight: what users type after ``--bits`` and reports print.
        encoding: how files hold its codes.
        levels: number of codes; 0 for full precision, which has none.
        zero: the code that stands for 0, maybe between two codes; None where each weight brings its own.
        spacing: distance between neighbouring levels in units of alpha, the learned scale of ParetoQ.
        for_linears: ParetoQ trains the linears of a model on it; others serve embedding and head, and methods
            that round after training.
    """

    name: str
    bits: float
    encoding: Encoding
    levels: int
    zero: float | None
    spacing: float = 1.0
    for_linears: bool = True

    @property
    def is_quantized(self) -> bool:
        return self.levels > 0

    def encoding_of(self, group_size: int | None) -> Encoding:
        """Return the encoding of this grid's codes for a group size; None means one scale a row."""
        if group_size is None or self.encoding.has_scale_groups:
            return self.encoding
        return ENCODING_BY_NAME[f"bits{self.encoding.code_bits}"]

    @property
    def lowest(self) -> float:
        """Lowest level in steps from 0: -1.5 at 2 bits, -8 at 4 bits."""
        return -self._own_zero

    @property
    def highest(self) -> float:
        """Highest level in steps from 0: 1.5 at 2 bits, 7 at 4 bits."""
        return self.levels - 1 - self._own_zero

    @property
    def _own_zero(self) -> float:
        if self.zero is None:
            raise ValueError(f"{self.name} has no zero of its own: each weight brings one")
        return self.zero

    @property
    def paretoq_w_bits(self) -> int:
        """Width as ParetoQ's config.json spells it, an integer: ternary, which has none, is 0."""
        return int(self.bits) if float(self.bits).is_integer() else 0


def _row(
    name: str,
    bits: float,
    encoding: str,
    zero: float | None,
    spacing: float = 1.0,
    for_linears: bool = True,
) -> Grid:
    codes = ENCODING_BY_NAME[encoding]
    return Grid(name, bits, codes, codes.codes, zero, spacing, for_linears)


#: Symmetric grids: ParetoQ's (arXiv 2502.02631 and its reference code), and wider ones for embedding, head
#: and rounding after training. Then grids with a zero of each row's or group's own, as min-max uses them.
GRIDS: tuple[Grid, ...] = (
    _row("binary", 1, "bits1", 0.5, 2.0),
    _row("ternary", 1.58, "base3", 1.0, 2 / 3),
    _row("int2", 2, "bits2", 1.5, 0.5),
    _row("int3", 3, "bits3", 4.0),
    _row("int4", 4, "bits4", 8.0),
    _row("int5", 5, "bits5", 16.0, for_linears=False),
    _row("int6", 6, "bits6", 32.0, for_linears=False),
    _row("int7", 7, "bits7", 64.0, for_linears=False),
    _row("int8", 8, "bits8", 128.0, for_linears=False),
    _row("fp16", 16, "half", 0.0),
    _row("uint1", 1, "bits1", None),
    _row("uternary", 1.58, "base3", None),
    _row("uint2", 2, "bits2", None),
    _row("uint3", 3, "bits3", None),
    _row("uint4", 4, "bits4", None),
    _row("uint5", 5, "bits5", None),
    _row("uint6", 6, "bits6", None),
    _row("uint7", 7, "bits7", None),
    _row("uint8", 8, "bits8", None),
)

BY_NAME = {grid.name: grid for grid in GRIDS}
FULL_PRECISION = BY_NAME["fp16"]
#: Grids with a zero of their own: what ``--bits`` means unless a method says otherwise.
SYMMETRIC = tuple(grid for grid in GRIDS if grid.zero is not None)
#: What the linears of a model may be trained on, and fp16 for no quantisation.
LINEAR_GRIDS = tuple(grid for grid in SYMMETRIC if grid.for_linears)
#: What ``--bits`` offers: where a model is rounded or exported, and where it is trained.
ALL_BITS = tuple(grid.bits for grid in SYMMETRIC)
BITS_CHOICES = tuple(grid.bits for grid in LINEAR_GRIDS)
EMBEDDING_BITS_CHOICES = (4, 8, 16)


def grid_for_bits(
    bits: float | str, choices: tuple[float, ...] | None = None, asymmetric: bool = False
) -> Grid:
    """Find the grid that a user means by a number of bits.

    Args:
        choices: what this option offers, for example BITS_CHOICES; None allows every grid.
        asymmetric: look among the grids with a zero of each row's own; 16 bits are fp16 there too.

    Raises:
        ValueError: no such grid, or not among the choices, which the message names.
    """
    family = [g for g in GRIDS if (g.zero is None) == asymmetric or not g.is_quantized]
    offered = [g for g in family if choices is None or g.bits in choices]
    for grid in offered:
        if _same_number(bits, grid.bits):
            return grid
    allowed = ", ".join(f"{g.bits:g}" for g in sorted(offered, key=lambda g: g.bits))
    raise ValueError(f"no weight format has {bits} bits; choose one of {allowed}")


def _same_number(text: float | str, number: float) -> bool:
    try:
        return float(text) == number
    except (TypeError, ValueError):
        return False
