"""How far an exported program's figures may lie from those of the fake-quantised model it was made from.

The exporter measured, on a text of its own, root mean squares of logit errors (``Verification``):

* ``rounding_rms``: what int8 activations, and an int8 KV cache, change in eager PyTorch;
* ``program_rms``: how far the program is from eager PyTorch that rounds the same values.

Both stand against a model whose embedding and head are already rounded as the program's are. The
checkpoint's are not, which is a third error. At 8 bits the rows of that table are rounded to the grid that
activations are rounded to, 127 steps each way of the largest: as the head in a product whose other factor is
rounded so as well, as the embedding where the first layer's input is. Activations are rounded so in every
layer, the table once, so it may not cost more than they do. An error grows
with its step. A table that was trained on its grid is the checkpoint's own and has no such error. Independent
errors add in squares, so a logit of the program differs from the fake-quantised model's by an rms of

    e = sqrt(rounding_rms^2 * (1 + (127 / steps of the table each way)^2) + program_rms^2)

without the term of the table where that was trained.

A token's log-probability moves by its own logit's error less the softmax-weighted mean of all. Where these
two are independent, or alike, that is an rms of s = sqrt(2) * e at most.

Perplexity. The errors of N tokens average to s / sqrt(N), of which four are allowed: tokens recur, and with
them what rounding did to their rows (3.4 were seen, in a model of five steps). What does not average out is
of second order: the curvature of log-sum-exp adds half the softmax-weighted variance of the errors, e^2 / 2,
and as much is allowed for that of the layers before it. So log-perplexities differ by at most

    4 * s / sqrt(N) + e^2

Accuracy. The scores of two choices of n and m tokens move against each other by an rms of s * sqrt(n + m), so
one that leads by d falls behind with a chance of at most P(normal deviate > d / (s * sqrt(n + m))). Summed
over the questions that were answered right, these are the answers expected to be lost, over the others those
expected to be won; accuracies differ by at most the larger sum and four of its standard deviations.

Assumed are errors that are independent from token to token, and on the evaluated text of the size they had on
the exporter's. Measured on the embedded models they are half of s, and their averages within these bounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge.formats import FULL_PRECISION
from edge.runtime.manifest import Manifest

#: Steps each way of the largest value of an embedding's row, by its bits; half precision has 11 such bits.
TABLE_STEPS = {4: 7, 8: 127, 16: 1024}
ACTIVATION_STEPS = 127
#: The recipe of the exporter whose weights are the fake-quantised model's own.
EXACT_RECIPE = "lowbit"
STANDARD_DEVIATIONS = 4


@dataclass(frozen=True)
class Agreement:
    """The bounds of one program; ``logit_rms`` is e above."""

    logit_rms: float

    @property
    def token_rms(self) -> float:
        """s above."""
        return math.sqrt(2) * self.logit_rms

    def perplexity_factor(self, tokens: int) -> float:
        """Largest ratio of two perplexities, either way, over so many tokens."""
        distance = STANDARD_DEVIATIONS * self.token_rms / math.sqrt(tokens) + self.logit_rms**2
        return math.exp(min(distance, 700.0))  # a double ends at exp(709.8)

    def overtaking(self, lead: float, tokens: float) -> float:
        """Chance that a score falls behind one that it leads by ``lead`` >= 0.

        Args:
            tokens: of both together; of scores that are divided by d, each one's over d squared.
        """
        deviation = self.token_rms * math.sqrt(tokens)
        return 0.5 * math.erfc(lead / deviation / math.sqrt(2)) if deviation else 0.0

    def accuracy_distance(self, right: Sequence[float], wrong: Sequence[float]) -> float:
        """Largest difference of two accuracies, from each question's chance to change sides."""
        expected = max(math.fsum(right), math.fsum(wrong))
        # The variance of a sum of such events is at most its mean.
        distance = expected + STANDARD_DEVIATIONS * math.sqrt(expected)
        return min(1.0, distance / (len(right) + len(wrong)))


def agreement(manifest: Manifest) -> Agreement | None:
    """The bounds of a program; None where there is no fake-quantised model that has its weights.

    So it is with a recipe that rounds to a grid of its own, and where linears have 16 bits: those round their
    weights to half precision, and no activations that an 8-bit table could be measured by.
    """
    formats = {manifest.format, *manifest.formats.values()}
    if manifest.recipe != EXACT_RECIPE or FULL_PRECISION.name in formats:
        return None
    verification = manifest.verification
    learned = manifest.embedding_learned
    table = 0.0 if learned else ACTIVATION_STEPS / TABLE_STEPS[manifest.embedding_bits]
    rounding = verification.rounding_rms * math.hypot(1, table)
    return Agreement(math.hypot(rounding, verification.program_rms))
