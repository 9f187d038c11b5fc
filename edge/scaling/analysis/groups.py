"""Group records, and average those that differ only in their seed."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from edge.scaling.records import Record, run_key

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Mean:
    """Records that differ only in their seed.

    Attributes:
        record: the first of them.
        loss, damage: means; damage is 0 where nothing was quantised afterwards.
        losses, damages: of each seed.
    """

    record: Record
    loss: float
    damage: float
    losses: tuple[float, ...]
    damages: tuple[float, ...]

    @property
    def trained_loss(self) -> float:
        """Loss before quantising, in nats."""
        return self.loss - self.damage

    @property
    def ratio(self) -> float:
        """Tokens per parameter."""
        return self.record.training.tokens / self.record.parameters


def means(records: Iterable[Record]) -> list[Mean]:
    """Average over seeds."""
    return [_mean(same) for same in group(records, _without_seed).values()]


def _mean(same: Sequence[Record]) -> Mean:
    losses = tuple(one.loss for one in same)
    damages = tuple(one.damage if one.post else 0.0 for one in same)
    return Mean(same[0], statistics.mean(losses), statistics.mean(damages), losses, damages)


def group(items: Iterable[Record], key: Callable[[Record], Key]) -> dict[Key, list[Record]]:
    """Collect records by a key, in the order in which keys come."""
    found: dict[Key, list[Record]] = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return dict(found)


def series(items: Sequence[Mean], key: Callable[[Mean], Key]) -> dict[Key, list[Mean]]:
    """Collect means by a key, each list by rising tokens, and keys in their order."""
    found: dict[Key, list[Mean]] = defaultdict(list)
    for item in sorted(items, key=lambda item: item.record.training.tokens):
        found[key(item)].append(item)
    return dict(sorted(found.items()))


def _without_seed(record: Record) -> str:
    training = record.training.model_copy(update={"seed": 0})
    return run_key(record.text, record.shape, training, record.post)


def common_seeds(lines: Iterable[Iterable[Record]]) -> set[int]:
    """Find the seeds that every one of several sets of runs has: means over others would compare luck."""
    return set.intersection(*({record.training.seed for record in line} for line in lines))


def way(record: Record) -> str:
    """Say how a model was quantised after training, as "RTN per channel, 3 bits"."""
    assert record.post is not None
    return f"{record.post.way}, {record.post.weight_bits:g} bits"


def each(ratio: float) -> str:
    """Format tokens per parameter in three digits: 4.5, 320, 1000."""
    return f"{float(f'{ratio:.3g}'):g}"


def size(parameters: int) -> str:
    """Say a number of parameters in three digits, as "55.5 K" or "1.55 M"."""
    return f"{parameters / 1e6:.3g} M" if parameters >= 1e6 else f"{parameters / 1e3:.3g} K"
