"""Variants that an ablation compares; a new one is a row."""

from __future__ import annotations

from dataclasses import dataclass

from edge.quantizers.methods import FIXED_ALPHA, MIN_MAX, PARETOQ
from edge.training.ablation.results import CONTINUED


@dataclass(frozen=True)
class Variant:
    """A way to a low-bit model.

    Attributes:
        words: what it is, for the notes under the table.
        method: its name in ``edge.quantizers.methods``.
        is_trained: at low bits; else only rounded.
        from_nothing: the whole budget is quantisation-aware, on the schedule of full precision.
        of_continued: rounds the full-precision model that was trained further on the low-bit runs' budget.
    """

    name: str
    words: str
    method: str
    is_trained: bool = True
    from_nothing: bool = False
    of_continued: bool = False


VARIANTS = (
    Variant(
        "RTN", "rounded to nearest on ParetoQ's grid, alpha as training would start", PARETOQ.name, False
    ),
    Variant(
        "RTN min-max",
        "rounded to nearest, evenly from a row's least weight to its greatest",
        MIN_MAX.name,
        False,
    ),
    Variant(
        "RTN of trained on",
        "full precision trained on for as many steps, then rounded as RTN",
        PARETOQ.name,
        is_trained=False,
        of_continued=True,
    ),
    Variant("QAT", "ParetoQ: from full precision, alpha learned", PARETOQ.name),
    Variant("fixed alpha", "the same, alpha left where it starts", FIXED_ALPHA.name),
    Variant("min-max", "the same on plain min-max grids, straight-through gradient", MIN_MAX.name),
    Variant(
        "from scratch",
        "ParetoQ's grid and alpha for the whole budget, on full precision's schedule; distilled only where "
        "--teacher names a teacher",
        PARETOQ.name,
        from_nothing=True,
    ),
)
#: The second reference: full precision trained further as at 3 and 4 bits, without rounding.
TRAINED_ON = Variant(CONTINUED, "", PARETOQ.name)
