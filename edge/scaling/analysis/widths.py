"""Compare the losses of models that were trained at each width."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from edge.scaling.analysis.groups import size
from edge.scaling.analysis.section import Section, Table
from edge.scaling.records import Record, Shape

#: Bits of weights, and the method that trained them.
Width = tuple[float, str]
SHARES = {"the last tenth": 0.1, "from scratch": 1.0}
FULL: Width = (16.0, "full")


@dataclass(frozen=True)
class Row:
    """Losses of one shape on one amount of text, by width; means of the seeds that all widths have."""

    shape: Shape
    parameters: int
    ratio: int
    losses: dict[Width, float]


def trained_at(records: Sequence[Record], share: float) -> list[Row]:
    """Rows of models whose last ``share`` of training was at low bits, small shapes first."""
    found: dict[tuple[int, int, Shape], dict[Width, dict[int, float]]] = {}
    for record in records:
        training = record.training
        if record.post is not None or not _is_plain(record, share):
            continue
        key = (record.parameters, round(training.tokens / record.parameters), record.shape)
        seeds = found.setdefault(key, {}).setdefault((training.weight_bits, training.method), {})
        seeds[training.seed] = record.loss
    rows = []
    for (parameters, ratio, shape), widths in sorted(found.items(), key=lambda item: item[0][:2]):
        common = set.intersection(*(set(seeds) for seeds in widths.values()))
        if common and len(widths) > 2:
            losses = {w: statistics.mean(seeds[seed] for seed in common) for w, seeds in widths.items()}
            rows.append(Row(shape, parameters, ratio, losses))
    return rows


def _is_plain(record: Record, share: float) -> bool:
    training = record.training
    has_share = training.low_bit_tokens == 0 or abs(training.low_bit_share - share) < 0.02
    is_weights = training.activation_bits == training.kv_bits == 16
    return has_share and is_weights and training.schedule == "cosine"


def words(width: Width) -> str:
    """Say a width, with its method where that is not ParetoQ: "4", "8 by minmax"."""
    bits, method = width
    return f"{bits:g}" if method == "paretoq" else f"{bits:g} by {method}"


def section(records: Sequence[Record]) -> Section | None:
    """Answer with the loss that each width adds to full precision, by the tokens per parameter."""
    tables, answer = [], []
    for when, share in SHARES.items():
        found = [row for row in trained_at(records, share) if FULL in row.losses]
        if not found:
            continue
        widths = sorted({width for row in found for width in row.losses if width != FULL}, reverse=True)
        cells = [[f"low bits {when}", "tokens each", "full precision", *(words(width) for width in widths)]]
        for row in found:
            full = row.losses[FULL]
            added = [f"{row.losses[w] - full:+.3f}" if w in row.losses else "" for w in widths]
            cells.append([size(row.parameters), str(row.ratio), f"{full:.3f}", *added])
        tables.append(Table(cells))
        ordered = sum(_is_ordered(row, widths) for row in found)
        answer.append(
            f"With low bits {when}, fewer bits never had the lower loss in {ordered} of {len(found)} rows."
        )
    return Section("widths", "What does each width cost?", answer, tables) if tables else None


def _is_ordered(row: Row, widths: Sequence[Width]) -> bool:
    losses = [row.losses[width] for width in widths if width in row.losses]
    return losses == sorted(losses)
