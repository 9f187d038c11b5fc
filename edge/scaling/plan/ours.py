"""Losses by fits of this project's own laws to records of runs (python -m edge.scaling.fit)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge.formats import FULL_PRECISION
from edge.model.config import ModelConfig
from edge.quantize.flags import BITS as POST_BITS
from edge.scaling.fit.fitted import ENDS, Fitted, read_fits
from edge.scaling.laws import Inputs
from edge.scaling.laws.fraction import PARETOQ_SHARE, best_share
from edge.scaling.laws.ours import OURS
from edge.scaling.laws.post import PER_PARAMETER
from edge.scaling.plan.law import AFTERWARDS, FROM_SCRATCH, FULL, Case, Loss, TrainingPlan, range_words
from edge.scaling.records import Quantizer

#: Fits to the project's own runs.
OWN_FITS = Path(__file__).parents[1] / "results" / "fits.json"
#: How the plan's commands quantise after training.
_GPTQ = Quantizer(method="gptq", weight_bits=4).way
#: Sums of a loss and a damage that an interval is taken from.
_DRAWS = 4000
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
        notes = [
            f"Nats per token of {fitted.text}, with its tokenizer.",
            "In brackets: nine of ten fits to resampled runs, with the runs' scatter; beyond them a guess.",
        ]
        if error := fitted.held_out.get("largest"):
            off = f"{error.relative_error:.1%}"
            notes.append(f"The third of the runs that cost the most, left out, was {off} off in the median.")
        if damage is None:
            notes.append(f"Without a fit of {PER_PARAMETER.name}, {_GPTQ}, nothing is quantised afterwards.")
        self.notes = tuple(notes)

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
            point = Inputs.at(case.parameters, case.tokens, weight_bits=case.bits, low_bit_tokens=low_bits)
            return _loss(self.fitted, point)
        assert self.damage is not None
        trained, added = Inputs.at(case.parameters, case.tokens), _quantized(case)
        nats = self.fitted.predict(trained)[0] + self.damage.predict(added)[0]
        draws = self.fitted.draws(trained)[:, 0], self.damage.draws(added)[:, 0]
        random = np.random.default_rng(0)  # the fits were resampled independently
        low, high = np.nanquantile(sum(random.choice(each, _DRAWS) for each in draws), ENDS)
        outside = dict.fromkeys((*_beyond(self.fitted, trained), *_beyond(self.damage, added)))
        return Loss(float(nats), (float(low), float(high)), tuple(outside))


def _loss(fitted: Fitted, point: Inputs) -> Loss:
    low, high = fitted.intervals(point)
    return Loss(float(fitted.predict(point)[0]), (float(low[0]), float(high[0])), _beyond(fitted, point))


def _quantized(case: Case) -> Inputs:
    return Inputs.at(case.parameters, case.tokens, post_bits=case.bits)


def _beyond(fitted: Fitted, point: Inputs) -> tuple[str, ...]:
    return tuple(words for words in fitted.row.beyond(point) if words.startswith(fitted.row.reads))


def open_fit(path: Path | None) -> OwnFit:
    """Open a file of fits; None is the project's own.

    Raises:
        ValueError: it is missing, or has no fit of this law.
    """
    path = path or OWN_FITS
    fits = read_fits(path)
    damage = next((fitted for fitted in fits.of(PER_PARAMETER.name) if fitted.way == _GPTQ), None)
    return OwnFit(path, fits.law(OURS.name), damage)
