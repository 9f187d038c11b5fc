"""Fit a law: constants, intervals by bootstrap, bounds that were hit, and errors on records left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

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
    ranges = {
        name: (float(v.min()), float(v.max())) for name in INPUTS if (v := getattr(data.inputs, name)).size
    }
    return Fitted(
        law=law.name, way=way, text=records[0].text, records=len(data.measured), left_out=data.left_out,
        schedule=data.schedule,
        constants=constants, samples=[list(one.values()) for one in samples],
        at_bounds=_at_bounds(search, best.point),
        residuals=[float(q) for q in np.quantile(-search.residuals(best.point), _QUANTILES)],
        held_out=_held_out(own, data, starts, seed), ranges=ranges,
    )  # fmt: skip


def _bootstrap(search: Search, data: Data, start: Array, count: int, seed: int) -> list[dict[str, float]]:
    """Fit again to resampled models, from the best constants."""
    random, models = np.random.default_rng(seed + 1), np.unique(data.model)
    places = {model: np.flatnonzero(data.model == model) for model in models}
    found = []
    for _ in range(count):
        drawn = np.concatenate([places[model] for model in random.choice(models, len(models))])
        found.append(search.constants(search.descend(start, drawn).point))
    return found


def _at_bounds(search: Search, point: Array) -> list[str]:
    said = []
    for constant, value, low, high in zip(search.law.constants, point, search.low, search.high, strict=True):
        near = _AT_BOUND * (high - low)
        if value < low + near or value > high - near:
            end = constant.low if value < low + near else constant.high
            said.append(f"{constant.name} ended at the end of its search, {end:g}: it is not determined")
    return said


def _held_out(law: Law, data: Data, starts: int, seed: int) -> dict[str, HeldOut]:
    """Leave out the third that cost the most compute, the third with the most tokens, and a random third."""
    order: dict[str, Callable[[], Array]] = {
        "largest": lambda: data.inputs.parameters * data.inputs.tokens,
        "most tokens": lambda: data.inputs.tokens,
        "random": lambda: np.random.default_rng(seed + 2).permutation(int(data.model.max()) + 1)[data.model],
    }
    found = {}
    for name, rank in order.items():
        values = rank()
        border = np.quantile(values, 2 / 3)
        is_out = values > border if (values > border).any() else values >= border
        kept, out = data[~is_out], data[is_out]
        if len(out.measured) < 2 or len(kept.measured) <= len(law.constants):
            continue
        search = Search(law, kept.inputs, kept.measured)
        best = search.best(starts, seed)
        predicted = law.predict(search.constants(best.point), out.inputs)
        found[name] = _errors(predicted, out.measured)
    return found


def _errors(predicted: Array, measured: Array) -> HeldOut:
    good = np.isfinite(predicted)
    relative = np.where(good, np.abs(predicted - measured) / measured, np.inf)
    variance = float(np.square(measured - measured.mean()).sum())
    missed = float(np.square(np.where(good, predicted, measured.mean()) - measured).sum())
    return HeldOut(
        records=len(measured),
        relative_error=float(np.median(relative)),
        r2=1 - missed / variance if variance else 0.0,
    )
