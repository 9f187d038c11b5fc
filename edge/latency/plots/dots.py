"""Rows of dots: one line for every program, one mark for every model or number of threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from edge.latency.report.figures import Spread
from edge.latency.report.plots.drawing import (
    COLOURS,
    INK,
    MARKERS,
    Drawing,
    draw,
    handle,
    legend,
    paint_mark,
    shorten,
    without_frame,
)
from edge.latency.report.words import least_most

#: Ratios that read well on an axis, the best first.
_ROUND_RATIOS = (
    *(1, 0.5, 2, 0.1, 10, 0.2, 5, 0.75, 1.5, 0.05, 20, 3, 0.3, 50, 100, 1.25, 0.9, 1.1, 0.6, 0.8),
    *(1.2, 1.4, 0.7, 1.3, 1.6, 1.05, 0.95),
)
#: How far beside ours, as a ratio, others are still shown as dots.
_BEYOND_OURS = 2.5


@dataclass(frozen=True)
class Mark:
    """A figure of the row's program; ``series`` tells marks of one row apart."""

    row: str
    series: str
    own: bool
    spread: Spread


@dataclass(frozen=True)
class Panel:
    """One axis that all rows share.

    Attributes:
        scale: "ratio" is logarithmic about 1, "share" goes from nothing to at least all, "amount" from 0.
    """

    label: str
    marks: Sequence[Mark]
    scale: str = "amount"


def dots(title: str, finding: str, panels: Sequence[Panel]) -> Drawing:
    """Panels side by side with common rows, ours above the others; hollow marks are not ours."""
    return draw(title, finding, height(panels), partial(_paint, panels, *_rows_and_series(panels)))


def height(panels: Sequence[Panel]) -> float:
    """Inches that ``dots`` takes for these panels."""
    rows, series = _rows_and_series(panels)
    return 0.62 + len(rows) * (0.09 + 0.08 * max(len(series), 1.4)) + 0.16 * (len(series) > 1)


def _rows_and_series(panels: Sequence[Panel]) -> tuple[list[str], list[str]]:
    marks = [mark for panel in panels for mark in panel.marks]
    rows = dict.fromkeys([m.row for m in marks if m.own] + [m.row for m in marks if not m.own])
    return list(rows), list(dict.fromkeys(mark.series for mark in marks))


def _paint(panels: Sequence[Panel], rows: list[str], series: list[str], figure: Figure) -> None:
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(all_axes, panels, strict=True):
        _paint_panel(axes, panel, rows, series)
    all_axes[0].set_yticks(range(len(rows)), [shorten(row) for row in rows])
    all_axes[0].set_ylim(len(rows) - 0.5, -0.5)
    if len(series) > 1:
        legend(figure, [handle(shorten(name), *look(index)) for index, name in enumerate(series)])


def _paint_panel(axes: Axes, panel: Panel, rows: list[str], series: list[str]) -> None:
    low, high = _SCALES[panel.scale](axes, panel.marks)
    step = 0.7 / max(len(series), 2)
    for mark in panel.marks:
        if low <= mark.spread.median <= high:
            index = series.index(mark.series)
            _paint_mark(
                axes, mark, rows.index(mark.row) + step * (index - (len(series) - 1) / 2), *look(index)
            )
    for row, name in enumerate(rows):
        _paint_beyond(axes, row, [m.spread.median for m in panel.marks if m.row == name], low, high)
        if row % 2 == 0:
            axes.axhspan(row - 0.5, row + 0.5, color=INK, alpha=0.05, linewidth=0)
    own = len({mark.row for mark in panel.marks if mark.own})
    if 0 < own < len(rows):
        axes.axhline(own - 0.5, color=INK, linewidth=0.6)
    axes.set_xlim(low, high)
    axes.set_xlabel(panel.label)
    axes.grid(axis="x")
    without_frame(axes)


def _paint_mark(axes: Axes, mark: Mark, y: float, colour: str, shape: str) -> None:
    axes.plot([mark.spread.least, mark.spread.most], [y, y], color=colour, solid_capstyle="butt")
    paint_mark(axes, mark.spread.median, y, colour, shape, mark.own)


def _paint_beyond(axes: Axes, row: int, values: list[float], low: float, high: float) -> None:
    """What lies outside the axis, in words at the side where it would be."""
    for beyond, x, side, arrow in (
        ([v for v in values if v < low], 0.02, "left", "← {}"),
        ([v for v in values if v > high], 0.98, "right", "{} →"),
    ):
        if beyond:
            words = arrow.format(least_most(beyond))
            axes.text(x, row, words, ha=side, va="center", transform=axes.get_yaxis_transform())


def look(index: int) -> tuple[str, str]:
    """Colour and shape of a series; colours repeat before pairs do."""
    return COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]


def _ratio_axis(axes: Axes, marks: Sequence[Mark]) -> tuple[float, float]:
    """Wide enough for ours; what lies far beyond them would leave them no room."""
    ours = [value for mark in marks if mark.own for value in _ends(mark)] or [1.0]
    near = [min(ours) / _BEYOND_OURS, max(ours) * _BEYOND_OURS]
    shown = [value for mark in marks for value in _ends(mark) if near[0] <= value <= near[1]]
    low, high = min([*shown, 0.9]) / 1.08, max([*shown, 1.1]) * 1.08
    medians = [mark.spread.median for mark in marks]
    if max(medians) > high:  # room for its figure right of the line at 1
        high = max(high, low ** (1 - 1 / 0.7))
    if min(medians) < low:
        low = min(low, high ** (1 - 1 / 0.55))
    axes.set_xscale("log")
    axes.axvline(1, color=INK, linewidth=0.9)
    axes.xaxis.set_major_locator(FixedLocator(round_ratios(low, high, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    return low, high


def round_ratios(low: float, high: float, most: int) -> list[float]:
    """Ticks between two ratios that stand apart on a logarithmic axis."""
    apart = (high / low) ** (1 / most)
    ticks: list[float] = []
    for ratio in _ROUND_RATIOS:
        if low <= ratio <= high and all(max(ratio / tick, tick / ratio) >= apart for tick in ticks):
            ticks.append(ratio)
    return sorted(ticks)


def _share_axis(axes: Axes, marks: Sequence[Mark]) -> tuple[float, float]:
    axes.axvline(1, color=INK, linewidth=0.9)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    return 0, max([1.0, *(mark.spread.most for mark in marks)]) * 1.04


def _amount_axis(axes: Axes, marks: Sequence[Mark]) -> tuple[float, float]:
    axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return 0, max(mark.spread.most for mark in marks) * 1.06


def _ends(mark: Mark) -> tuple[float, float]:
    return mark.spread.least, mark.spread.most


_SCALES: dict[str, Callable[[Axes, Sequence[Mark]], tuple[float, float]]] = {
    "ratio": _ratio_axis,
    "share": _share_axis,
    "amount": _amount_axis,
}
