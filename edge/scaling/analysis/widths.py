"""Compare the losses of models that were trained at each width."""

from __future__ import annotations

from collections.abc import Sequence

from edge.scaling.analysis.groups import Mean, means, size
from edge.scaling.analysis.section import Section, Table
from edge.scaling.records import Record

SHARES = {"the last tenth": 0.1, "from scratch": 1.0}


def trained_at(records: Sequence[Record], share: float) -> dict[tuple[int, int], dict[float, Mean]]:
    """Means by parameters, tokens per parameter and bits, of one share of low-bit training."""
    found: dict[tuple[int, int], dict[float, Mean]] = {}
    for mean in means(record for record in records if record.post is None):
        training = mean.record.training
        plain = training.activation_bits == training.kv_bits == 16 and training.schedule == "cosine"
        is_full = training.low_bit_tokens == 0
        if plain and (is_full or abs(training.low_bit_share - share) < 0.02):
            key = (mean.record.parameters, round(mean.ratio))
            found.setdefault(key, {})[training.weight_bits] = mean
    return {key: by for key, by in sorted(found.items()) if len(by) > 2}


def section(records: Sequence[Record]) -> Section | None:
    """Answer with the loss that each width adds to full precision, by the tokens per parameter."""
    tables, answer = [], []
    for words, share in SHARES.items():
        found = {key: by for key, by in trained_at(records, share).items() if 16.0 in by}
        if not found:
            continue
        widths = sorted({bits for by in found.values() for bits in by if bits != 16}, reverse=True)
        rows = [[f"low bits {words}", "tokens each", "full precision", *(f"{bits:g}" for bits in widths)]]
        for (parameters, ratio), by in found.items():
            added = [f"{by[bits].loss - by[16.0].loss:+.3f}" if bits in by else "" for bits in widths]
            rows.append([size(parameters), str(ratio), f"{by[16.0].loss:.3f}", *added])
        tables.append(Table(rows))
        ordered = sum(_is_ordered(by, widths) for by in found.values())
        answer.append(
            f"With low bits {words}, fewer bits never had the lower loss in {ordered} of {len(found)} rows."
        )
    return Section("widths", "What does each width cost?", answer, tables) if tables else None


def _is_ordered(by: dict[float, Mean], widths: Sequence[float]) -> bool:
    losses = [by[bits].loss for bits in widths if bits in by]
    return losses == sorted(losses)
