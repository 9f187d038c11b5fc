"""Charts of two amounts: a Pareto front with names, and a roofline."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from edge.latency.report.figures import Spread
from edge.latency.report.svg import (
    BLUE,
    INK,
    PAPER,
    WIDTH,
    Drawing,
    Spec,
    amount,
    colour,
    draw,
    extent,
    layer,
    line_at,
    points,
    series,
    shorten,
    text,
    text_width,
)

_ON_FRONT, _DOMINATED = "on the front", "dominated: another is no worse in both"
#: Left, top, right and bottom in pixels.
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Point:
    """A program on a plane of two costs, or of a gain and a cost.

    Attributes:
        x: what it costs or gives.
        y: perplexity or bytes, lower is better.
        on_front: no other program is at least as good in both.
        base: our own 4 bits.
    """

    name: str
    x: Spread
    y: float
    on_front: bool
    own: bool = True
    base: bool = False


def front(
    title: str,
    finding: str,
    axes: tuple[str, str],
    programs: Sequence[Point],
    more_is_better: bool,
    height: int = 200,
) -> Drawing:
    """Programs as points, the Pareto front as steps, and dashed lines through our 4 bits."""
    scales = _scale([p.x.median for p in programs], 0.22), _scale([p.y for p in programs], 0.15)
    least, most = scales[0]["domain"]
    colours = {_ON_FRONT: BLUE, _DOMINATED: INK}
    values = [
        {
            "x": p.x.median,
            "y": p.y,
            "least": max(p.x.least, least),
            "most": min(p.x.most, most),
            "front": (meaning := _ON_FRONT if p.on_front else _DOMINATED),
            "fill": colours[meaning] if p.own else PAPER,
        }
        for p in programs
    ]
    seen = [meaning for meaning in colours if any(value["front"] == meaning for value in values)]
    scale = {"domain": seen, "range": [colours[meaning] for meaning in seen]}
    stroke = {"field": "front", "type": "nominal", "scale": scale, "legend": {"columns": 2}}
    x, y = amount("x", scales[0], axes[0]), amount("y", scales[1], axes[1], **extent())
    steps = _steps([(p.x.median, p.y) for p in programs if p.on_front], more_is_better)
    corners = [{"x": at, "y": loss, "order": index} for index, (at, loss) in enumerate(steps)]
    layers = [
        layer(
            {"type": "line", "stroke": BLUE, "strokeWidth": 1.2}, corners, x=x, y=y, order={"field": "order"}
        ),
        layer("rule", values, x={**x, "field": "least"}, x2={"field": "most"}, y=y, stroke=stroke),
        points(values, {"stroke": stroke}, 46, x=x, y=y),
        *(line_at(**at) for p in programs if p.base for at in ({"x": p.x.median}, {"y": p.y})),
        *_names(programs, scales, (WIDTH - 62, height), steps),
    ]
    return draw(title, finding, {"height": height, "layer": layers})


def _steps(on_front: Sequence[tuple[float, float]], more_is_better: bool) -> list[tuple[float, float]]:
    """Corners of the front's edge, in the order of x."""
    corners = sorted(on_front)[:1]
    for (x, y), following in pairwise(sorted(on_front)):
        corners += [(x, following[1]) if more_is_better else (following[0], y), following]
    return corners


def _scale(values: Sequence[float], room: float) -> Spec:
    """Scale of an axis with room for names: logarithmic where values lie far apart."""
    least, most = min(values), max(values)
    if most > 6 * least > 0:
        factor = (most / least) ** room
        return {"type": "log", "domain": [least / factor, most * factor]}
    margin = (most - least or abs(most) or 1) * room
    low = least - margin
    return {"type": "linear", "domain": [low if least < 0 else max(0, low), most + margin]}


