"""Find a law's constants: least Huber loss of the logarithms, from many starts, within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from edge.scaling.laws.law import Array, Inputs, Law

#: Where the Huber loss of log predicted - log measured turns from a square to a line.
HUBER = 1e-3
#: Residual where a formula gives no number, or a negative one.
_WORST = 10.0
#: Starts lie within this part of the bounds, so that none begins at a wall.
_INNER = 0.9


@dataclass(frozen=True)
class Found:
    """Constants in the order of the law's, in the space of the search, and the mean Huber loss there."""

    point: Array
    loss: float


class Search:
    """Search for the constants of a law.

    A constant whose bounds are positive is searched by its logarithm.

    Args:
        inputs, measured: of the records, [n].
    """

    def __init__(self, law: Law, inputs: Inputs, measured: Array) -> None:
        self.law, self.inputs, self.log = law, inputs, np.log(measured)
        self.is_log = np.array([constant.low > 0 for constant in law.constants])
        self.low = self.point([constant.low for constant in law.constants])
        self.high = self.point([constant.high for constant in law.constants])

    def constants(self, point: Array) -> dict[str, float]:
        """Compute the constants by name, of a point of the search."""
        values = np.where(self.is_log, np.exp(np.where(self.is_log, point, 0.0)), point)
        return {c.name: float(value) for c, value in zip(self.law.constants, values, strict=True)}

    def best(self, starts: int, seed: int) -> Found:
        """Descend from the best of many random points, ``starts`` of 20 times as many."""
        random = np.random.default_rng(seed)
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        points = middle + half * _INNER * random.uniform(-1, 1, (max(20 * starts, 200), len(middle)))
        rough = [self._loss(point, slice(None)) for point in points]
        found = [self.descend(points[i]) for i in np.argsort(rough)[:starts]]
        return min(found, key=lambda one: one.loss)

    def descend(self, start: Array, where: Array | slice = slice(None)) -> Found:
        """Go down from a start, on some of the records."""
        span = self.high - self.low
        start = np.clip(start, self.low + 1e-9 * span, self.high - 1e-9 * span)
        ended = least_squares(
            lambda point: self.residuals(point, where), start, bounds=(self.low, self.high), loss="huber",
            f_scale=HUBER, x_scale="jac", max_nfev=300,
        )  # fmt: skip
        return Found(ended.x, self._loss(ended.x, where))

    def residuals(self, point: Array, where: Array | slice = slice(None)) -> Array:
        """Compute log predicted - log measured of some of the records."""
        predicted = self.law.predict(self.constants(point), self.inputs[where])
        good = np.isfinite(predicted) & (predicted > 0)
        logs = np.log(np.where(good, predicted, 1.0))
        return np.where(good, logs - self.log[where], _WORST)

    def _loss(self, point: Array, where: Array | slice) -> float:
        size = np.abs(self.residuals(point, where))
        return float(np.where(size <= HUBER, size**2 / 2, HUBER * (size - HUBER / 2)).mean())

    def point(self, values: Sequence[float] | Array) -> Array:
        """Compute the point of the search of constants, in the order of the law's."""
        array = np.array(values, dtype=np.float64)
        return np.where(self.is_log, np.log(np.where(self.is_log, array, 1.0)), array)
