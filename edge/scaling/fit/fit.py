"""Fit a law: constants, intervals by bootstrap, bounds that were hit, and errors on records left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edge.scaling.fit.data import Data, data_of
from edge.scaling.fit.fitted import ENDS, Fitted, HeldOut, Interval
from edge.scaling.fit.search import Search
from edge.scaling.laws import Law
from edge.scaling.laws.law import INPUTS, Array
from edge.scaling.records import Record

#: Quantiles of residuals that are kept.
_QUANTILES = np.linspace(0, 1, 21)
#: Closer to a bound than this share of the way between both counts as at it.
_AT_BOUND = 1e-4
#: Resamplings of errors for the interval of their median.
_MEDIANS = 200


def fit(
    law: Law,
    records: Sequence[Record],
    starts: int = 32,
    bootstrap: int = 200,
    way: str = "",
    seed: int = 0,
) -> Fitted:
    """Fit a law to the records that it speaks of.

    Args:
        starts: of the search.
        bootstrap: resamplings, which draw trained models with all that was made of each.
        way: to quantise after training, of those that ``ways_of`` lists.

    Raises:
        ValueError: see ``data_of``.
    """
    data = data_of(law, records, way)
    own = law.fitted(data.inputs)
    search = Search(own, data.inputs, data.measured)
    best = search.best(starts, seed)
    samples = _bootstrap(search, data, best.point, bootstrap, seed)
    low, high = np.quantile(np.array([list(one.values()) for one in samples]), ENDS, axis=0)
    values = search.constants(best.point)
    constants = {
        name: Interval(value=value, low=low[i], high=high[i])
        for i, (name, value) in enumerate(values.items())
    }
    names = (*INPUTS, "tokens_per_parameter")
    ranges = {
        name: (float(v.min()), float(v.max())) for name in names if (v := getattr(data.inputs, name)).size
    }
    return Fitted(
        law=law.name, way=way, text=records[0].text, records=len(data.measured), left_out=data.left_out,
        schedule=data.schedule,
        constants=constants, samples=[list(one.values()) for one in samples],
        at_bounds=_at_bounds(search, best.point, low, high),
        residuals=[float(q) for q in np.quantile(-search.residuals(best.point), _QUANTILES)],
        held_out=_held_out(own, data, starts, seed), ranges=ranges,
    )  # fmt: skip


def _bootstrap(search: Search, data: Data, start: Array, count: int, seed: int) -> list[dict[str, float]]:
    """Fit again to resampled models, from the best constants."""
    return [
        search.constants(search.descend(start, drawn).point)
        for drawn in _resampled(data.model, count, seed + 1)
    ]


def _resampled(model: Array, count: int, seed: int) -> Iterator[Array]:
    """Draw models with all of their records, as many as there are; yields places of the records."""
    random, models = np.random.default_rng(seed), np.unique(model)
    places = {one: np.flatnonzero(model == one) for one in models}
    for _ in range(count):
        yield np.concatenate([places[one] for one in random.choice(models, len(models))])


def _at_bounds(search: Search, best: Array, low: Array, high: Array) -> list[str]:
    """Say which constants, or ends of their intervals, are ends of the search."""
    ends = (search.point(low), search.point(high))
    span = search.high - search.low
    said = []
    for index, constant in enumerate(search.law.constants):
        for end, bound in ((constant.low, search.low[index]), (constant.high, search.high[index])):
            if abs(best[index] - bound) < _AT_BOUND * span[index]:
                said.append(
                    f"{constant.name} ended at the end of its search, {end:g}, which the records do not tell"
                )
            elif min(abs(one[index] - bound) for one in ends) < _AT_BOUND * span[index]:
                said.append(f"the interval of {constant.name} reaches the end of its search, {end:g}")
    return said


def _held_out(law: Law, data: Data, starts: int, seed: int) -> dict[str, HeldOut]:
    """Leave out the third that cost the most compute, the third with the most tokens, and a random third."""
    models = np.random.default_rng(seed + 2).permutation(int(data.model.max()) + 1)
    ranks = {
        "largest": data.inputs.parameters * data.inputs.tokens,
        "most tokens": data.inputs.tokens,
        "random": models[data.model].astype(np.float64),
    }
    found = {}
    for name, values in ranks.items():
        is_out = _last_third(values)
        kept, out = data[~is_out], data[is_out]
        if len(out.measured) < 2 or len(kept.measured) <= len(law.constants):
            continue
        search = Search(law, kept.inputs, kept.measured)
        best = search.best(starts, seed)
        found[name] = _errors(law.predict(search.constants(best.point), out.inputs), out, seed)
    return found


def _last_third(values: Array) -> NDArray[np.bool_]:
    """Choose the greatest values, about a third; equal ones stay together."""
    borders = np.unique(values)[:-1]
    if not len(borders):
        return np.zeros(len(values), dtype=bool)
    shares = np.array([(values > border).mean() for border in borders])
    return values > borders[np.abs(shares - 1 / 3).argmin()]


def _errors(predicted: Array, out: Data, seed: int) -> HeldOut:
    measured, good = out.measured, np.isfinite(predicted)
    relative = np.where(good, np.abs(predicted - measured) / measured, np.inf)
    medians = [np.median(relative[drawn]) for drawn in _resampled(out.model, _MEDIANS, seed + 3)]
    low, high = np.quantile(medians, ENDS)
    variance = float(np.square(measured - measured.mean()).sum())
    missed = float(np.square(np.where(good, predicted, measured.mean()) - measured).sum())
    return HeldOut(
        records=len(measured),
        relative_error=float(np.median(relative)),
        low=float(low),
        high=float(high),
        r2=1 - missed / variance if variance else 0.0,
    )
