"""Vega-Lite charts as SVG that a page holds inline: in the page's colours and font, with text as text."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import vl_convert

#: Pixels. A drawing is shown at about this width on a desktop and on a phone, so its text has one size.
WIDTH, TEXT = 380, 11
#: Placeholders for the page's own colours, which differ between light and dark pages.
INK, PAPER = "#010203", "#fcfdfe"
_PAGE_COLOURS = {INK: "currentColor", PAPER: "var(--paper)"}
#: Colours of Okabe and Ito for colour-blind readers that keep a contrast of 3:1 on light and on dark.
BLUE, VERMILLION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, INK)
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")

Spec = dict[str, Any]
_TEXT: Spec = {"labelColor": INK, "labelFontSize": TEXT, "labelLimit": 400}
_TITLE = {"titleColor": INK, "titleFontSize": TEXT, "titleFontWeight": "normal"}
_LINES = {"domainColor": INK, "tickColor": INK, "tickSize": 3, "gridColor": INK, "gridOpacity": 0.15}
_SPARSE = {"labelOverlap": True, "labelSeparation": 7}
_LEGEND = {"orient": "top", "title": None, "columnPadding": 18, "symbolFillColor": "transparent"}
_CONFIG = {
    "background": None,
    "view": {"stroke": None},
    "axis": {**_TEXT, **_TITLE, **_LINES, **_SPARSE},
    "axisY": {"domain": False, "ticks": False},
    "legend": {**_TEXT, **_LEGEND},
    "text": {"fontSize": TEXT, "fill": INK, "baseline": "middle"},
    "rule": {"stroke": INK},
}


@dataclass(frozen=True)
class Drawing:
    """A plot, its title, and what one sees there in words; ``svg`` is safe to put into HTML."""

    title: str
    finding: str
    svg: str


def draw(title: str, finding: str, spec: Spec, left: float = 54, right: float = 8) -> Drawing:
    """Render a Vega-Lite spec; equal specs give equal bytes.

    Args:
        left: pixels for the vertical axis.
        right: pixels for text right of the plot.
    """
    whole = {"width": WIDTH - left - right, "padding": 3, "config": _CONFIG, **spec}
    svg = vl_convert.vegalite_to_svg(whole, vl_version="5.21", allowed_base_urls=[])
    return Drawing(title, finding, _inline(svg, f"{title}. {finding}".strip()))


def as_file(drawing: Drawing) -> str:
    """Give a drawing the colours and the font of a file of its own, on white."""
    svg = drawing.svg.replace("currentColor", "#1f2328").replace("var(--paper)", "#fff")
    return svg.replace("<svg", '<svg font-family="sans-serif" style="background:#fff"', 1) + "\n"


def _inline(svg: str, label: str) -> str:
    """Strip what only a file needs, and put in the page's colours."""
    svg = re.sub(r'<path class="(background|foreground)"[^>]*/>', "", svg)
    svg = re.sub(r"<[^>]*>", _inline_tag, svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)


def _inline_tag(match: re.Match[str]) -> str:
    """Rewrite a tag; tags hold no words of a report, which stand between them."""
    tag = re.sub(
        r' (class|role|aria-\w+|pointer-events|font-family|xmlns:xlink|version)="[^"]*"', "", match[0]
    )
    tag = re.sub(r"(\d\.\d\d)\d+", r"\1", tag)
    if tag.startswith("<svg"):  # the browser's letters may be wider than those that Vega measured with
        tag = re.sub(r' width="\S+ height="(\S+)" viewBox=".*?"', rf' viewBox="0 0 {WIDTH + 10} \1"', tag)
    for placeholder, colour in _PAGE_COLOURS.items():
        tag = tag.replace(placeholder, colour)
    return tag


def shorten(name: str, room: float = 150) -> str:
    """Cut the middle out of a name that takes more pixels than ``room``: names differ at their ends."""
    half = len(name) // 2
    while text_width(short := f"{name[:half]}…{name[-half:]}") > room:
        half -= 1
    return name if text_width(name) <= room else short


def text_width(*names: str) -> float:
    """Pixels of the longest name, generously: the reader's font is not known."""
    return max(6.6 * len(name) + 4.6 * sum(letter in "MWmw@" for letter in name) for name in names)


def layer(mark: str | Spec, values: Sequence[Spec], **channels: Spec) -> Spec:
    """One layer of a chart, with its own data."""
    return {"data": {"values": values}, "mark": mark, "encoding": channels}


def text(values: Sequence[Spec], align: str = "left", weight: str = "normal", **channels: Spec) -> Spec:
    """A layer of the values' "text"."""
    mark = {"type": "text", "align": align, "fontWeight": weight}
    return layer(mark, values, text={"field": "text"}, **channels)


def points(values: Sequence[Spec], looks: Spec, size: int = 34, **channels: Spec) -> Spec:
    """A layer of points; the values' "fill" is their colour, or the page's for hollow ones."""
    mark = {"type": "point", "size": size, "strokeWidth": 1.4, "opacity": 1}
    return layer(mark, values, fill=as_is("fill"), **looks, **channels)


def line_at(**channels: float) -> Spec:
    """A layer with one line across the plot, at ``x`` or at ``y``."""
    mark = {"type": "rule", "strokeDash": [3, 3], "strokeWidth": 0.8}
    return layer(mark, [{}], **{name: {"datum": at, "type": "quantitative"} for name, at in channels.items()})


def amount(field: str, scale: Spec, title: str = "", **axis: Any) -> Spec:
    """A channel of numbers. ``scale`` holds the domain, and the type unless it is linear."""
    has_grid = scale.get("type") != "log" or "values" in axis  # a logarithmic grid hides what it carries
    axis = {"title": title or None, "tickCount": 4, "format": "~r", "grid": has_grid, **axis}
    return {
        "field": field,
        "type": "quantitative",
        "scale": {"nice": False, "zero": False, **scale},
        "axis": axis,
    }


def as_is(field: str) -> Spec:
    """A channel whose values are colours or shapes."""
    return {"field": field, "type": "nominal", "scale": None, "legend": None}


def rows(names: Sequence[str]) -> tuple[Spec, float]:
    """The vertical channel of named rows, and the pixels that their names take."""
    left = 8 + text_width(*names)
    axis = {"title": None, "grid": True, "tickBand": "extent", "labelOverlap": False, **extent(left)}
    return {"field": "row", "type": "nominal", "scale": {"domain": list(names)}, "axis": axis}, left


def extent(left: float = 36) -> Spec:
    """Fixed width of a vertical axis, so that all plots are laid out alike with every font."""
    return {"minExtent": left, "maxExtent": left}


def series(names: Sequence[str], left: float = 54) -> Spec:
    """Colour and shape of the values' "series", with a legend where there are several."""
    shown = legend(names, left) if len(names) > 1 else None
    looks = {"stroke": [colour(i) for i in range(len(names))], "shape": [shape(i) for i in range(len(names))]}
    return {
        channel: {"field": "series", "scale": {"domain": list(names), "range": look}, "legend": shown}
        for channel, look in looks.items()
    }


def legend(names: Sequence[str], left: float = 54) -> Spec:
    """A legend in as many columns as fit right of ``left``."""
    return {"columns": max(1, int((WIDTH - left) / (text_width(*names) + 34)))}


def colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def shape(index: int) -> str:
    return SHAPES[index % len(SHAPES)]
