"""Where a token's time goes: a bar of shares for every program, its time beside it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MultipleLocator

from edge.latency.report.plots.drawing import (
    BLUE,
    GREEN,
    INK,
    PAPER,
    VERMILLION,
    Drawing,
    draw,
    legend,
    shorten,
    without_frame,
)
from edge.latency.schema import OpGroup, Trace
from edge.latency.report.words import number

#: A group's colour and hatch, in the order of a bar.
_LOOKS: dict[OpGroup, tuple[str, str]] = {
    "linears": (BLUE, ""),
    "attention": (VERMILLION, "////"),
    "head": (GREEN, "...."),
    "rest": (PAPER, ""),
}


def token_times(title: str, finding: str, traces: Sequence[tuple[str, bool, Trace]]) -> Drawing:
    """Traces by the names of their programs and whether these are ours, which stand above the others."""
    ordered = sorted(traces, key=lambda each: not each[1])
    return draw(title, finding, 0.85 + 0.2 * len(ordered), partial(_paint, ordered))


def _paint(traces: Sequence[tuple[str, bool, Trace]], figure: Figure) -> None:
    axes = figure.subplots()
    beside = axes.get_yaxis_transform()
    groups = [group for group in _LOOKS if any(group in trace.group_ms for _, _, trace in traces)]
    for row, (_, _, trace) in enumerate(traces):
        left = 0.0
        for group in groups:
            share = max(0.0, trace.group_ms.get(group, 0.0)) / trace.token_ms
            colour, hatch = _LOOKS[group]
            axes.barh(row, share, 0.72, left, color=colour, hatch=hatch, edgecolor=INK, linewidth=0.6)
            left += share
        axes.text(1.02, row, f"{number(trace.token_ms)} ms", va="center", transform=beside)
    own = sum(is_own for _, is_own, _ in traces)
    if 0 < own < len(traces):
        axes.axhline(own - 0.5, color=INK, linewidth=0.6)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(traces) - 0.5, -0.5)
    axes.set_yticks(range(len(traces)), [shorten(name) for name, _, _ in traces])
    axes.xaxis.set_major_locator(MultipleLocator(0.25))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    axes.set_xlabel("share of a token's time")
    without_frame(axes)
    looks = [(group, *_LOOKS[group]) for group in groups]
    legend(figure, [Patch(facecolor=c, hatch=h, edgecolor=INK, linewidth=0.6, label=g) for g, c, h in looks])
