"""Count how often damage of quantising after training grows with the tokens, and by which power."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from edge.latency.report.words import count as count_of
from edge.scaling.analysis.charts import Dot, curves
from edge.scaling.analysis.groups import Mean, means, series, size, way
from edge.scaling.analysis.noise import Noise
from edge.scaling.analysis.section import Section, Table
from edge.scaling.fit.data import LEAST_DAMAGE
from edge.scaling.laws.post import POST
from edge.scaling.records import Record, commonest_schedule

#: Tokens of a step, as a multiple of those before it: closer ones differ by little but noise.
STEP = 1.5
#: Ways to quantise that the picture shows; the table has all.
_SHOWN = (
    "RTN per channel, 4 bits",
    "RTN per channel, 3 bits",
    "GPTQ per channel, 3 bits",
    "RTN per channel, 2 bits",
)
#: Tokens per parameter up to which steps are taken together; whole steps of training may end just beyond.
_UP_TO, _CLOSE = (5, 20, 80, 320, math.inf), 1.02
_MORE, _LESS, _SAME = "more damage", "less", "as much, within noise"


def quantized(records: Sequence[Record]) -> list[Mean]:
    """Average what was quantised after training with the commonest schedule."""
    schedule = commonest_schedule(records)
    return means(r for r in records if r.post is not None and r.training.schedule == schedule)


def _steps(line: Sequence[Mean]) -> list[tuple[Mean, Mean]]:
    """Pair means, each with ``STEP`` times the tokens of the one before, from the last back to the first."""
    kept = [line[-1]]
    for mean in reversed(line[:-1]):
        if STEP * mean.record.training.tokens <= kept[-1].record.training.tokens:
            kept.append(mean)
    return list(pairwise(reversed(kept)))


def _is_seen(step: tuple[Mean, Mean]) -> bool:
    return max(mean.damage for mean in step) >= LEAST_DAMAGE


def growth(less: Mean, more: Mean) -> float:
    """Compute the logarithm of how often more the damage is; what cannot be seen counts as just not seen."""
    return math.log(max(more.damage, LEAST_DAMAGE) / max(less.damage, LEAST_DAMAGE))


def _powers(steps: Sequence[tuple[Mean, Mean]]) -> dict[float, list[float]]:
    """Collect the exponents of D by which damage grew, by the tokens per parameter that steps end at."""
    found: dict[float, list[float]] = {}
    for less, more in steps:
        if min(less.damage, more.damage) >= LEAST_DAMAGE:
            end = next(end for end in _UP_TO if more.ratio <= end * _CLOSE)
            grown = math.log(more.record.training.tokens / less.record.training.tokens)
            found.setdefault(end, []).append(math.log(more.damage / less.damage) / grown)
    return dict(sorted(found.items()))


def _powers_table(powers: dict[float, list[float]]) -> Table:
    rows = [["tokens each", "steps", "exponent, median", "least", "greatest"]]
    for end, found in powers.items():
        figures = [f"{one:.2f}" for one in (statistics.median(found), min(found), max(found))]
        rows.append([_until(end), str(len(found)), *figures])
    return Table(rows)


def _powers_words(powers: dict[float, list[float]]) -> list[str]:
    if len(powers) < 2:
        return []
    first, last = min(powers), max(powers)
    published = POST.published["without bias"]["gamma_D"]
    return [
        f"From step to step damage grew as a power of the tokens. Its exponent was "
        f"{statistics.median(powers[first]):.2f} in the median of {count_of(len(powers[first]), 'step')} up "
        f"to {first:g} tokens for each parameter, and {statistics.median(powers[last]):.2f} in that of "
        f"{count_of(len(powers[last]), 'step')} {_until(last)}. 2411.04330 has {published:.2f} for all."
    ]


def _until(end: float) -> str:
    return "beyond" if math.isinf(end) else f"up to {end:g}"


def section(records: Sequence[Record]) -> Section | None:
    """Answer with the share of steps, from fewer tokens to more, in which damage grew."""
    found, noise = quantized(records), Noise(records)
    counts: dict[str, Counter[str]] = {}
    steps: list[tuple[Mean, Mean]] = []
    trained: set[tuple[int, int, int]] = set()
    for (name, parameters), line in series(found, lambda m: (way(m.record), m.record.parameters)).items():
        for less, more in filter(_is_seen, _steps(line)):
            steps.append((less, more))
            trained.add((parameters, less.record.training.tokens, more.record.training.tokens))
            grown, margin = growth(less, more), noise.of_damage(less, more)
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
        f"number of parameters and the same rounding, damage grew {noise.words}; in {total[_LESS]} it fell. "
        f"The steps are between {count_of(len(trained), 'pair')} of trained models, each rounded in several "
        f"ways; damage below {LEAST_DAMAGE:g} nats is not seen."
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
