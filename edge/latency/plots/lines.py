"""A rate over the length of the context or the prompt: one line for every program, named at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from edge.latency.report.figures import Spread
from edge.latency.report.plots.drawing import (
    BLUE,
    GREEN,
    INK,
    MARKERS,
    PAPER,
    PURPLE,
    VERMILLION,
    Drawing,
    draw,
    shorten,
)

#: Pixels of matplotlib's canvas (100 an inch) from one name to the next.
_NAME_GAP = 13.0
_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE)


@dataclass(frozen=True)
class Line:
    """A program's figure by length; ``base`` is our own 4 bits."""

    name: str
    own: bool
    base: bool
    points: dict[int, Spread]


def curves(title: str, finding: str, lengths: Sequence[int], axis: str, lines: Sequence[Line]) -> Drawing:
    """Solid lines are ours; our 4 bits are in ink; dashed lines with hollow marks are the others'."""
    height = max(1.9, 0.75 + len(lines) * _NAME_GAP / 100)
    return draw(title, finding, height, partial(_paint, sorted(lengths), axis, lines))


def _paint(lengths: Sequence[int], axis: str, lines: Sequence[Line], figure: Figure) -> None:
    axes = figure.subplots()
    coloured = [line for line in lines if line.own and not line.base]
    for index, line in enumerate(lines):
        colour = _COLOURS[coloured.index(line) % len(_COLOURS)] if line in coloured else INK
        shape, face = MARKERS[index % len(MARKERS)], colour if line.own else PAPER
        xs, spreads = sorted(line.points), [line.points[x] for x in sorted(line.points)]
        for x, spread in zip(xs, spreads, strict=True):
            axes.plot([x, x], [spread.least, spread.most], color=colour, linewidth=0.8)
        style = "-" if line.own else (0, (4, 2))
        ys = [spread.median for spread in spreads]
        axes.plot(xs, ys, marker=shape, ms=4, mfc=face, mec=colour, color=colour, linestyle=style)
    most = max(spread.most for line in lines for spread in line.points.values())
    axes.set_ylim(0, most * 1.05)
    axes.set_xscale("log")
    axes.set_xlim(lengths[0] / 1.12, lengths[-1] * 1.12)
    axes.xaxis.set_major_locator(FixedLocator(_apart(lengths)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel(axis)
    axes.set_ylabel("tok/s")
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
    _name_ends(figure, lines)


def _apart(lengths: Sequence[int]) -> list[int]:
    """Lengths whose numbers do not touch on the axis: from the longest, those that are far enough away."""
    apart = (lengths[-1] / lengths[0]) ** (1 / 7)
    kept = [lengths[-1]]
    for length in reversed(lengths):
        if kept[-1] / length >= apart and length != kept[-1]:
            kept.append(length)
    return kept


def _name_ends(figure: Figure, lines: Sequence[Line]) -> None:
    """Names right of the plot, moved apart, each with a thin line to where its curve ends."""
    (axes,) = figure.axes
    beside = axes.get_yaxis_transform()
    last = [line.points[max(line.points)].median for line in lines]
    texts = [
        axes.text(1.09, y, shorten(line.name), transform=beside, va="center")
        for y, line in zip(last, lines, strict=True)
    ]
    figure.draw_without_rendering()  # now the names have their room, and the axes their final size
    figure.set_layout_engine("none")
    top = axes.get_ylim()[1]
    gap = _NAME_GAP / axes.get_window_extent().height * top
    for y, text, placed in zip(last, texts, spaced(last, gap, 0, top), strict=True):
        text.set_y(placed)
        axes.plot([1.01, 1.07], [y, placed], transform=beside, clip_on=False, color=INK, linewidth=0.5)


def spaced(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions in the order of ``wanted`` and close to them, at least ``gap`` apart, from low to high.

    What does not fit hangs over below ``low``.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    placed = list(wanted)
    floor = low
    for index in order:
        placed[index] = max(wanted[index], floor)
        floor = placed[index] + gap
    ceiling = high
    for index in reversed(order):
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - gap
    return placed
