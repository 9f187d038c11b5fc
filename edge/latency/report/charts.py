"""Charts of rows, lines and bars: dots, curves over a length, and shares of a token's time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge.latency.report.figures import Spread
from edge.latency.report.svg import (
    BLUE,
    GREEN,
    INK,
    PAPER,
    PURPLE,
    VERMILLION,
    Drawing,
    Spec,
    amount,
    as_is,
    colour,
    draw,
    extent,
    layer,
    legend,
    line_at,
    points,
    rows,
    series,
    shape,
    shorten,
    text,
    text_width,
)
from edge.latency.report.words import least_most, number
from edge.latency.schema import OpGroup, Trace

#: Ratios that read well on an axis, the best first.
_ROUND_RATIOS = (
    *(1, 0.5, 2, 0.1, 10, 0.2, 5, 0.75, 1.5, 0.05, 20, 3, 0.3, 50, 100, 1.25, 0.9, 1.1, 0.6, 0.8),
    *(1.2, 1.4, 0.7, 1.3, 1.6, 1.05, 0.95),
)
#: Ratios further than this from ours are told in words instead of dots.
_BEYOND_OURS = 2.5
#: Pixels from one line of text to the next.
_LINE = 14.0
#: Colour of a group of ops, in the order of a bar.
_GROUPS: dict[OpGroup, str] = {"linears": BLUE, "attention": VERMILLION, "head": GREEN, "rest": PURPLE}


@dataclass(frozen=True)
class Mark:
    """A figure of the row's program; ``series`` tells marks of one row apart."""

    row: str
    series: str
    own: bool
    spread: Spread


def dots(title: str, finding: str, axis: str, marks: Sequence[Mark], scale: str = "amount") -> Drawing:
    """Rows of dots, ours above the others; hollow marks are not ours.

    Args:
        scale: "ratio" is logarithmic about 1, "share" goes from nothing to at least all, "amount" from 0.
    """
    ordered = sorted(marks, key=lambda mark: not mark.own)
    names = list(dict.fromkeys(shorten(mark.row) for mark in ordered))
    groups = list(dict.fromkeys(shorten(mark.series) for mark in marks))
    kind, (low, high), ticks = _scale(marks, scale)
    values = [
        {
            "row": shorten(mark.row),
            "series": shorten(mark.series),
            "median": mark.spread.median,
            "least": max(low, mark.spread.least),
            "most": min(high, mark.spread.most),
            "fill": colour(groups.index(shorten(mark.series))) if mark.own else PAPER,
        }
        for mark in marks
        if low <= mark.spread.median <= high
    ]
    x = amount("median", {"type": kind, "domain": [low, high]}, axis, domain=False, **ticks)
    y, left = rows(names)
    look = series(groups, left)
    apart: Spec = {"y": y, "yOffset": {"field": "series", "scale": {"domain": groups}}}
    least = {**x, "field": "least"}
    layers = [
        layer("rule", values, x=least, x2={"field": "most"}, stroke=look["stroke"], **apart),
        points(values, look, x=x, **apart),
    ]
    if scale != "amount":
        layers.append(line_at(x=1))
    for align, arrow in (("left", "← {}"), ("right", "{} →")):
        beyond: dict[str, list[float]] = {}
        for mark in marks:
            if (mark.spread.median < low) if align == "left" else (mark.spread.median > high):
                beyond.setdefault(shorten(mark.row), []).append(mark.spread.median)
        words = [{"row": row, "text": arrow.format(least_most(medians))} for row, medians in beyond.items()]
        layers += [text(words, align, x={"value": 3 if align == "left" else "width"}, y=y)] if words else []
    step = 9 + 8 * max(len(groups), 1.5)
    return draw(title, finding, {"height": step * len(names), "layer": layers}, left)


def _scale(marks: Sequence[Mark], scale: str) -> tuple[str, tuple[float, float], Spec]:
    """Type of an axis, its least and most, and its ticks."""
    most = max(mark.spread.most for mark in marks)
    if scale == "amount":
        return "linear", (0, most * 1.06), {}
    if scale == "share":
        return "linear", (0, max(1, most) * 1.04), {"format": "%"}
    ends = [(mark.own, end) for mark in marks for end in (mark.spread.least, mark.spread.most)]
    ours = [end for own, end in ends if own] or [1.0]
    shown = [end for _, end in ends if min(ours) / _BEYOND_OURS <= end <= max(ours) * _BEYOND_OURS]
    low, high = min([*shown, 0.9]) / 1.08, max([*shown, 1.1]) * 1.08
    medians = [mark.spread.median for mark in marks]
    if max(medians) > high:  # leaves room for its figure right of the line at 1
        high = max(high, low ** (1 - 1 / 0.7))
    if min(medians) < low:
        low = min(low, high ** (1 - 1 / 0.55))
    return "log", (low, high), {"values": round_ratios(low, high, 5), "labelExpr": "datum.value + 'x'"}


