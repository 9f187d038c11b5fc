"""Choose a width for each layer: the least loss for a cost, where losses and costs of layers add up.

That losses add up is an assumption; the command measures the chosen mixture as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Costs are counted in this many parts of the dearest mixture, rounded up: a budget is never exceeded.
_PARTS = 4096


@dataclass(frozen=True)
class Mixture:
    """Hold a width for each layer, and the sums of the layers' losses and costs."""

    widths: tuple[int, ...]
    loss: float
    cost: float


def best_mixtures(
    losses: Sequence[Mapping[int, float]], costs: Sequence[Mapping[int, float]]
) -> list[Mixture]:
    """Find the mixtures that no other beats in both loss and cost, from the cheapest on.

    Args:
        losses: of each layer by width.
        costs: of each layer by width; the same widths.
    """
    part = sum(max(cost.values()) for cost in costs) / _PARTS
    best: dict[int, Mixture] = {0: Mixture((), 0.0, 0.0)}  # by parts of cost
    for loss_of, cost_of in zip(losses, costs, strict=True):
        longer: dict[int, Mixture] = {}
        for parts, mixture in best.items():
            for width, cost in cost_of.items():
                grown = Mixture((*mixture.widths, width), mixture.loss + loss_of[width], mixture.cost + cost)
                at = parts + math.ceil(cost / part - 1e-9)
                if at not in longer or grown.loss < longer[at].loss:
                    longer[at] = grown
        best = longer
    front: list[Mixture] = []
    for parts in sorted(best):
        if not front or best[parts].loss < front[-1].loss:
            front.append(best[parts])
    return front


def within(front: Sequence[Mixture], budget: float) -> Mixture:
    """Return the best mixture of at most this cost.

    Raises:
        ValueError: the cheapest costs more; names its cost.
    """
    affordable = [mixture for mixture in front if mixture.cost <= budget]
    if not affordable:
        raise ValueError(f"{min(mixture.cost for mixture in front):g}")
    return affordable[-1]
