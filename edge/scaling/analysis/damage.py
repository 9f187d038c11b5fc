"""Count how often damage of quantising after training grows with the tokens, and by which power."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from edge.scaling.analysis.charts import Dot, curves
from edge.scaling.analysis.groups import Mean, means, series, size, way
from edge.scaling.analysis.noise import Noise
from edge.scaling.analysis.section import Section, Table
from edge.scaling.fit.data import LEAST_DAMAGE
from edge.scaling.laws.post import POST
from edge.scaling.records import Record

#: Tokens of a step, as a multiple of those before it: closer ones differ by little but noise.
STEP = 1.5
#: Ways to quantise that the picture shows; the table has all.
_SHOWN = (
    "RTN per channel, 4 bits",
    "RTN per channel, 3 bits",
    "GPTQ per channel, 3 bits",
    "RTN per channel, 2 bits",
)
#: Tokens per parameter up to which steps are taken together, as whole parts of them may not divide.
_UP_TO, _CLOSE = (5, 20, 80, 320, math.inf), 1.02
_MORE, _LESS, _SAME = "more damage", "less", "as much, within noise"


def quantized(records: Sequence[Record]) -> list[Mean]:
    """Means of what was quantised after a training whose rate fell as a cosine."""
    return means(r for r in records if r.post is not None and r.training.schedule == "cosine")


def _steps(line: Sequence[Mean]) -> list[tuple[Mean, Mean]]:
    """Pairs of means, each with ``STEP`` times the tokens of the one before."""
    kept = [line[0]]
    for mean in line[1:]:
        if mean.record.training.tokens >= STEP * kept[-1].record.training.tokens:
            kept.append(mean)
    return list(pairwise(kept))


def _powers(steps: Sequence[tuple[Mean, Mean]]) -> dict[float, list[float]]:
    """Exponents of D by which damage grew in steps that end at most at so many tokens per parameter."""
    found: dict[float, list[float]] = {}
    for less, more in steps:
        if min(less.damage, more.damage) >= LEAST_DAMAGE:
            end = next(end for end in _UP_TO if more.ratio <= end * _CLOSE)
            grown = math.log(more.record.training.tokens / less.record.training.tokens)
            found.setdefault(end, []).append(math.log(more.damage / less.damage) / grown)
    return dict(sorted(found.items()))


def _powers_table(powers: dict[float, list[float]]) -> Table:
    rows = [["tokens each, up to", "steps", "exponent, median", "least", "greatest"]]
    for end, found in powers.items():
        figures = [f"{one:.2f}" for one in (statistics.median(found), min(found), max(found))]
        rows.append(["more" if math.isinf(end) else f"{end:g}", str(len(found)), *figures])
    return Table(rows)


def _powers_words(powers: dict[float, list[float]]) -> list[str]:
    if len(powers) < 2:
        return []
    first, last = (statistics.median(powers[end]) for end in (min(powers), max(powers)))
    published = POST.published["without bias"]["gamma_D"]
    return [
        f"From step to step damage grew as a power of the tokens, whose exponent was {first:.2f} in the "
        f"median of the shortest trainings and {last:.2f} in that of the longest; the law has one for all, "
        f"{published:.2f} as published."
    ]


def section(records: Sequence[Record]) -> Section | None:
    """Answer with the share of steps, from fewer tokens to more, in which damage grew."""
    found, noise = quantized(records), Noise(records)
    counts: dict[str, Counter[str]] = {}
    steps: list[tuple[Mean, Mean]] = []
    for (name, _), line in series(found, lambda m: (way(m.record), m.record.parameters)).items():
        steps += _steps(line)
        for less, more in _steps(line):
            grown, margin = more.damage - less.damage, noise.of_damage(less, more)
            word = _SAME if abs(grown) <= margin else _MORE if grown > 0 else _LESS
            counts.setdefault(name, Counter())[word] += 1
    if not counts:
        return None
    total = sum(counts.values(), Counter())
    rows = [["", "steps", _MORE, _LESS, _SAME]]
    for name, count in [*counts.items(), ("all", total)]:
        rows.append([name, str(count.total()), *(str(count[word]) for word in (_MORE, _LESS, _SAME))])
    answer = (
        f"In {total[_MORE]} of {total.total()} steps to {STEP:g} times the tokens or more, at the same "
        f"number of parameters and the same rounding, damage grew {noise.words}; in {total[_LESS]} it fell."
    )
    dots = [
        Dot(mean.ratio, mean.damage, size(mean.record.parameters), way(mean.record))
        for mean in sorted(found, key=lambda m: (m.record.parameters, m.record.training.tokens))
        if way(mean.record) in _SHOWN and mean.damage > 0
    ]
    axes = ("tokens per parameter", "nats added")
    pictures = curves("Damage of quantising after training", answer, axes, dots, log_y=True)
    powers = _powers(steps)
    return Section(
        "damage", "Does damage grow with the tokens?", [answer, *_powers_words(powers)],
        [Table(rows), *([_powers_table(powers)] if powers else [])], pictures,
    )  # fmt: skip
