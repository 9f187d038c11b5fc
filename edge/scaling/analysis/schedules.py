"""Compare damage after other schedules of the learning rate (arXiv 2510.06213)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from edge.scaling.analysis.groups import means, size, way
from edge.scaling.analysis.section import Section, Table
from edge.scaling.records import Record

SCHEDULES = ("cosine", "linear", "constant_with_warmup")
#: Ways to quantise that the table shows; the answer counts all.
_SHOWN = (
    "RTN per channel, 4 bits",
    "RTN per channel, 3 bits",
    "RTN per channel, 2 bits",
    "GPTQ per channel, 2 bits",
)


def section(records: Sequence[Record]) -> Section | None:
    """Answer for models that differ only in their schedule; None without such."""
    found: dict[tuple[int, int, str], dict[str, float]] = {}
    for mean in means(record for record in records if record.post is not None):
        key = (mean.record.parameters, mean.record.training.tokens, way(mean.record))
        found.setdefault(key, {})[mean.record.training.schedule] = mean.damage
    whole = {key: by for key, by in found.items() if set(SCHEDULES) <= by.keys()}
    if not whole:
        return None
    rows = [["parameters", "tokens each", "", *(name.replace("_", " ") for name in SCHEDULES)]]
    for (parameters, tokens, name), by in sorted(whole.items()):
        if name in _SHOWN:
            cells = [f"{by[schedule]:.4f}" for schedule in SCHEDULES]
            rows.append([size(parameters), f"{tokens / parameters:.3g}", name, *cells])
    # The ratio of two small numbers says nothing, so that only damage that is seen counts.
    ratios = sorted(by["constant_with_warmup"] / by["cosine"] for by in whole.values() if by["cosine"] > 0.01)
    if not ratios:
        return None
    lower = sum(ratio < 1 for ratio in ratios)
    middle = statistics.median(ratios)
    answer = (
        f"With a constant rate, damage was {middle:.2f} times that of a cosine in the median, and less in "
        f"{lower} of {len(ratios)} pairs of the same parameters, tokens and rounding (where the cosine's "
        "damage is above .01 nats)."
    )
    return Section("schedules", "Does damage follow the learning rate's schedule?", [answer], [Table(rows)])
