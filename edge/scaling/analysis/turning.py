"""Look for a number of tokens beyond which more pretraining makes the quantised model worse."""

from __future__ import annotations

from collections.abc import Sequence

from edge.scaling.analysis.charts import Dot, curves
from edge.scaling.analysis.damage import STEP, quantized
from edge.scaling.analysis.groups import each, series, size, way
from edge.scaling.analysis.noise import Noise
from edge.scaling.analysis.section import Section, Table
from edge.scaling.records import Record

#: Ways to quantise that the picture shows; the answer counts all.
_SHOWN = (
    "RTN per channel, 3 bits",
    "RTN per channel, 2 bits",
    "GPTQ per channel, 2 bits",
    "GPTQ in groups of 32, 2 bits",
)


def section(records: Sequence[Record]) -> Section | None:
    """Answer with the series of token counts that were better well before their last, by more than noise."""
    found = quantized(records)
    lines = series(found, lambda mean: (way(mean.record), mean.record.parameters))
    lines = {key: line for key, line in lines.items() if len(line) > 2}
    noise = Noise(records)
    rows = [["", "parameters", "best at tokens each", "its loss", "most tokens each", "loss there"]]
    turned, furthest = [], {}
    compared = 0
    for (name, parameters), line in lines.items():
        last = line[-1]
        before = [m for m in line if STEP * m.record.training.tokens <= last.record.training.tokens]
        if not before:
            continue
        compared, furthest[parameters] = compared + 1, last.ratio
        best = min(before, key=lambda mean: mean.loss)
        if last.loss > best.loss + noise.of_loss(best, last):
            turned.append(name)
            ends = [cell for mean in (best, last) for cell in (each(mean.ratio), f"{mean.loss:.3f}")]
            rows.append([name, size(parameters), *ends])
    if not compared:
        return None
    until = ", ".join(
        f"{each(ratio)} at {size(parameters)}" for parameters, ratio in sorted(furthest.items())
    )
    if turned:
        which = "; ".join(sorted(set(turned)))
        answer = (
            f"Yes: in {len(turned)} of {compared} series the quantised model was best before the last number "
            f"of tokens, {noise.words}: {which}. Elsewhere the most tokens were best, or as good. The most "
            f"tokens for each parameter: {until}."
        )
    else:
        answer = (
            f"Not here: in all {compared} series the quantised model was best, or as good, at the most "
            f"tokens. These are, for each parameter: {until}."
        )
    dots = [
        Dot(mean.ratio, mean.loss, size(parameters), name)
        for (name, parameters), line in sorted(lines.items(), key=lambda item: (item[0][1], item[0][0]))
        if name in _SHOWN
        for mean in line
    ]
    pictures = curves("Loss after quantising", answer, ("tokens per parameter", "loss, nats"), dots)
    tables = [Table(rows)] if turned else []
    return Section("turning", "Is there a point beyond which pretraining hurts?", [answer], tables, pictures)
