"""What is compared: a new way to a low-bit model is one row."""

from __future__ import annotations

from dataclasses import dataclass

from edge.model.decoder import Decoder
from edge.quantizers.plan import Plan
from edge.quantizers.prepare import prepare_qat, qat_linears
from edge.training.ablation.minmax import keep_rounded, prepare_min_max
from edge.training.ablation.results import CONTINUED
from edge.training.method import PARETOQ, Method


def _prepare_fixed(model: Decoder, plan: Plan) -> Decoder:
    for linear in qat_linears(prepare_qat(model, plan)).values():
        linear.weight_clip_val.requires_grad_(False)
    return model


FIXED_ALPHA = Method(_prepare_fixed)
MIN_MAX = Method(prepare_min_max, keep_rounded)


@dataclass(frozen=True)
class Variant:
    """A way to a low-bit model.

    Attributes:
        words: what it is, for the notes under the table.
        is_trained: at low bits; otherwise rounded only.
        from_nothing: the whole budget is quantisation-aware, on the schedule of full precision.
        of_continued: what is rounded is full precision trained on for the low-bit runs' share.
    """

    name: str
    words: str
    method: Method
    is_trained: bool = True
    from_nothing: bool = False
    of_continued: bool = False


VARIANTS = (
    Variant("RTN", "rounded to nearest on ParetoQ's grid, alpha as training would start", PARETOQ, False),
    Variant(
        "RTN min-max", "rounded to nearest, evenly from a row's least weight to its greatest", MIN_MAX, False
    ),
    Variant(
        "RTN of trained on",
        "full precision trained on for as many steps, then rounded as RTN",
        PARETOQ,
        is_trained=False,
        of_continued=True,
    ),
    Variant("QAT", "ParetoQ: from full precision, alpha learned", PARETOQ),
    Variant("fixed alpha", "the same, alpha left where it starts", FIXED_ALPHA),
    Variant("min-max", "the same on plain min-max grids, straight-through gradient", MIN_MAX),
    Variant(
        "from scratch",
        "ParetoQ's grid and alpha for the whole budget, on full precision's schedule; distilled only where "
        "--teacher names a teacher",
        PARETOQ,
        from_nothing=True,
    ),
)
#: The reference beside full precision as it was: the same training as at 3 and 4 bits, without rounding.
TRAINED_ON = Variant(CONTINUED, "", PARETOQ)
