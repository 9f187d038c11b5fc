"""How far an exported program's figures may lie from those of the fake-quantised model it was made from.

The exporter measured, on a text of its own, root mean squares of logit errors (``Verification``):

* ``rounding_rms``: what int8 activations, and an int8 KV cache, change in eager PyTorch;
* ``program_rms_bound``: what the program may differ from eager PyTorch that rounds the same values.

Both stand against a model whose embedding and head are already rounded as the program's are. The
checkpoint's are not, which is a third error. At 8 bits the rows of that table are rounded to the grid that
activations are rounded to, 127 steps each way of the largest: as the head in a product whose other factor is
rounded so as well, as the embedding where the first layer's input is. Activations are rounded so in every
layer, the table once, so it may not cost more than they do. An error grows with its step, and so

    e = rounding_rms * (1 + 127 / steps of the table each way) + program_rms_bound

bounds the rms of what a logit of the program differs from the fake-quantised model's. It assumes errors on
the evaluated text of the size they had on the exporter's.

A token's log-probability moves by its own logit's error less the softmax-weighted mean of all: by an rms of
2e at most, whatever the two have in common. Hence mean log-perplexity moves by at most 2e: perplexities lie
within a factor exp(2e) of each other.

The log-probability of a choice of n tokens is a sum of n. Where their errors are independent, two choices of
n and m tokens move against each other by an rms of 2e * sqrt(n + m). A question is *undecided* when three of
these reach across the margin between its answer and another; no other question should be marked differently.
So accuracies differ by no more than the share of undecided questions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge.manifest import Manifest

#: Steps each way of the largest value of an embedding's row, by its bits; half precision has 11 such bits.
TABLE_STEPS = {4: 7, 8: 127, 16: 1024}
ACTIVATION_STEPS = 127
#: Recipes of the exporter whose weights are the fake-quantised model's own.
EXACT_RECIPES = ("lowbit", "fp32")
STANDARD_DEVIATIONS = 3


@dataclass(frozen=True)
class Agreement:
    """The bounds of one program; ``logit_rms`` is e above."""

    logit_rms: float

    @property
    def perplexity_factor(self) -> float:
        return math.exp(min(2 * self.logit_rms, 700.0))  # a double ends at exp(709.8)

    def margin(self, variance: float) -> float:
        """What the difference of two scores may move, each the sum of so many tokens' log-probabilities.

        Args:
            variance: tokens of both together; of scores that are divided by d, each one's over d squared.
        """
        return STANDARD_DEVIATIONS * 2 * self.logit_rms * math.sqrt(variance)


def agreement(manifest: Manifest) -> Agreement | None:
    """The bounds of a program; None where its recipe rounds the weights to a grid of its own."""
    if manifest.recipe not in EXACT_RECIPES:
        return None
    verification = manifest.verification
    table = ACTIVATION_STEPS / TABLE_STEPS[manifest.embedding_bits]
    return Agreement(verification.rounding_rms * (1 + table) + verification.program_rms_bound)
