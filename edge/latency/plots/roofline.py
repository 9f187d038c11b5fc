"""Decoding against the bytes that a token must read, and against how fast those could be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from edge.latency.report.plots.dots import look
from edge.latency.report.plots.drawing import INK, Drawing, draw, handle, legend, paint_mark, shorten


@dataclass(frozen=True)
class Rate:
    """A program's decoding.

    Attributes:
        bytes_per_token: what a token must read at the least.
        rate: tokens/s.
        limit: tokens/s if a token took as long as a pure read of those bytes from its own file.
    """

    series: str
    own: bool
    bytes_per_token: float
    rate: float
    limit: float


def roofline(title: str, finding: str, rates: Sequence[Rate], height: float) -> Drawing:
    """Every program hangs below its own limit, a short bar; how far is what it leaves unused."""
    return draw(title, finding, max(2.8, height), partial(_paint, rates))


def _paint(rates: Sequence[Rate], figure: Figure) -> None:
    axes = figure.subplots()
    series = list(dict.fromkeys(rate.series for rate in rates))
    for rate in rates:
        colour, shape = look(series.index(rate.series))
        megabytes = rate.bytes_per_token / 1e6
        axes.plot([megabytes] * 2, [rate.rate, rate.limit], color=INK, linewidth=0.6)
        paint_mark(axes, megabytes, rate.limit, INK, "_", True)
        paint_mark(axes, megabytes, rate.rate, colour, shape, rate.own)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(10, numticks=6))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.margins(0.08)
    axes.set_xlabel("bytes per token, MB")
    axes.set_ylabel("decode, tok/s")
    axes.grid()
    marks = [handle(shorten(name), *look(index)) for index, name in enumerate(series)]
    legend(figure, [*marks, handle("limit", INK, "_")])
