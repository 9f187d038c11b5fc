"""Fit a time, or bytes, as a sum of amounts times costs that are not negative."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.optimize import nnls

#: Names of programs that are left out together.
Part = frozenset[str]
#: Amounts by what they are of, such as bytes of linears at 2 bits.
Amounts = Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """One figure of a program.

    Attributes:
        value: the part of the figure that is fitted.
        whole: the figure itself; errors are shares of it.
    """

    program: str
    amounts: Amounts
    value: float
    whole: float


class Predictor(Protocol):
    """Predicts a value from amounts."""

    def predict(self, amounts: Amounts) -> float | None: ...


@dataclass(frozen=True)
class Costs:
    """Costs by what they are of."""

    of: dict[str, float]

    def predict(self, amounts: Amounts) -> float | None:
        """Sum up; None where something was never measured."""
        if not amounts.keys() <= self.of.keys():
            return None
        return sum(self.of[name] * amount for name, amount in amounts.items())


def fit_costs(rows: Sequence[Row]) -> Costs:
    """Find the costs whose sums have the least squares of relative errors (non-negative least squares)."""
    if not rows:
        return Costs({})  # which tells nothing
    names = list(dict.fromkeys(name for row in rows for name in row.amounts))
    wholes = np.array([row.whole for row in rows])
    table = np.array([[row.amounts.get(name, 0.0) for name in names] for row in rows]) / wholes[:, None]
    scale = np.maximum(np.abs(table).max(axis=0), np.finfo(float).tiny)
    costs, _ = nnls(table / scale, np.array([row.value for row in rows]) / wholes)
    return Costs(dict(zip(names, (costs / scale).tolist(), strict=True)))


def misfit(predictor: Predictor, rows: Sequence[Row]) -> float:
    """Mean square of the relative errors."""
    return float(np.mean([_relative_error(predictor, row) ** 2 for row in rows]))


def _relative_error(predictor: Predictor, row: Row) -> float:
    predicted = predictor.predict(row.amounts)
    assert predicted is not None
    return (predicted - row.value) / row.whole


@dataclass(frozen=True)
class LeftOut:
    """Errors of figures whose program was left out of the fit, as shares of the figure.

    Attributes:
        usual: the median; nine of ten are within ``wide``.
    """

    usual: float
    wide: float
    largest: float
    figures: int


def leave_out(
    rows: Sequence[Row],
    parts: Sequence[Part],
    fit: Callable[[Sequence[Row]], Predictor],
    judged: Sequence[Row] | None = None,
) -> LeftOut | None:
    """Predict each part of the programs from the others; None where the others never tell enough.

    Args:
        judged: rows whose errors count; None is all.
    """
    errors: list[float] = []
    for part in parts:
        left_out = [row for row in (rows if judged is None else judged) if row.program in part]
        predictor = fit([row for row in rows if row.program not in part])
        if left_out and all(predictor.predict(row.amounts) is not None for row in left_out):
            errors += [abs(_relative_error(predictor, row)) for row in left_out]
    if not errors:
        return None
    usual, wide = np.quantile(errors, (0.5, 0.9))
    return LeftOut(float(usual), float(wide), max(errors), len(errors))
