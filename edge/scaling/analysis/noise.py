"""Measure how far losses differ between seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from edge.scaling.analysis.groups import Mean, means, size
from edge.scaling.analysis.section import Section, Table
from edge.scaling.records import Record


def spread(records: Sequence[Record]) -> float | None:
    """The median standard deviation, over runs with several seeds, of the loss in nats; None without such."""
    found = [statistics.stdev(mean.losses) for mean in _several(records)]
    return statistics.median(found) if found else None


def _several(records: Sequence[Record]) -> list[Mean]:
    trained = means(record for record in records if record.post is None)
    return [mean for mean in trained if len(mean.losses) > 1]


def section(records: Sequence[Record]) -> Section | None:
    """Answer with a row for each run that has several seeds; None without such."""
    found = sorted(_several(records), key=lambda mean: (mean.record.parameters, mean.record.training.tokens))
    if not found:
        return None
    rows = [["parameters", "tokens each", "bits", "low-bit share", "seeds", "loss", "deviation"]]
    for mean in found:
        training = mean.record.training
        rows.append(
            [
                size(mean.record.parameters), f"{mean.ratio:.3g}", f"{training.weight_bits:g}",
                f"{training.low_bit_share:.0%}", str(len(mean.losses)), f"{mean.loss:.4f}",
                f"{statistics.stdev(mean.losses):.4f}",
            ]
        )  # fmt: skip
    middle = spread(records)
    assert middle is not None
    worst = max(statistics.stdev(mean.losses) for mean in found)
    answer = (
        "Runs that differ only in their seed, which draws the weights and orders the text, have losses with "
        f"a standard deviation of {middle:.4f} nats in the median, and of {worst:.4f} at most. Differences "
        "below twice the median are called none here."
    )
    return Section("noise", "How large is the noise?", [answer], [Table(rows)])
