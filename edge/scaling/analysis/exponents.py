"""Compare the fitted exponents of damage, by tokens, parameters and bits, with the published ones."""

from __future__ import annotations

from edge.scaling.analysis.section import Section, Table
from edge.scaling.fit.fitted import FitFile, Fitted, Interval
from edge.scaling.laws import Law
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
    published = POST.published["without bias"]
    rows = [
        [law.name, "records", *(name.replace("_", " ") for name in _EXPONENTS), "error on the largest third"]
    ]
    rows += [_row(fitted) for fitted in found]
    rows.append(["published", "", *(f"{published[name]:.3f}" for name in _EXPONENTS), ""])
    grows = sum(fitted.constants["gamma_D"].low > 0 for fitted in found)
    falls = sum(fitted.constants["gamma_N"].low > 0 for fitted in found)
    faster = sum(_is_above(fitted.constants["gamma_D"], fitted.constants["gamma_N"]) for fitted in found)
    holds = [
        sum(fitted.constants[name].low <= published[name] <= fitted.constants[name].high for fitted in found)
        for name in _EXPONENTS
    ]
    answer = (
        f"{law.name} ({law.title}): of {len(found)} ways to quantise, damage grows with the tokens in "
        f"{grows} and falls with the parameters in {falls}, by intervals that exclude 0; in {faster} it "
        f"grows faster with the tokens than it falls with the parameters. The published exponents lie in the "
        f"intervals of {holds[0]} (tokens), {holds[1]} (parameters) and {holds[2]} (bits)."
    )
    return answer, Table(rows)


def _row(fitted: Fitted) -> list[str]:
    held = fitted.held_out.get("largest")
    cells = [_words(fitted.constants[name]) for name in _EXPONENTS]
    return [fitted.way, str(fitted.records), *cells, f"{held.relative_error:.0%}" if held else ""]


def _words(constant: Interval) -> str:
    return f"{constant.value:.3f} ({constant.low:.3f} to {constant.high:.3f})"


def _is_above(one: Interval, other: Interval) -> bool:
    return one.low > other.high
