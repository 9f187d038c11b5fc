"""Compare damage after other schedules of the learning rate (arXiv 2510.06213)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from edge.scaling.analysis.damage import growth
from edge.scaling.analysis.groups import Mean, each, means, size, way
from edge.scaling.analysis.noise import Noise
from edge.scaling.analysis.section import Section, Table
from edge.scaling.records import Record

_COSINE = "cosine"
SCHEDULES = (_COSINE, "linear", "constant_with_warmup")
#: Damage in nats that a pair needs.
_LEAST = 0.01
#: Ways to quantise that the table shows; the answer counts all.
_SHOWN = (
    "RTN per channel, 4 bits",
    "RTN per channel, 3 bits",
    "RTN per channel, 2 bits",
    "GPTQ per channel, 2 bits",
)


def section(records: Sequence[Record]) -> Section | None:
    """Answer for models that differ only in their schedule; None without such."""
    found: dict[tuple[int, int, str], dict[str, Mean]] = {}
    for mean in means(record for record in records if record.post is not None):
        key = (mean.record.parameters, mean.record.training.tokens, way(mean.record))
        found.setdefault(key, {})[mean.record.training.schedule] = mean
    whole = {key: by for key, by in found.items() if set(SCHEDULES) <= by.keys()}
    # The ratio of two damages that are hardly seen says nothing.
    seen = [by for by in whole.values() if by[_COSINE].damage > _LEAST]
    if not seen:
        return None
    rows = [["parameters", "tokens each", "", *(name.replace("_", " ") for name in SCHEDULES)]]
    for (parameters, tokens, name), by in sorted(whole.items()):
        if name in _SHOWN:
            cells = [f"{by[schedule].damage:.4f} ({by[schedule].loss:.3f})" for schedule in SCHEDULES]
            rows.append([size(parameters), each(tokens / parameters), name, *cells])
    noise = Noise(records)
    answer = [_words(schedule, seen, noise) for schedule in SCHEDULES if schedule != _COSINE]
    answer.append(
        f"Counted are pairs of the same parameters, tokens and rounding where the cosine's damage is above "
        f"{_LEAST:g} nats. The table has damage, and in brackets the loss with it."
    )
    return Section("schedules", "Does damage follow the learning rate's schedule?", answer, [Table(rows)])


def _words(schedule: str, seen: Sequence[dict[str, Mean]], noise: Noise) -> str:
    """Compare a schedule with the cosine: damage, and losses before and after quantising."""
    pairs = [(by[schedule], by[_COSINE]) for by in seen]
    ratio = statistics.median(one.damage / cosine.damage for one, cosine in pairs)
    lower = sum(growth(one, cosine) > noise.of_damage(one, cosine) for one, cosine in pairs)
    before = statistics.median(one.trained_loss - cosine.trained_loss for one, cosine in pairs)
    better = sum(one.loss < cosine.loss - noise.of_loss(one, cosine) for one, cosine in pairs)
    return (
        f"{schedule.replace('_', ' ').capitalize()}: damage was {ratio:.2f} times that of a cosine in the "
        f"median, and less {noise.words} in {lower} of {len(pairs)} pairs. Before quantising its losses were "
        f"{before:+.3f} nats off the cosine's in the median; after it they were lower {noise.words} in "
        f"{better}."
    )
