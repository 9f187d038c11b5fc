"""Draw curves of losses with logarithmic axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from edge.latency.report.svg import COLOURS, SHAPES, Drawing, draw, legend


@dataclass(frozen=True)
class Dot:
    """A measured point of a line; dots of one line and panel are joined."""

    x: float
    y: float
    line: str
    panel: str = ""


def curves(
    title: str, finding: str, axes: tuple[str, str], dots: Sequence[Dot], log_y: bool = False
) -> list[Drawing]:
    """Draw a line for each name, in a row of panels, x logarithmic: one picture, or none without dots.

    Args:
        axes: words of the horizontal and the vertical axis.
    """
    if not dots:
        return []
    lines = list(dict.fromkeys(dot.line for dot in dots))
    colours = {"domain": lines, "range": [COLOURS[i % len(COLOURS)] for i in range(len(lines))]}
    shapes = {"domain": lines, "range": [SHAPES[i % len(SHAPES)] for i in range(len(lines))]}
    encoding = {
        "x": {
            "field": "x", "type": "quantitative", "title": axes[0],
            "scale": {"type": "log", "nice": False},
        },
        "y": {
            "field": "y", "type": "quantitative", "title": axes[1],
            "scale": {"type": "log"} if log_y else {"zero": False},
        },
        "color": {"field": "line", "type": "nominal", "scale": colours, "legend": legend(lines)},
        "shape": {"field": "line", "type": "nominal", "scale": shapes, "legend": legend(lines)},
    }  # fmt: skip
    plot = {
        "mark": {"type": "line", "point": {"filled": False, "size": 30}, "strokeWidth": 1.2},
        "encoding": encoding,
        "height": 180,
    }
    values = {"values": [asdict(dot) for dot in dots]}
    panels = list(dict.fromkeys(dot.panel for dot in dots))
    if panels == [""]:
        return [draw(title, finding, {"data": values, **plot})]
    facet = {"field": "panel", "type": "nominal", "title": None, "sort": panels}
    spec = {"data": values, "facet": facet, "columns": 2, "spec": {**plot, "width": 150, "height": 130}}
    return [draw(title, finding, spec)]
