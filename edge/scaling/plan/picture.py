"""Draw a plan: predicted loss over bytes, a colour for each width, and the Pareto front as steps."""

from __future__ import annotations

from itertools import pairwise

from edge.latency.report.svg import BLUE, Drawing, amount, draw, extent, layer, line_at, points, series
from edge.latency.report.words import number
from edge.scaling.plan.schema import ChoiceRecord, Plan

#: Choices of more than so many times the least loss would hide what the others differ in.
_MOST = 2


def picture(plan: Plan) -> Drawing:
    """Points for the choices of less than twice the least loss; a dashed line where bytes are limited."""
    best = plan.choices[0]
    drawn = [choice for choice in plan.choices if choice.loss <= _MOST * best.loss]
    front = sorted((choice for choice in drawn if choice.on_front), key=lambda choice: choice.file_bytes)
    widths = [_width(bits) for bits in sorted({choice.bits for choice in drawn})]
    values = [
        {"x": c.file_bytes / 1e6, "y": c.loss, "series": _width(c.bits), "fill": "transparent"} for c in drawn
    ]
    limit = plan.limits["max_bytes"]
    most = max([choice.file_bytes for choice in drawn] + [limit or 0]) / 1e6
    losses = [choice.loss for choice in drawn]
    room = 0.05 * (max(losses) - min(losses) or max(losses))
    x = amount("x", {"domain": [0, 1.03 * most]}, "file, MB")
    domain = [min(losses) - room, max(losses) + room]
    y = amount("y", {"domain": domain}, "predicted loss, nats per token", **extent())
    corners = [{"x": at, "y": loss, "order": i} for i, (at, loss) in enumerate(_steps(front))]
    line = {"type": "line", "stroke": BLUE, "strokeWidth": 1.2}
    layers = [
        layer(line, corners, x=x, y=y, order={"field": "order"}),
        points(values, series(widths), 22, x=x, y=y),
        *([line_at(x=limit / 1e6)] if limit else []),
    ]
    return draw(f"What fits {plan.device.name}", _finding(plan, len(drawn)), {"height": 240, "layer": layers})


def _width(bits: float) -> str:
    return f"{bits:g} bit{'s' * (bits != 1)}"


def _finding(plan: Plan, drawn: int) -> str:
    best, left_out = plan.choices[0], len(plan.choices) - drawn
    sentence = (
        f"The least predicted loss, {best.loss:.3f}: {best.config.n_layers} layers, {best.config.dim} wide, "
        f"{_width(best.bits)}, {number(best.file_bytes / 1e6)} MB. {plan.law.source}."
    )
    return sentence + (
        f" {left_out} choices of more than {_MOST} times that loss are left out." * bool(left_out)
    )


def _steps(front: list[ChoiceRecord]) -> list[tuple[float, float]]:
    """Corners of the front's edge: more bytes bring less loss only from the next choice on."""
    corners = [(choice.file_bytes / 1e6, choice.loss) for choice in front]
    steps = corners[:1]
    for (_, loss), following in pairwise(corners):
        steps += [(following[0], loss), following]
    return steps
