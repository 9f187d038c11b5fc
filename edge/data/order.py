"""Which example is trained on when."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count, islice

import numpy as np
from torch.utils.data import Sampler

#: A quarter of a billion: 2 GiB of order, and at 2048 tokens each half a trillion tokens.
MOST_EXAMPLES = 1 << 28


class EpochAfterEpoch(Sampler[int]):
    """Indices of all the examples of a run: every example once, shuffled, before any comes again.

    Epochs follow each other without a seam, within a batch where it falls so. Each step therefore has a
    whole batch, and the same one however it is divided among processes and accumulated batches.

    Args:
        examples: to choose from.
        length: of the run, in examples.
        seed: of the order, any integer from 0 on.
        start: where in the order the run begins: behind those that another took before it.

    Raises:
        ValueError: there are more examples than an epoch's order, 8 bytes of each, is to take memory for.
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
