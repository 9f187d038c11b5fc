"""Compare the fitted exponents of damage, by tokens, parameters and bits, with the published ones."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from edge.scaling.analysis.section import Section, Table
from edge.scaling.fit.fitted import ENDS, FitFile, Fitted, Interval
from edge.scaling.laws import Law
from edge.scaling.laws.law import Constants
from edge.scaling.laws.post import ONSET, POST

_EXPONENTS = ("gamma_D", "gamma_N", "gamma_post")


def section(fits: FitFile) -> Section | None:
    """Answer with the fitted exponents of every way to quantise; None without such fits."""
    parts = [_part(law, found) for law in (POST, ONSET) if (found := fits.of(law.name))]
    if not parts:
        return None
    answers, tables = zip(*parts, strict=True)
    return Section("exponents", "With which exponents does damage grow?", answers, tables)


def _part(law: Law, found: list[Fitted]) -> tuple[str, Table]:
    names = [constant.name for constant in law.constants if constant.name in (*_EXPONENTS, "D_0")]
    rows = [[law.name, "records", *(name.replace("_", " ") for name in names), "error on the largest third"]]
    rows += [_row(fitted, names) for fitted in found]
    answer = f"{law.name} ({law.title}): of {len(found)} ways to quantise, {_signs(found)}"
    if published := law.published.get("without bias"):
        rows.append(["published", "", *(f"{published[name]:.3f}" for name in names), ""])
        answer += f" {_held(found, published)}"
    return answer, Table(rows)


def _signs(found: Sequence[Fitted]) -> str:
    grows = sum(fitted.constants["gamma_D"].low > 0 for fitted in found)
    falls = sum(fitted.constants["gamma_N"].low > 0 for fitted in found)
    faster = sum(_share_of_faster(fitted) >= ENDS[1] for fitted in found)
    slower = sum(_share_of_faster(fitted) <= ENDS[0] for fitted in found)
    return (
        f"damage grows with the tokens in {grows} and falls with the parameters in {falls}, by intervals "
        f"that exclude 0; gamma D is above gamma N in {faster}, below in {slower} (19 of 20 resampled fits)."
    )


def _share_of_faster(fitted: Fitted) -> float:
    """Compute the share of resampled fits in which damage grows faster with tokens than it falls with N."""
    names = list(fitted.constants)
    tokens, parameters = names.index("gamma_D"), names.index("gamma_N")
    return statistics.mean(one[tokens] > one[parameters] for one in fitted.samples)


def _held(found: Sequence[Fitted], published: Constants) -> str:
    holds = [
        sum(fitted.constants[name].low <= published[name] <= fitted.constants[name].high for fitted in found)
        for name in _EXPONENTS
    ]
    return (
        f"The published exponents lie in the intervals of {holds[0]} (tokens), {holds[1]} (parameters) and "
        f"{holds[2]} (bits)."
    )


def _row(fitted: Fitted, names: Sequence[str]) -> list[str]:
    held = fitted.held_out.get("largest")
    cells = [_words(fitted.constants[name]) for name in names]
    return [fitted.way, str(fitted.records), *cells, f"{held.relative_error:.0%}" if held else ""]


def _words(constant: Interval) -> str:
    digits = ".3f" if constant.value < 1e3 else ".3g"
    return f"{constant.value:{digits}} ({constant.low:{digits}} to {constant.high:{digits}})"