def _share(value: float, scale: Spec) -> float:
    """Position on an axis, from 0 to 1."""
    low, high = scale["domain"]
    if scale["type"] == "log":
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def _names(
    programs: Sequence[Point],
    scales: tuple[Spec, Spec],
    size: tuple[float, float],
    steps: Sequence[tuple[float, float]],
) -> list[Spec]:
    """Layers with every name at the first place where it meets no point, line, other name or edge.

    Where there is none, a name may cover points and lines.
    """

    def pixels(x: float, y: float) -> tuple[float, float]:
        return _share(x, scales[0]) * size[0], (1 - _share(y, scales[1])) * size[1]

    taken: list[Box] = []  # by points and lines
    for a, b in pairwise([pixels(*step) for step in steps]):
        taken.append((min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1])))
    for p in programs:
        (left, y), (x, _), (right, _) = (pixels(at, p.y) for at in (p.x.least, p.x.median, p.x.most))
        taken += [(x - 5, y - 5, x + 5, y + 5), (left, y - 1, right, y + 1)]
        if p.base:  # its dashed lines
            taken += [(0, y - 1, size[0], y + 1), (x - 1, 0, x + 1, size[1])]
    layers: list[Spec] = []
    names: list[Box] = []
    for p in programs:
        name = shorten(p.name)
        centre, bar = pixels(p.x.median, p.y), (pixels(p.x.least, p.y)[0], pixels(p.x.most, p.y)[0])
        places = list(_places(*centre, bar, text_width(name), size[0]))
        inside = [each for each in places if _is_inside(each[3], size)]
        clear = (each for each in inside if not _meets(each[3], [*taken, *names]))
        apart = (each for each in inside if not _meets(each[3], names))
        x, y, align, box = next(clear, next(apart, inside[0]))
        names.append(box)
        edge = [min(max(centre[i], box[i]), box[i + 2]) for i in (0, 1)]
        if math.dist(centre, edge) > 16:  # a line to a name that stands apart
            ends = dict(zip(("x", "y", "x2", "y2"), ({"value": v} for v in (*centre, *edge)), strict=True))
            layers.append(layer({"type": "rule", "strokeWidth": 0.6, "opacity": 0.6}, [{}], **ends))
        weight = "bold" if p.base else "normal"
        layers.append(text([{"text": name}], align, weight, x={"value": x}, y={"value": y}))
    return layers


def _is_inside(box: Box, size: tuple[float, float]) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= size[0] and box[3] <= size[1]


def _meets(a: Box, others: Sequence[Box]) -> bool:
    return any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for b in others)


def _places(
    x: float, y: float, bar: tuple[float, float], width: float, most: float
) -> Iterator[tuple[float, float, str, Box]]:
    """Places for a name near a point with a bar, the best first: position, alignment and box.

    Names above and below a point stay between 0 and ``most``.
    """
    for end, dx, align, before in ((bar[1], 4, "left", 0.0), (bar[0], -4, "right", 1.0)):
        at = (max(end, x + 5) if dx > 0 else min(end, x - 5)) + dx
        yield at, y, align, (at - before * width, y - 6, at - before * width + width, y + 6)
    directions = [(6, -10), (0, -13), (-6, 10), (0, 13), (-6, -10), (6, 10)]
    for reach in (1, 1.8, 3, 4.5, 6, 8, 11, 14):
        for dx, dy in directions:
            align, before = ("left", 0.0) if dx > 0 else ("right", 1.0) if dx < 0 else ("center", 0.5)
            left, middle = x + dx * reach - before * width, y + dy * reach
            if not dx:
                left = min(max(left, 0), most - width)
            yield left + before * width, middle, align, (left, middle - 6, left + width, middle + 6)


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


def roofline(title: str, finding: str, rates: Sequence[Rate]) -> Drawing:
    """Programs below their own limits, which are short bars; both axes are logarithmic."""
    groups = list(dict.fromkeys(shorten(rate.series) for rate in rates))
    values = [
        {
            "megabytes": rate.bytes_per_token / 1e6,
            "rate": rate.rate,
            "limit": rate.limit,
            "series": shorten(rate.series),
            "fill": colour(groups.index(shorten(rate.series))) if rate.own else PAPER,
        }
        for rate in rates
    ]
    sizes, speeds = [r.bytes_per_token / 1e6 for r in rates], [s for r in rates for s in (r.rate, r.limit)]
    domains = [[min(each) / 1.25, max(each) * 1.25] for each in (sizes, speeds)]
    x = amount("megabytes", {"type": "log", "domain": domains[0]}, "bytes per token, MB")
    y = amount("rate", {"type": "log", "domain": domains[1]}, "decode, tok/s", **extent())
    tick = {"type": "tick", "thickness": 1.5, "size": 9, "orient": "horizontal", "color": INK}
    layers = [
        layer("rule", values, x=x, y=y, y2={"field": "limit"}),
        layer(tick, values, x=x, y={**y, "field": "limit"}),
        points(values, series(groups), x=x, y=y),
    ]
    return draw(title, finding, {"height": 230, "layer": layers})
