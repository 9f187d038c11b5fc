"""Which example is trained on when."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count, islice

import numpy as np
from torch.utils.data import Sampler


class EpochAfterEpoch(Sampler[int]):
    """Indices of all the examples of a run: every example once, shuffled, before any comes again.

    Epochs follow each other without a seam, within a batch where it falls so. Each step therefore has a
    whole batch, and the same one however it is divided among processes and accumulated batches.

    Args:
        examples: to choose from.
        length: of the run, in examples.
        seed: of the order, any integer from 0 on.
    """

    def __init__(self, examples: int, length: int, seed: int) -> None:
        self.examples, self.length, self.seed = examples, length, seed

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        epochs = (np.random.default_rng([self.seed, epoch]).permutation(self.examples) for epoch in count())
        return islice(chain.from_iterable(map(np.ndarray.tolist, epochs)), self.length)
