"""Compare laws by their errors on runs that they were not fitted to."""

from __future__ import annotations

from collections.abc import Sequence

from edge.scaling.analysis.section import Section, Table
from edge.scaling.fit.fitted import FitFile
from edge.scaling.laws import LAWS
from edge.scaling.laws.law import LOSS
from edge.scaling.records import Record

_HELD_OUT = ("largest", "most tokens", "random")


def section(records: Sequence[Record], fits: FitFile) -> Section | None:
    """Answer with the laws of loss, the least error first, and how many records each was fitted to."""
    found = [
        fit for fit in fits.fits if LAWS[fit.law].target == LOSS and set(_HELD_OUT) <= fit.held_out.keys()
    ]
    if len(found) < 2:
        return None
    found.sort(key=lambda fitted: fitted.held_out["largest"].relative_error)
    rows = [["law", "records", "constants", *(f"left out: {name}" for name in _HELD_OUT)]]
    for fitted in found:
        held = [fitted.held_out[name] for name in _HELD_OUT]
        errors = [f"{one.relative_error:.2%}, R2 {one.r2:.2f}" for one in held]
        title = f"{fitted.law}: {LAWS[fitted.law].title}"
        rows.append([title, str(fitted.records), str(len(fitted.constants)), *errors])
    low = [fitted for fitted in found if fitted.law != "full"]
    answer = (
        "Each law was fitted without the third of the runs that cost the most, and then predicted them; the "
        f"same for the most tokens and a random third. {low[0].law} ({LAWS[low[0].law].title}) has the least "
        f"error on the third that cost the most, {low[-1].law} the greatest."
    )
    warnings = [f"{fitted.law}: {sentence}." for fitted in found for sentence in fitted.at_bounds]
    return Section("factors", "Which law predicts best?", [answer, *warnings], [Table(rows)])
