"""Losses by fits of this project's own laws to records of runs (python -m edge.scaling.fit)."""

from __future__ import annotations

from pathlib import Path

from edge.formats import FULL_PRECISION
from edge.model.config import ModelConfig
from edge.quantize.flags import BITS as POST_BITS
from edge.scaling.fit.fitted import Fitted, read_fits
from edge.scaling.laws import Inputs
from edge.scaling.laws.fraction import PARETOQ_SHARE, best_share
from edge.scaling.laws.ours import OURS
from edge.scaling.laws.post import EACH
from edge.scaling.plan.law import AFTERWARDS, FROM_SCRATCH, FULL, Case, Loss, TrainingPlan, range_words
from edge.scaling.records import Quantizer

#: Fits to the project's own runs.
OWN_FITS = Path(__file__).parents[1] / "results" / "fits.json"
#: How the plan's commands quantise after training.
_GPTQ = Quantizer(method="gptq", weight_bits=4).way
_LAST_TENTH = TrainingPlan("last 10 %", "arXiv 2502.02631, figure 2", PARETOQ_SHARE)


class OwnFit:
    """Low bits for a share of training, or all of it, at the widths of the records; or GPTQ afterwards.

    Args:
        fitted: law of the loss.
        damage: law of what GPTQ adds to that of full precision; None plans none.
    """

    name = OURS.name

    def __init__(self, path: Path, fitted: Fitted, damage: Fitted | None) -> None:
        self.fitted, self.damage = fitted, damage
        records = f"{fitted.records}{f' and {damage.records}' if damage else ''} records"
        self.source = f"this project's law{'s' if damage else ''}, fitted to {records} ({path.name})"
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
        after = [AFTERWARDS] if self.damage and bits in POST_BITS else []
        if f"C_{bits:g}" not in self.fitted.constants:
            return after
        parameters = Case(config, bits, tokens, FROM_SCRATCH).parameters
        shares = [_LAST_TENTH, FROM_SCRATCH]
        if tokens > parameters * bits / 8:  # S > 1, else the formula has no share
            share = float(best_share(tokens, parameters, bits))
            words = f"last {100 * share:.0f} %"
            shares.insert(1, TrainingPlan(words, "arXiv 2509.22935, f* = exp(-6.7297 / ln S)", share))
        return [plan for plan in shares if plan.low_bit_share > 0.005] + after

    def predict(self, case: Case) -> Loss:
        if case.training != AFTERWARDS:
            low_bits = case.tokens * case.training.low_bit_share
            return _loss(self.fitted, case, weight_bits=case.bits, low_bit_tokens=low_bits)
        assert self.damage is not None
        trained, added = _loss(self.fitted, case), _loss(self.damage, case, post_bits=case.bits)
        assert trained.interval is not None
        assert added.interval is not None
        low, high = (one + other for one, other in zip(trained.interval, added.interval, strict=True))
        outside = dict.fromkeys((*trained.outside, *added.outside))
        return Loss(trained.nats + added.nats, (low, high), tuple(outside))


def _loss(fitted: Fitted, case: Case, **inputs: float) -> Loss:
    point = Inputs.at(case.parameters, case.tokens, **inputs)
    low, high = fitted.intervals(point)
    read = tuple(words for words in fitted.row.beyond(point) if words.startswith(fitted.row.reads))
    return Loss(float(fitted.predict(point)[0]), (float(low[0]), float(high[0])), read)


def open_fit(path: Path | None) -> OwnFit:
    """Open a file of fits; None is the project's own.

    Raises:
        ValueError: it is missing, or has no fit of this law.
    """
    path = path or OWN_FITS
    fits = read_fits(path)
    damage = next((fitted for fitted in fits.of(EACH.name) if fitted.way == _GPTQ), None)
    return OwnFit(path, fits.law(OURS.name), damage)
