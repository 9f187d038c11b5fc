"""Measure candidates in turns, and derive what a reader wants to know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from edge.ops.triton.benchmark.candidates import BASELINE, Candidate
from edge.ops.triton.benchmark.clock import Clock


@dataclass(frozen=True)
class Result:
    """Times of one candidate at one shape and batch.

    Attributes:
        moved_bytes: weights, inputs and outputs.
        microseconds: one for each round; rounds of all candidates belong together.
    """

    name: str
    n: int
    k: int
    batch: int
    moved_bytes: int
    microseconds: list[float]

    @property
    def median(self) -> float:
        return float(np.median(self.microseconds))

    @property
    def spread(self) -> tuple[float, float]:
        """Percentiles 10 and 90 of the times."""
        low, high = np.percentile(self.microseconds, [10, 90])
        return float(low), float(high)

    def speedup(self, baseline: Result) -> tuple[float, float, float]:
        """Percentiles 10, 50 and 90 of the baseline's time over this one's, round by round."""
        ratios = np.array(baseline.microseconds) / np.array(self.microseconds)
        low, middle, high = np.percentile(ratios, [10, 50, 90])
        return float(low), float(middle), float(high)

    def bandwidth_share(self, copy_bandwidth: float) -> float:
        """Bytes per second over those of a copy."""
        return self.moved_bytes / (self.median * 1e-6) / copy_bandwidth


def measure(
    candidates: Sequence[Candidate], x: Tensor, clock: Clock, rounds: int
) -> tuple[list[Result], dict[str, str]]:
    """Verify candidates with the input x [m, k], then time them in turns; each round begins with another.

    Returns:
        results, and why candidates were left out.
    """
    replays: dict[str, tuple[Candidate, Callable[[], None]]] = {}
    left_out: dict[str, str] = {}
    for candidate in candidates:
        try:
            candidate.verify(x)
            replays[candidate.name] = candidate, _captured(candidate, x, clock)
        except Exception as error:
            if candidate.name.startswith(("ours", BASELINE)):
                raise
            left_out[candidate.name] = f"{type(error).__name__}: {error}".splitlines()[0]
    times: dict[str, list[float]] = {name: [] for name in replays}
    for turn in range(rounds):
        for name in _rotated(list(replays), turn):
            times[name].append(clock.microseconds(replays[name][1]))
    return [_result(candidate, x, times[name]) for name, (candidate, _) in replays.items()], left_out


def _captured(candidate: Candidate, x: Tensor, clock: Clock) -> Callable[[], None]:
    prepared = candidate.prepare(x)
    return clock.captured(lambda: candidate.run(*prepared))


def _rotated(names: list[str], turn: int) -> list[str]:
    first = turn % len(names)
    return names[first:] + names[:first]


def _result(candidate: Candidate, x: Tensor, times: list[float]) -> Result:
    prepared = candidate.prepare(x)
    out = candidate.run(*prepared)
    moved = candidate.weight_bytes + sum(tensor.nbytes for tensor in prepared) + out.nbytes
    return Result(candidate.name, out.shape[1], x.shape[1], x.shape[0], moved, times)
