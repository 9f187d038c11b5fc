"""From a matplotlib figure to SVG that a page can hold inline: its ink is the page's, its text is text."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

#: Inches. A drawing is shown at about this size on a desktop and on a phone, so its text has one size.
WIDTH = 3.9
#: Points; 10.7 pixels.
TEXT = 8.0
#: Stand-ins for the page's own colours, which light and dark pages choose; no plot uses them otherwise.
INK, PAPER = "#010203", "#fcfdfe"
_PAGE_WORDS = {INK: "currentColor", PAPER: "var(--paper)", "'DejaVu Sans'": "var(--sans)"}
#: Those of Okabe and Ito's colours, made for colour-blind readers, that keep 3:1 on light and on dark.
BLUE, VERMILLION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, INK)
#: Shapes say what colours say.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MARKER_SIZE = 4.8
FAINT = 0.18
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar sign in a name is one
    "font.size": TEXT,
    "font.family": "DejaVu Sans",  # comes with matplotlib, and is wider than what pages use
    "axes.titlesize": TEXT,
    "axes.titlelocation": "left",
    "axes.labelsize": TEXT,
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "legend.fontsize": TEXT,
    "legend.frameon": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": FAINT,
    "grid.linewidth": 0.6,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.major.size": 2.5,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.2,
    "hatch.linewidth": 0.6,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
}


@dataclass(frozen=True)
class Drawing:
    """A plot with what it shows and what one sees there, in words; ``svg`` is safe to put into HTML."""

    title: str
    finding: str
    svg: str


def draw(title: str, finding: str, height: float, paint: Callable[[Figure], None]) -> Drawing:
    """A drawing of WIDTH by ``height`` inches; equal arguments give equal bytes.

    Args:
        title: unique on its page, because the ids inside the SVG are made from it.
    """
    with matplotlib.style.context(["default", _STYLE | {"svg.hashsalt": title}]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # the browser has the glyph
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return Drawing(title, finding, _inline(buffer.getvalue(), f"{title}. {finding}"))


def _inline(svg: str, label: str) -> str:
    """Without what only a file needs, with the page's colours, and with coordinates that print can show."""
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg[svg.index("<svg ") :], flags=re.DOTALL)
    svg = re.sub(r"<[^>]*>", _inline_tag, svg)
    svg = re.sub(r"\n\s*", "\n", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1)


def _inline_tag(match: re.Match[str]) -> str:
    """A tag, in which no word of a report stands: those are between tags."""
    tag = re.sub(r' id="[a-z0-9.]+_\d+"', "", match[0])  # names of groups, which repeat in every drawing
    tag = re.sub(r"(\d\.\d\d)\d+", r"\1", tag)
    tag = (
        tag.replace(INK, "currentColor")
        .replace(PAPER, "var(--paper)")
        .replace("'DejaVu Sans'", "var(--sans)")
    )
    return re.sub(r' (width|height)="[\d.]+pt"', "", tag)


def paint_mark(axes: Axes, x: float, y: float, colour: str, shape: str, full: bool) -> None:
    """Hollow ones hide the lines below them."""
    face = colour if full else PAPER
    axes.plot(x, y, shape, markersize=MARKER_SIZE, mfc=face, mec=colour, mew=1.1)


def handle(label: str, colour: str, shape: str, full: bool = True) -> Line2D:
    """How a legend shows such a mark."""
    face = colour if full else PAPER
    style: dict[str, Any] = {"marker": shape, "mfc": face, "mec": colour, "mew": 1.1, "linestyle": ""}
    return Line2D([], [], markersize=MARKER_SIZE, label=label, **style)


def shorten(name: str, length: int = 22) -> str:
    """A name that leaves room for the plot; its ends, where names differ."""
    visible = "\N{ZERO WIDTH SPACE}" + name if name.startswith("_") else name  # else no legend shows it
    half = (length - 1) // 2
    return visible if len(visible) <= length else f"{visible[:half]}…{visible[-half:]}"


def legend(figure: Figure, handles: Sequence[Line2D | Patch]) -> None:
    """Above the plot, in as few lines as its names allow."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    font, beside = FontProperties(size=TEXT), 2.6 * TEXT / 72 * figure.dpi  # the mark, and the gaps
    names = [str(handle.get_label()) for handle in handles]
    widths = [renderer.get_text_width_height_descent(name, font, False)[0] + beside for name in names]
    room = figure.bbox.width
    columns = len(names) if sum(widths) <= room else max(1, int(room // max(widths)))
    figure.legend(
        handles=list(handles),
        loc="outside upper left",
        ncols=columns,
        handlelength=1.2,
        handletextpad=0.4,
        columnspacing=1.2,
        borderpad=0,
        labelspacing=0.3,
    )


def without_frame(axes: Axes) -> None:
    """Grid lines carry a plot of rows; only the axis that is read keeps its line."""
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
