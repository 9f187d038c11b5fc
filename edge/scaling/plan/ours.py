"""Losses by a fit of this project's own law to records of runs (python -m edge.scaling.fit)."""

from __future__ import annotations

from pathlib import Path

from edge.formats import FULL_PRECISION
from edge.model.config import ModelConfig
from edge.scaling.fit.fitted import Fitted, read_fits
from edge.scaling.laws import Inputs
from edge.scaling.laws.fraction import PARETOQ_SHARE, best_share
from edge.scaling.laws.ours import OURS
from edge.scaling.plan.law import FROM_SCRATCH, FULL, Case, Loss, TrainingPlan, range_words

#: Fits to the project's own runs.
OWN_FITS = Path(__file__).parents[1] / "results" / "fits.json"
_LAST_TENTH = TrainingPlan("last 10 %", "arXiv 2502.02631, figure 2", PARETOQ_SHARE)


class OwnFit:
    """A share of low bits at the end of training, or all of it, at the widths that records had."""

    name = OURS.name

    def __init__(self, path: Path, fitted: Fitted) -> None:
        self.fitted = fitted
        self.source = f"this project's law, fitted to {fitted.records} records ({path.name})"
        self.range = range_words({name: fitted.ranges[name] for name in OURS.reads})
        error = fitted.held_out.get("largest")
        errors = (
            f"Of the largest third, left out: {error.relative_error:.1%} off in the median." if error else ""
        )
        self.notes = tuple(filter(None, (
            f"Nats per token of {fitted.text}, with its tokenizer.",
            "In brackets: where nine of ten new runs would lie, if the law holds there.", errors,
        )))  # fmt: skip

    def plans(self, config: ModelConfig, bits: float, tokens: float) -> list[TrainingPlan]:
        if bits == FULL_PRECISION.bits:
            return [FULL]
        if f"C_{bits:g}" not in self.fitted.constants:
            return []
        parameters = Case(config, bits, tokens, FROM_SCRATCH).parameters
        shares = [_LAST_TENTH, FROM_SCRATCH]
        if tokens > parameters * bits / 8:  # S > 1, else the formula has no share
            share = float(best_share(tokens, parameters, bits))
            words = f"last {100 * share:.0f} %"
            shares.insert(1, TrainingPlan(words, "arXiv 2509.22935, f* = exp(-6.7297 / ln S)", share))
        return [plan for plan in shares if plan.low_bit_share > 0.005]

    def predict(self, case: Case) -> Loss:
        inputs = Inputs.at(
            case.parameters, case.tokens, weight_bits=case.bits,
            low_bit_tokens=case.tokens * case.training.low_bit_share,
        )  # fmt: skip
        low, high = self.fitted.intervals(inputs)
        beyond = self.fitted.row.beyond(inputs)
        read = [words for words in beyond if words.startswith(tuple(OURS.reads))]
        return Loss(float(self.fitted.predict(inputs)[0]), (float(low[0]), float(high[0])), tuple(read))


def open_fit(path: Path | None) -> OwnFit:
    """Open a file of fits; None is the project's own.

    Raises:
        ValueError: it is missing, or has no fit of this law.
    """
    path = path or OWN_FITS
    return OwnFit(path, read_fits(path).law(OURS.name))
