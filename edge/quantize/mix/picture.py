"""Draw perplexity against cost: uniform widths, the paper's patterns, and the mixtures that were searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from edge.files import staged_file


@dataclass(frozen=True)
class Point:
    """Hold a mixture that was measured as a whole.

    Attributes:
        name: of a uniform width or a pattern; empty for one that was searched.
        cost: in the picture's unit.
        perplexity: held out.
    """

    name: str
    widths: tuple[int, ...]
    cost: float
    perplexity: float


def draw(kinds: Mapping[str, Sequence[Point]], unit: str, path: Path) -> None:
    """Write a PNG with one line or set of marks for each kind of mixture."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.add_subplot()
    for (kind, points), style in zip(kinds.items(), ("o--", "s", ".-"), strict=True):
        ordered = sorted(points, key=lambda point: point.cost)
        axes.plot([p.cost for p in ordered], [p.perplexity for p in ordered], style, label=kind)
        for point in ordered:
            axes.annotate(point.name, (point.cost, point.perplexity), (4, 4), textcoords="offset points")
    axes.set_xlabel(unit)
    axes.set_ylabel("held-out perplexity (logarithmic)")
    axes.set_yscale("log")
    for formatted in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatted(ScalarFormatter())  # 10.5 instead of 1.05 x 10^1
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    with staged_file(path) as staged:
        figure.savefig(staged, dpi=110, format="png")
