"""Write the measured cells as Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from edge.quantize.flags import ROW
from edge.quantize.table.cells import WAYS, Cell


def markdown(cells: Sequence[Cell], sizes: Mapping[str, int], others: Mapping[str, float]) -> str:
    """Tables of perplexity with program bytes, of seconds and of memory; a row for each width and group.

    Args:
        sizes: bytes of programs by "bits group".
        others: perplexity of other models by name.
    """
    models = "".join(f"| {name} | {value:.3f} |\n" for name, value in others.items())
    return (
        f"Held-out perplexity.\n\n| model | perplexity |\n|---|---|\n{models}\n"
        + _grid(cells, lambda cell: f"{cell.perplexity:.3f}", sizes)
        + "\nProcessor seconds, without the start of Python.\n\n"
        + _grid(cells, lambda cell: f"{cell.seconds:.0f}")
        + "\nPeak memory, Python and its libraries included, MB.\n\n"
        + _grid(cells, lambda cell: f"{cell.peak_bytes / 1e6:.0f}")
    )


def _grid(cells: Sequence[Cell], said: Callable[[Cell], str], sizes: Mapping[str, int] | None = None) -> str:
    found = {(cell.bits, cell.group, cell.way): said(cell) for cell in cells}
    ways = [way.name for way in WAYS if any(cell.way == way.name for cell in cells)]
    head = ["bits", "group", *ways, *(["program bytes"] if sizes is not None else [])]
    rows = [head, ["---"] * len(head)]
    forms = {(cell.bits, cell.group) for cell in cells}
    for bits, group in sorted(forms, key=lambda form: (-float(form[0]), _columns(form[1]))):
        row = [bits, group, *(found.get((bits, group, way), "") for way in ways)]
        if sizes is not None:
            size = sizes.get(f"{bits} {group}")
            row.append("" if size is None else f"{size:,}")
        rows.append(row)
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _columns(group: str) -> float:
    """Order groups from a whole row to the smallest."""
    return -math.inf if group == ROW else -float(group)
