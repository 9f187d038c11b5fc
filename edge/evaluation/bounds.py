"""Bounds on how far an exported program's figures may lie from those of its fake-quantised model.

The exporter measured, on a text of its own, root mean squares of logit errors (``Verification``):

* ``rounding_rms``: what int8 activations, and an integer KV cache, change in eager PyTorch;
* ``program_rms``: how far the program is from eager PyTorch that rounds the same values.

Both compare with a model whose embedding and head are already rounded as in the program. Those of the
checkpoint are not, which is a third error. At 8 bits, embedding and head are rounded like activations, to 127
steps each way of the largest value. Activations are rounded in every layer, the embedding once, so it costs
no more than they do. With other bits the error grows with the step. An embedding that was trained on its grid
has no such error. Independent errors add in squares, so a logit of the program differs from the
fake-quantised model's by an rms of

    e = sqrt(rounding_rms^2 * (1 + (127 / steps of the embedding each way)^2) + program_rms^2)

without the term of the embedding if that was trained.

A token's log-probability moves by its own logit's error less the softmax-weighted mean of all errors: an rms
of s = sqrt(2) * e at most, whether the two are independent or alike.

Perplexity. The errors of N tokens average to s / sqrt(N). Four times that is allowed, since tokens recur and
so do the errors of their rows (3.4 times was seen, in a model trained for five steps). The second-order part
does not average out: the curvature of log-sum-exp adds half the softmax-weighted variance of the errors,
e^2 / 2, and as much is allowed for the curvature of the layers. So log-perplexities differ by at most

    4 * s / sqrt(N) + e^2

Accuracy. The scores of two choices of n and m tokens move against each other by an rms of s * sqrt(n + m), so
one that leads by d falls behind with a chance of at most P(normal deviate > d / (s * sqrt(n + m))). The sum
of these chances over right answers is the expected number of lost answers, over wrong ones of won answers;
accuracies differ by at most the larger sum plus four of its standard deviations.

This assumes errors that are independent from token to token, and as large on the evaluated text as on the
exporter's. On the embedded models they were measured to be half of s, and their averages within these bounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge.formats import FULL_PRECISION
from edge.runtime.manifest import Manifest

#: Steps from 0 to the largest value of an embedding's row, by its bits; half precision has 11 bits.
EMBEDDING_STEPS = {4: 7, 8: 127, 16: 1024}
ACTIVATION_STEPS = 127
#: The export recipe that keeps the fake-quantised model's weights.
EXACT_RECIPE = "lowbit"
STANDARD_DEVIATIONS = 4


@dataclass(frozen=True)
class ErrorBounds:
    """Bounds of one program; ``logit_rms`` is e in the module's docstring."""

    logit_rms: float

    @property
    def token_rms(self) -> float:
        """Return s of the module's docstring."""
        return math.sqrt(2) * self.logit_rms

    def perplexity_factor(self, tokens: int) -> float:
        """Return the largest ratio of the two perplexities, either way, over so many tokens."""
        distance = STANDARD_DEVIATIONS * self.token_rms / math.sqrt(tokens) + self.logit_rms**2
        return math.exp(min(distance, 700.0))  # a double ends at exp(709.8)

    def overtaking(self, lead: float, tokens: float) -> float:
        """Return the chance that a score falls behind one that it leads by ``lead`` >= 0.

        Args:
            tokens: of both texts together; if scores are divided by lengths, tokens are by their squares.
        """
        deviation = self.token_rms * math.sqrt(tokens)
        return 0.5 * math.erfc(lead / deviation / math.sqrt(2)) if deviation else 0.0

    def accuracy_distance(self, right: Sequence[float], wrong: Sequence[float]) -> float:
        """Return the largest difference of two accuracies, from the chances of answers to change."""
        expected = max(math.fsum(right), math.fsum(wrong))
        # The variance of a sum of such events is at most its mean.
        distance = expected + STANDARD_DEVIATIONS * math.sqrt(expected)
        return min(1.0, distance / (len(right) + len(wrong)))


def error_bounds(manifest: Manifest) -> ErrorBounds | None:
    """Return the bounds of a program; None if no fake-quantised model has its weights.

    That is so for recipes with a grid of their own, and for linears of 16 bits: they round weights to half
    precision, and no activations that an 8-bit embedding could be compared with.
    """
    formats = {manifest.format, *manifest.formats.values()}
    if manifest.recipe != EXACT_RECIPE or FULL_PRECISION.name in formats:
        return None
    verification, tables = manifest.verification, (manifest.embedding_bits, manifest.head_bits)
    steps = min(EMBEDDING_STEPS[bits] for bits in tables if bits in EMBEDDING_STEPS)  # others are not rounded
    embedding = 0.0 if manifest.embedding_learned else ACTIVATION_STEPS / steps
    rounding = verification.rounding_rms * math.hypot(1, embedding)
    return ErrorBounds(math.hypot(rounding, verification.program_rms))
