"""Programs by perplexity and what they cost, or give: the Pareto front, and what it dominates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox

from edge.latency.report.figures import Spread
from edge.latency.report.plots.drawing import BLUE, Drawing, draw, handle, legend, paint_mark, shorten

#: Where a point's name may stand, best first: offset in points, and its anchor.
_PLACES = [
    (dx * reach, dy * reach, ha, va)
    for reach in (1.0, 1.8, 3.0, 4.5)
    for dx, dy, ha, va in (
        (6, 0, "left", "center"),
        (4, 4, "left", "bottom"),
        (0, 5, "center", "bottom"),
        (-4, -4, "right", "top"),
        (-6, 0, "right", "center"),
        (0, -5, "center", "top"),
        (-4, 4, "right", "bottom"),
        (4, -4, "left", "top"),
    )
]


@dataclass(frozen=True)
class Point:
    """A program; ``amount`` is what it costs or gives. A dominated one is not on the front."""

    name: str
    amount: Spread
    perplexity: float
    on_front: bool


def front(title: str, finding: str, axis: str, points: Sequence[Point], more_is_better: bool) -> Drawing:
    """The front as steps through its points: beyond them another program is no worse in both."""
    return draw(title, finding, 2.8, partial(_paint, axis, points, more_is_better))


def _paint(axis: str, points: Sequence[Point], more_is_better: bool, figure: Figure) -> None:
    axes = figure.subplots()
    steps = _steps([(p.amount.median, p.perplexity) for p in points if p.on_front], more_is_better)
    axes.plot(*zip(*steps, strict=True), color=BLUE, linewidth=0.9)
    for point in points:
        axes.plot([point.amount.least, point.amount.most], [point.perplexity] * 2, color=BLUE, linewidth=0.9)
        paint_mark(axes, point.amount.median, point.perplexity, BLUE, "o", point.on_front)
    _paint_axes(axes, axis, [point.amount.median for point in points])
    meanings = {True: "on the front", False: "dominated: another is no worse in both"}
    seen = {point.on_front for point in points}
    legend(figure, [handle(meaning, BLUE, "o", full) for full, meaning in meanings.items() if full in seen])
    _name(figure, axes, points, steps)


def _steps(front: Sequence[tuple[float, float]], more_is_better: bool) -> list[tuple[float, float]]:
    """The corners of the front's edge, by amount: perplexities are as low as its points reach."""
    corners = sorted(front)[:1]
    for (amount, perplexity), following in pairwise(sorted(front)):
        corner = (amount, following[1]) if more_is_better else (following[0], perplexity)
        corners += [corner, following]
    return corners


def _paint_axes(axes: Axes, axis: str, amounts: Sequence[float]) -> None:
    if max(amounts) > 6 * min(amounts):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.margins(0.15)
    axes.set_xlabel(axis)
    axes.set_ylabel("perplexity, lower is better")
    axes.grid()
    axes.spines["left"].set_visible(False)


def _name(figure: Figure, axes: Axes, points: Sequence[Point], steps: Sequence[tuple[float, float]]) -> None:
    """Every name at the first place where it meets no point, no line, no other name and no edge."""
    figure.draw_without_rendering()  # now the axes have their final size
    figure.set_layout_engine("none")
    lines = pairwise(axes.transData.transform(steps).tolist())
    taken = [Bbox([[min(a[i], b[i]) for i in (0, 1)], [max(a[i], b[i]) for i in (0, 1)]]) for a, b in lines]
    centres = axes.transData.transform([(point.amount.median, point.perplexity) for point in points])
    taken += [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in centres]
    inside = axes.get_window_extent()
    for point in points:
        at = (point.amount.median, point.perplexity)
        text = axes.annotate(shorten(point.name), at, textcoords="offset points", xytext=(0, 0))
        for dx, dy, ha, va in _PLACES:
            text.set(position=(dx, dy), ha=ha, va=va)
            box = text.get_window_extent()
            held = inside.contains(*box.min) and inside.contains(*box.max)
            if held and not any(box.overlaps(other) for other in taken):
                break
        taken.append(text.get_window_extent())
