"""Losses of the published MobileLLM-ParetoQ models (arXiv 2502.02631), between their sizes.

The paper has no formula. Its perplexities are points, and between two sizes the logarithm of perplexity is
taken as linear in that of the parameters.
"""

from __future__ import annotations

import math

import numpy as np

from edge.formats import FULL_PRECISION
from edge.model.config import MOBILELLM, ModelConfig
from edge.scaling.plan.law import FULL, Case, Loss, TrainingPlan, amount

#: Perplexity on Wikitext by bits, for the sizes of MOBILELLM in their order.
_PERPLEXITIES = {
    16: (15.1, 10.5, 9.1, 8.0, 7.9),
    1: (25.8, 17.0, 14.0, 12.8, 11.0),
    1.58: (20.0, 14.5, 11.5, 10.0, 9.0),
    2: (18.2, 12.5, 10.5, 9.2, 8.3),
    3: (15.0, 10.9, 9.4, 8.4, 8.0),
    4: (14.1, 10.3, 8.9, 7.9, 7.6),
}
_PARAMETERS = [config.parameters - config.vocab_size * config.dim for config in MOBILELLM.values()]
#: The published models went on from finished ones, with 10.5 or 31.5 billion tokens at low bits.
RECIPE = TrainingPlan("last 10 %", "ParetoQ's figure 2: 90 % full precision, then 10 % low bits", 0.1)


class ParetoQ:
    """Interpolates published points, and tells nothing beyond them."""

    name = "paretoq"
    readings = ("",)
    source = "arXiv 2502.02631, published perplexities of MobileLLM-ParetoQ"
    range = f"{len(MOBILELLM)} sizes, {amount(min(_PARAMETERS))} to {amount(max(_PARAMETERS))} parameters"
    notes = (
        "No formula exists: losses are interpolated between the published sizes, and there are none beyond.",
        "They do not depend on --train-tokens: the published models had their own.",
        "Logarithm of the perplexity on Wikitext; one run each, so without intervals.",
    )

    def __init__(self, reading: str = "") -> None:
        del reading

    def plans(self, config: ModelConfig, bits: float, tokens: float) -> list[TrainingPlan]:
        parameters = Case(config, bits, tokens, RECIPE).parameters
        if bits not in _PERPLEXITIES or not min(_PARAMETERS) <= parameters <= max(_PARAMETERS):
            return []
        return [FULL if bits == FULL_PRECISION.bits else RECIPE]

    def predict(self, case: Case) -> Loss:
        losses = np.log(_PERPLEXITIES[case.bits])
        nats = float(np.interp(math.log(case.parameters), np.log(_PARAMETERS), losses))
        return Loss(nats)
