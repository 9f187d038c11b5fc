"""Draw a run: its loss, and how far each quantised layer has moved at each reading."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from edge.files import staged_file

#: Labels of layers and of steps.
NAMED_LAYERS = 48
ROW_INCHES = 0.17
TICKS = 8
COLOURS = colormaps["viridis"].with_extremes(under="red")
LEAST = 1e-6
#: Beginning of the names of held-out losses of a parent's slices, as in eval_loss_4_bits.
EACH_WIDTH = "eval_loss_"


def draw(records: list[dict[str, Any]], path: Path) -> None:
    """Write a PNG of the lines of ``monitor.jsonl``: loss, changed codes and movement of alpha by layer."""
    readings = [record for record in records if "layers" in record]
    layers = len(readings[-1]["layers"]) if readings else 0
    height = 3 + (min(max(layers * ROW_INCHES, 3), 12) + 1 if layers else 0)
    figure = Figure(figsize=(12, height), layout="constrained")
    grid = figure.add_gridspec(2 if layers else 1, 2, height_ratios=[3, height - 3] if layers else None)
    _loss(figure.add_subplot(grid[0, :]), records)
    if layers:
        left = figure.add_subplot(grid[1, 0])
        right = figure.add_subplot(grid[1, 1], sharey=left)
        _heat_map(left, readings, "changed", "codes changed since the start, % (red: none)")
        _heat_map(right, readings, "alpha_moved", "alpha moved since the start, % (red: not at all)")
        right.tick_params(labelleft=False)
    with staged_file(path) as staged:
        figure.savefig(staged, dpi=110, format="png")


def _loss(axes: Axes, records: list[dict[str, Any]]) -> None:
    for name, label, style in (("loss", "training", "-"), *((*line, "o-") for line in _held_out(records))):
        points = [(r["step"], r[name]) for r in records if r.get(name) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label, markersize=4)
    axes.set_xlabel("step")
    axes.set_ylabel("loss, nats per token")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()


def _held_out(records: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Names and labels of the held-out losses: one for each width of a parent, else the only one."""
    names = {name: None for record in records for name in record if name.startswith(EACH_WIDTH)}
    widths = [(name, name.removeprefix(EACH_WIDTH).replace("_", " ")) for name in names]
    return [(name, f"held out, {width}") for name, width in widths] or [("eval_loss", "held out")]


def _heat_map(axes: Axes, readings: list[dict[str, Any]], field: str, title: str) -> None:
    """Plot layers down, readings across; a value of 0 is red, so a dead layer is a red row."""
    names = list(readings[-1]["layers"])
    percent = [[100 * reading["layers"][name][field] for reading in readings] for name in names]
    largest = max(map(max, percent))
    mesh = axes.pcolormesh(percent, cmap=COLOURS, vmin=LEAST, vmax=max(largest, 2 * LEAST))
    axes.set_ylim(len(names), 0)  # the first layer on top
    axes.figure.colorbar(mesh, ax=axes)
    axes.set_title(title)
    axes.set_xlabel("step")
    _label(axes.xaxis, [str(reading["step"]) for reading in readings], TICKS)
    _label(axes.yaxis, names, NAMED_LAYERS)
    axes.tick_params(axis="y", labelsize=7)


def _label(axis: Axis, names: list[str], most: int) -> None:
    """Label at most so many cells, evenly, in their middle."""
    shown = range(0, len(names), math.ceil(len(names) / most))
    axis.set_ticks([i + 0.5 for i in shown], [names[i] for i in shown])