def round_ratios(low: float, high: float, most: int) -> list[float]:
    """Ticks between two ratios that stand apart on a logarithmic axis."""
    apart = (high / low) ** (1 / most)
    ticks: list[float] = []
    for ratio in _ROUND_RATIOS:
        if low <= ratio <= high and all(max(ratio / tick, tick / ratio) >= apart for tick in ticks):
            ticks.append(ratio)
    return sorted(ticks)


@dataclass(frozen=True)
class Line:
    """A program's figure by length; ``base`` is our own 4 bits."""

    name: str
    own: bool
    base: bool
    points: dict[int, Spread]


def curves(title: str, finding: str, lengths: Sequence[int], axis: str, lines: Sequence[Line]) -> Drawing:
    """Rates over a length, a line for each program, named at its end; dashed and hollow are the others."""
    height = max(130.0, len(lines) * _LINE)
    top = 1.05 * max(spread.most for line in lines for spread in line.points.values())
    coloured = [line for line in lines if line.own and not line.base]
    values = []
    for index, line in enumerate(lines):
        ink = colour(coloured.index(line) % 4) if line in coloured else INK
        look = {"stroke": ink, "fill": ink if line.own else PAPER, "shape": shape(index)}
        for length, spread in sorted(line.points.items()):
            value = {"length": length, "median": spread.median, "least": spread.least, "most": spread.most}
            values.append({"line": index, "own": line.own, **look, **value})
    domain = [min(lengths) / 1.12, max(lengths) * 1.12]
    ticks = {"values": sorted(lengths), "grid": False}
    x = amount("length", {"type": "log", "domain": domain}, axis, **ticks)
    y = amount("median", {"domain": [0, top]}, "tok/s", **extent())
    across = {"x": x, "stroke": as_is("stroke"), "detail": {"field": "line", "type": "nominal"}}
    dash = {"condition": {"test": "datum.own", "value": []}, "value": [5, 3]}
    ends = [line.points[max(line.points)].median for line in lines]
    placed = spaced(ends, _LINE * top / height, 0, top)
    names = [shorten(line.name) for line in lines]
    words = [{"end": e, "at": at, "text": name} for e, at, name in zip(ends, placed, names, strict=True)]
    end, at = ({"field": field, "type": "quantitative"} for field in ("end", "at"))
    beside = [{"value": {"expr": f"width + {pixels}"}} for pixels in (2, 14, 17)]
    layers = [
        layer("rule", values, y={**y, "field": "least"}, y2={"field": "most"}, **across),
        layer("line", values, y=y, strokeDash=dash, **across),
        points(values, {"shape": as_is("shape")}, 24, y=y, **across),
        layer(
            {"type": "rule", "strokeWidth": 0.6}, words, x=beside[0], x2=beside[1], y=end, y2={"field": "at"}
        ),
        text(words, x=beside[2], y=at),
    ]
    right = 24 + text_width(*names)
    return draw(title, finding, {"height": height, "layer": layers}, right=right)


def spaced(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions in the order of ``wanted`` and close to them, at least ``gap`` apart, from low to high.

    What does not fit hangs over below ``low``.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    placed = list(wanted)
    floor, ceiling = low, high
    for index in order:
        placed[index] = max(wanted[index], floor)
        floor = placed[index] + gap
    for index in reversed(order):
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - gap
    return placed


def token_times(title: str, finding: str, traces: Sequence[tuple[str, bool, Trace]]) -> Drawing:
    """Bars of a token's time by group of ops, ours (marked True) above the others."""
    ordered = [(shorten(name), trace) for name, _, trace in sorted(traces, key=lambda each: not each[1])]
    groups = [group for group in _GROUPS if any(group in trace.group_ms for _, trace in ordered)]
    values = [
        {"row": name, "group": g, "order": i, "share": max(0.0, trace.group_ms.get(g, 0.0)) / trace.token_ms}
        for name, trace in ordered
        for i, g in enumerate(groups)
    ]
    totals = [{"row": name, "text": f"{number(trace.token_ms)} ms"} for name, trace in ordered]
    y, left = rows([name for name, _ in ordered])
    x = amount(
        "share", {"domain": [0, 1]}, "share of a token's time", format="%", values=[0, 0.5, 1], grid=False
    )
    colours = {"domain": groups, "range": [_GROUPS[group] for group in groups]}
    fill = {"field": "group", "type": "nominal", "scale": colours, "legend": legend(groups, left)}
    bar = {"type": "bar", "stroke": PAPER, "strokeWidth": 1}
    layers = [
        layer(bar, values, x={**x, "stack": True}, y=y, fill=fill, order={"field": "order"}),
        text(totals, x={"value": {"expr": "width + 5"}}, y=y),
    ]
    return draw(title, finding, {"height": 17 * len(ordered), "layer": layers}, left, right=64)
