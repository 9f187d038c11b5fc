"""Write the measured perplexities as a Markdown table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from edge.quantize.nested.rows import FULL, ROWS, WIDTHS, Row

HEAD = "Held-out perplexity: the mean over seeds, ± their standard deviation."


@dataclass(frozen=True)
class Cell:
    """Held-out perplexity of one model."""

    row: str
    bits: int
    seed: int
    perplexity: float


def markdown(cells: Sequence[Cell], as_it_was: float) -> str:
    """Write a line for each row and a column for each width, below the figures of full precision."""
    full = [f"as it was {as_it_was:.2f}"]
    full += [
        f"{row.name} for as many steps {_said(cells, row, 16)}"
        for row in ROWS
        if row.base == FULL and _values(cells, row, 16)
    ]
    head = ["", "seeds", *(f"{width} bits" for width in WIDTHS)]
    lines = [head, ["---"] * len(head)]
    for row in ROWS:
        found = [_values(cells, row, width) for width in WIDTHS]
        if any(found):
            counts = sorted({len(values) for values in found if values})
            seeds = " or ".join(map(str, counts)) if row.has_seeds else "none"
            lines.append([row.title, seeds, *(_said(cells, row, width) for width in WIDTHS)])
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"{HEAD} Full precision: {'; '.join(full)}.\n\n{table}"


def _values(cells: Sequence[Cell], row: Row, bits: int) -> list[float]:
    return [cell.perplexity for cell in cells if (cell.row, cell.bits) == (row.title, bits)]


def _said(cells: Sequence[Cell], row: Row, bits: int) -> str:
    values = _values(cells, row, bits)
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):,.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):,.2f}{spread}"
