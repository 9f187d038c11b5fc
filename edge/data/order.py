"""Order of training examples."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count, islice

import numpy as np
from torch.utils.data import Sampler

#: The order of so many takes 2 GiB; at 2048 tokens each they are half a trillion tokens.
MOST_EXAMPLES = 1 << 28


class EpochAfterEpoch(Sampler[int]):
    """Indices of a run's examples: each once, shuffled, before any comes again.

    A batch may span two epochs, so every step has a whole batch, and the same one however it is divided among
    ranks and accumulated batches.

    Args:
        examples: number of examples in an epoch.
        length: number of examples in the run.
        seed: of the order, at least 0.
        start: examples of the order to skip because an earlier run took them.

    Raises:
        ValueError: an epoch has more than MOST_EXAMPLES.
    """

    def __init__(self, examples: int, length: int, seed: int, start: int = 0) -> None:
        if examples > MOST_EXAMPLES:
            raise ValueError(
                f"the text gives {examples:,} examples, more than the {MOST_EXAMPLES:,} that can be "
                "shuffled: ask --data for fewer tokens (it is read again in a longer run), or give a "
                "longer --context"
            )
        self.examples, self.length, self.seed, self.start = examples, length, seed, start

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        first, within = divmod(self.start, self.examples)
        epochs = (self._epoch(epoch)[within if epoch == first else 0 :] for epoch in count(first))
        return islice(map(int, chain.from_iterable(epochs)), self.length)

    def _epoch(self, number: int) -> np.ndarray:
        return np.random.default_rng([self.seed, number]).permutation(self.examples)
