"""Measure how far losses differ between seeds, and with that which differences count."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from edge.scaling.analysis.groups import Mean, each, means, size, way
from edge.scaling.analysis.section import Section, Table
from edge.scaling.fit.data import LEAST_DAMAGE
from edge.scaling.records import Record

#: Standard deviations of a difference that it must exceed to count.
_COUNTS = 2.0


class Noise:
    """Standard deviations between seeds: of losses in nats, of damage as a share of it.

    Runs with several seeds are pooled. Where none of them was quantised in some way, losses after it have the
    noise of training. Damage differs a hundredfold between widths and trainings, and its deviation with it;
    so logarithms of damage are compared.

    Attributes:
        trained: of trained losses; None where no run has two seeds, and then every difference counts.
        damage: of the logarithm of damages that can be seen; None likewise.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        several = [mean for mean in means(records) if len(mean.losses) > 1]
        trained = [mean for mean in several if mean.record.post is None]
        self.trained = _pooled(mean.losses for mean in trained)
        ways: dict[str, list[Mean]] = {}
        for mean in several:
            if mean.record.post is not None:
                ways.setdefault(way(mean.record), []).append(mean)
        self._losses = {name: _pooled(mean.losses for mean in same) for name, same in ways.items()}
        seen = [mean.damages for mean in several if min(mean.damages) >= LEAST_DAMAGE]
        self.damage = _pooled([math.log(one) for one in damages] for damages in seen)

    @property
    def words(self) -> str:
        """Return what a difference was compared with, in words: "by more than noise"."""
        return "by more than noise" if self.trained is not None else "(its noise is not known)"

    def between(self, seeds: int, others: int) -> float:
        """Compute the difference of means of trained losses, over so many seeds, that counts as none."""
        return _margin(self.trained, seeds, others)

    def of_sum(self, parts: int) -> float:
        """Compute what counts as no difference between a cost and the sum of so many, all from single runs.

        The loss that all costs are measured from counts once for each part but one.
        """
        squares = 1 + parts + (parts - 1) ** 2
        return 0.0 if self.trained is None else _COUNTS * self.trained * math.sqrt(squares)

    def of_loss(self, one: Mean, other: Mean) -> float:
        """Compute the difference of two losses, in nats, below which they count as equal."""
        return _margin(self._deviation(self._losses, one), len(one.losses), len(other.losses))

    def of_damage(self, one: Mean, other: Mean) -> float:
        """Compute the difference of two damages' logarithms below which they count as equal."""
        return _margin(self.damage, len(one.losses), len(other.losses))

    def _deviation(self, ways: dict[str, float | None], mean: Mean) -> float | None:
        own = None if mean.record.post is None else ways.get(way(mean.record))
        return self.trained if own is None else own


def _margin(deviation: float | None, seeds: int, others: int) -> float:
    return 0.0 if deviation is None else _COUNTS * deviation * math.sqrt(1 / seeds + 1 / others)


def _pooled(groups: Iterable[Sequence[float]]) -> float | None:
    """The standard deviation within groups; None without a group of two."""
    kept = [values for values in groups if len(values) > 1]
    freedom = sum(len(values) - 1 for values in kept)
    squares = sum((len(values) - 1) * statistics.variance(values) for values in kept)
    return math.sqrt(squares / freedom) if freedom else None


def section(records: Sequence[Record]) -> Section | None:
    """Answer with a row for each trained model that has several seeds; None without such."""
    trained = means(record for record in records if record.post is None)
    found = [mean for mean in trained if len(mean.losses) > 1]
    if not found:
        return None
    found.sort(key=lambda mean: (mean.record.parameters, mean.record.training.tokens))
    rows = [["parameters", "tokens each", "bits", "low-bit share", "seeds", "loss", "deviation"]]
    for mean in found:
        training = mean.record.training
        rows.append(
            [
                size(mean.record.parameters), each(mean.ratio), f"{training.weight_bits:g}",
                f"{training.low_bit_share:.0%}", str(len(mean.losses)), f"{mean.loss:.4f}",
                f"{statistics.stdev(mean.losses):.4f}",
            ]
        )  # fmt: skip
    noise = Noise(records)
    worst = max(statistics.stdev(mean.losses) for mean in found)
    answer = (
        "Runs that differ only in their seed, which draws the weights and orders the text, have losses with "
        f"a standard deviation of {noise.trained:.4f} nats, all such runs pooled, and of "
        f"{worst:.4f} at most. Below, a difference counts if it is more than twice the standard deviation "
        "of a difference; quantised models have the deviation of their own way to quantise."
    )
    answers = [answer]
    if noise.damage is not None:
        answers.append(f"Damage of quantising afterwards varies by a factor of {math.exp(noise.damage):.2f}.")
    return Section("noise", "How large is the noise?", answers, [Table(rows)])
