"""Compare the losses of models that were trained at each width."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from edge.scaling.analysis.groups import common_seeds, group, size
from edge.scaling.analysis.noise import Noise
from edge.scaling.analysis.section import Section, Table
from edge.scaling.laws.fraction import PARETOQ_SHARE
from edge.scaling.records import Record, Shape, commonest_schedule

#: Bits of weights, and the method that trained them.
Width = tuple[float, str]
SHARES = {"the last tenth": PARETOQ_SHARE, "from scratch": 1.0}
FULL: Width = (16.0, "full")
#: Widths that a row needs, full precision among them.
_LEAST_WIDTHS = 3
#: Nats that count as none where the noise is not known.
_NOTHING = 1e-9


@dataclass(frozen=True)
class Row:
    """Losses of one shape on one amount of text, by width.

    Attributes:
        losses: means over the seeds that all widths have.
        seeds: how many these are.
    """

    shape: Shape
    parameters: int
    tokens: int
    losses: dict[Width, float]
    seeds: int

    @property
    def best(self) -> dict[float, float]:
        """Losses by the bits alone; of several methods the best counts."""
        best: dict[float, float] = {}
        for (bits, _), loss in self.losses.items():
            best[bits] = min(loss, best.get(bits, loss))
        return best

    @property
    def ratio(self) -> float:
        """Tokens per parameter in two digits, which is the same for sizes of one grid of a sweep."""
        return float(f"{self.tokens / self.parameters:.2g}")


def trained_at(records: Sequence[Record], share: float) -> list[Row]:
    """Rows of models whose last ``share`` of training was at low bits, small shapes first."""
    schedule = commonest_schedule(records)
    plain = [r for r in records if r.training.schedule == schedule and _is_plain(r, share)]
    runs = group(plain, lambda record: (record.parameters, record.training.tokens, record.shape))
    rows = []
    for (parameters, tokens, shape), same in sorted(runs.items(), key=lambda item: item[0][:2]):
        widths = group(same, lambda record: (record.training.weight_bits, record.training.method))
        seeds = common_seeds(widths.values())
        if seeds and len(widths) >= _LEAST_WIDTHS:
            losses = {
                width: statistics.mean(one.loss for one in found if one.training.seed in seeds)
                for width, found in widths.items()
            }
            rows.append(Row(shape, parameters, tokens, losses, len(seeds)))
    return rows


def _is_plain(record: Record, share: float) -> bool:
    training = record.training
    has_share = training.low_bit_tokens == 0 or abs(training.low_bit_share - share) < 0.02
    is_weights = training.activation_bits == training.kv_bits == 16
    return record.post is None and has_share and is_weights


def words(width: Width) -> str:
    """Say a width, with its method where that is not ParetoQ: "4", "8 by minmax"."""
    bits, method = width
    return f"{bits:g}" if method == "paretoq" else f"{bits:g} by {method}"


def section(records: Sequence[Record]) -> Section | None:
    """Answer with the loss that each width adds to full precision, by the tokens per parameter."""
    tables, answer, least, noise = [], [], [], Noise(records)
    for when, share in SHARES.items():
        found = [row for row in trained_at(records, share) if FULL in row.losses]
        if not found:
            continue
        widths = sorted({width for row in found for width in row.losses if width != FULL}, reverse=True)
        cells = [[f"low bits {when}", "tokens each", "full precision", *(words(width) for width in widths)]]
        for row in found:
            full = row.losses[FULL]
            added = [f"{row.losses[w] - full:+.3f}" if w in row.losses else "" for w in widths]
            cells.append([size(row.parameters), f"{row.ratio:g}", f"{full:.3f}", *added])
        tables.append(Table(cells))
        answer.append(f"With low bits {when}, {_pairs_words(found, noise)}")
        if eight := [row.best[8] - row.losses[FULL] for row in found if 8 in row.best]:
            least.append(f"{statistics.median(eight):+.3f} {when}")
    if least:
        answer.append(
            f"8 bits, which round least, cost in the median {', and '.join(least)}. What they cost the last "
            "tenth may be the cost of that stage itself, which warms up again at a rate of its own; it was "
            "not trained without rounding."
        )
    return Section("widths", "What does each width cost?", answer, tables) if tables else None


def _pairs_words(rows: Sequence[Row], noise: Noise) -> str:
    """Count the pairs of neighbouring widths in which the fewer bits were worse, better, and as good."""
    added: list[float] = []  # by fewer bits, as a multiple of what counts as none
    for row in rows:
        margin = noise.between(row.seeds, row.seeds)
        losses = [row.best[bits] for bits in sorted(row.best, reverse=True)]
        added += [(fewer - more) / max(margin, _NOTHING) for more, fewer in pairwise(losses)]
    worse, better = sum(one > 1 for one in added), sum(one < -1 for one in added)
    return (
        f"of {len(added)} pairs of neighbouring widths, the fewer bits were worse {noise.words} in {worse}, "
        f"better in {better}, and as good in {len(added) - worse - better}; full precision is the widest."
    )
