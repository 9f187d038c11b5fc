"""Compare laws by their errors on runs that they were not fitted to."""

from __future__ import annotations

from collections.abc import Sequence

from edge.scaling.analysis.section import Section, Table
from edge.scaling.fit.fitted import FitFile, Fitted
from edge.scaling.laws import LAWS

_HELD_OUT = ("largest", "most tokens", "random")


def section(fits: FitFile) -> Section | None:
    """Answer with the laws, the least error first, of each set of records that two were fitted to."""
    sets: dict[str, list[Fitted]] = {}
    for fitted in fits.fits:
        if set(_HELD_OUT) <= fitted.held_out.keys():
            sets.setdefault(_records(fitted), []).append(fitted)
    compared = [sorted(same, key=_largest) for same in sets.values() if len(same) > 1]
    if not compared:
        return None
    answer = [
        "Each law was fitted without the third of the runs that cost the most, and then predicted them; the "
        "same for the most tokens and a random third: the median error, in brackets where 9 of 10 medians of "
        "resampled runs lie. Laws compare where they were fitted to the same runs."
    ]
    for same in compared:
        first, *others = same
        way = f" ({first.way})" if first.way else ""
        close = [one.law for one in others if _largest(one) <= first.held_out["largest"].high]
        answer.append(
            f"Of the {len(same)} laws of the same {first.records} runs{way}, {first.law} "
            f"({LAWS[first.law].title}) has the least error on the third that cost the most; "
            f"within its interval: {', '.join(close) or 'no other'}. {others[-1].law} has the "
            "greatest."
        )
    found = [fitted for same in compared for fitted in same]
    answer += [f"{fitted.name}: {sentence}." for fitted in found for sentence in fitted.at_bounds]
    return Section("held-out", "Which law predicts best?", answer, [_table(same) for same in compared])


def _records(fitted: Fitted) -> str:
    """Tell the records of a fit apart: how they were rounded, their number, the ranges of all inputs."""
    return f"{fitted.way} {fitted.records} {sorted(fitted.ranges.items())}"


def _largest(fitted: Fitted) -> float:
    return fitted.held_out["largest"].relative_error


def _table(same: Sequence[Fitted]) -> Table:
    rows = [["law", "records", "constants", *(f"left out: {name}" for name in _HELD_OUT)]]
    for fitted in same:
        held = [fitted.held_out[name] for name in _HELD_OUT]
        errors = [
            f"{one.relative_error:.2%} ({one.low:.2%} to {one.high:.2%}), R2 {one.r2:.2f}" for one in held
        ]
        title = f"{fitted.name}: {LAWS[fitted.law].title}"
        rows.append([title, str(fitted.records), str(len(fitted.constants)), *errors])
    return Table(rows)
