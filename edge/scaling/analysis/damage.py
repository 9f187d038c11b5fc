"""Count how often damage of quantising after training grows with the tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from edge.scaling.analysis.charts import Dot, curves
from edge.scaling.analysis.groups import Mean, means, series, size, way
from edge.scaling.analysis.section import Section, Table
from edge.scaling.records import Record


def quantized(records: Sequence[Record]) -> list[Mean]:
    """Means of what was quantised after a training whose rate fell as a cosine."""
    return means(r for r in records if r.post is not None and r.training.schedule == "cosine")


def section(records: Sequence[Record]) -> Section | None:
    """Answer with the share of steps, from fewer tokens to more, in which damage grew."""
    found = quantized(records)
    if not found:
        return None
    grown: dict[str, list[bool]] = {}
    for (name, _), line in series(found, lambda m: (way(m.record), m.record.parameters)).items():
        for less, more in pairwise(line):
            grown.setdefault(name, []).append(more.damage > less.damage)
    rows = [["", "steps to more tokens", "of them with more damage"]]
    rows += [[name, str(len(steps)), f"{sum(steps) / len(steps):.0%}"] for name, steps in grown.items()]
    steps = [step for several in grown.values() for step in several]
    if not steps:
        return None
    answer = (
        f"In {sum(steps)} of {len(steps)} steps from a number of tokens to the next, at the same number of "
        f"parameters and the same rounding, damage grew ({sum(steps) / len(steps):.0%})."
    )
    dots = [
        Dot(mean.ratio, mean.damage, size(mean.record.parameters), way(mean.record))
        for mean in sorted(found, key=lambda m: (m.record.parameters, m.record.training.tokens))
        if way(mean.record) in ("RTN, 4 bits", "RTN, 3 bits", "GPTQ, 3 bits", "RTN, 2 bits")
        and mean.damage > 0
    ]
    picture = curves(
        "Damage of quantising after training",
        answer,
        ("tokens per parameter", "nats added"),
        dots,
        log_y=True,
    )
    return Section("damage", "Does damage grow with the tokens?", [answer], [Table(rows)], [picture])
