"""Define which slices of a parent a method trains, and how much each counts: for MatQuant on any base."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edge.formats import grid_for_bits
from edge.formats.slices import PARENT_BITS, Nesting

PARENT = grid_for_bits(PARENT_BITS, asymmetric=True)
#: The paper's widths.
WIDTHS = Nesting((8, 4, 2))


@dataclass(frozen=True)
class WeightedSlices:
    """The slices that are trained together.

    Attributes:
        nesting: their widths, and whether they have extra levels.
        loss_weights: of each width in the loss; one of weight 0 is only measured.

    Raises:
        ValueError: weights that do not match the widths, are negative, or are all 0.
    """

    nesting: Nesting = WIDTHS
    loss_weights: tuple[float, ...] = (0.1, 0.1, 1.0)

    def __post_init__(self) -> None:
        widths, weights = self.nesting.widths, self.loss_weights
        if len(weights) != len(widths):
            raise ValueError(
                f"--loss-weights has {len(weights)} numbers for {len(widths)} widths; give one each"
            )
        if not all(math.isfinite(w) and w >= 0 for w in weights) or not any(weights):
            raise ValueError("--loss-weights must be 0 or more, and not all 0")

    @property
    def trained(self) -> list[tuple[int, float]]:
        """Widths and weights of the slices that take part in the loss."""
        pairs = zip(self.nesting.widths, self.loss_weights, strict=True)
        return [(width, weight) for width, weight in pairs if weight]

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> WeightedSlices:
        """Read the flags ``widths``, ``loss_weights``, ``single_precision`` and ``extra_precision``, by name.

        Raises:
            ValueError: one is wrong, in a sentence that names the flag.
        """
        text, extra = options.get("widths"), bool(options.get("extra_precision"))
        widths = tuple(_each("--widths", text, int, "whole numbers")) if text else WIDTHS.widths
        try:
            nesting = Nesting(widths, extra)
        except ValueError as error:
            raise ValueError(f"--widths: {error}") from None
        return cls(nesting, _loss_weights(options, len(widths), extra))


def _each(flag: str, text: str, kind: Callable[[str], Any], what: str) -> list[Any]:
    try:
        return [kind(word) for word in text.split(",")]
    except ValueError:
        raise ValueError(f"{flag} takes {what} with commas, not {text!r}") from None


def _loss_weights(options: Mapping[str, Any], count: int, extra: bool) -> tuple[float, ...]:
    """Weights as given; the paper's otherwise: mostly the narrowest width, all alike with extra levels."""
    given, single = options.get("loss_weights"), options.get("single_precision")
    if given and single:
        raise ValueError("--single-precision trains the last of --widths alone: leave --loss-weights out")
    if given:
        return tuple(_each("--loss-weights", given, float, "numbers"))
    if single:
        return (*[0.0] * (count - 1), 1.0)
    return (1.0,) * count if extra else (*[0.1] * (count - 1), 1.0)
