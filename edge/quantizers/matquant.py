"""MatQuant (arXiv 2502.06786): train one parent of 8 bits whose slices are good models too.

A linear rounds its weight to the min-max grid of 8 bits and slices the codes to the width whose turn it is
(``edge/formats/slices.py``); gradients pass straight through both. The loss of a batch is the weighted sum of
the cross entropy at each width, with one backward pass for each. With co-distillation a width also learns
from the predictions of a wider one, which no gradient reaches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.formats import FULL_PRECISION, Grid, grid_for_bits
from edge.formats.slices import PARENT_BITS, Nesting, sliced
from edge.formats.weight import QuantizedWeight
from edge.model.decoder import Decoder, named_linears, replace_module
from edge.quantizers.base import LossOf, Method, OnGrid, QuantizedLinear
from edge.quantizers.minmax import quantize_min_max
from edge.quantizers.placement import StraightThrough
from edge.quantizers.plan import Plan

PARENT = grid_for_bits(PARENT_BITS, asymmetric=True)
#: The paper's widths.
WIDTHS = Nesting((8, 4, 2))


class NestedLinear(OnGrid, nn.Linear):
    """A linear without bias that computes with a slice of its weight [out, in].

    Attributes:
        bits: of the slice, from now on.
        extra: slices with 2^bits + 1 levels.
    """

    def __init__(self, weight: Tensor, extra: bool) -> None:
        out_features, in_features = weight.shape
        nn.Linear.__init__(self, in_features, out_features, bias=False, device="meta")
        self.weight = nn.Parameter(weight)
        self.grid, self.bits, self.extra = PARENT, PARENT_BITS, extra

    def quantized(self) -> QuantizedWeight:
        """The parent, whatever the width of the moment."""
        return quantize_min_max(self.weight, self.grid)

    def forward(self, x: Tensor) -> Tensor:
        values = sliced(self.quantized(), self.bits, self.extra).dequantize().to(self.weight.dtype)
        return F.linear(x, StraightThrough.apply(self.weight, values))


@dataclass(frozen=True)
class MatQuant(Method):
    """``--method matquant``: linears only; embedding and head are kept.

    Attributes:
        nesting: the widths that are trained.
        loss_weights: of each width; a width of weight 0 takes no pass. (0, 0, 1) is Single Precision.
        teachers: the wider width that a width learns from, by the narrower one.
        taught: share of such a width's loss that is the distance to its teacher; the rest is cross entropy.
    """

    name: str = "matquant"
    default_bits: float = PARENT_BITS
    nesting: Nesting = WIDTHS
    loss_weights: tuple[float, ...] = (0.1, 0.1, 1.0)
    teachers: Mapping[int, int] = field(default_factory=dict)
    taught: float = 0.5

    def __post_init__(self) -> None:
        widths, weights = self.widths, self.loss_weights
        if len(weights) != len(widths):
            raise ValueError(
                f"--loss-weights has {len(weights)} numbers for {len(widths)} widths; give one each"
            )
        if not all(math.isfinite(w) and w >= 0 for w in weights) or not any(weights):
            raise ValueError("--loss-weights must be 0 or more, and not all 0")
        for width, teacher in self.teachers.items():
            if teacher <= width or not {width, teacher} <= set(widths):
                raise ValueError(
                    f"--co-distill {teacher}:{width} must name two of --widths "
                    f"{','.join(map(str, widths))}, the wider first"
                )
        if not 0 < self.taught <= 1:
            raise ValueError(f"--co-distill-share must lie above 0 and at most at 1, not {self.taught:g}")

    def configured(self, options: Mapping[str, Any]) -> MatQuant:
        """Read the flags of train_config.py that are for this method."""
        widths = _widths(options.get("widths"))
        extra = bool(options.get("extra_precision"))
        return MatQuant(
            nesting=_nesting(widths, extra),
            loss_weights=_loss_weights(options, len(widths), extra),
            teachers=_teachers(options.get("co_distill")),
            taught=options.get("co_distill_share") or 0.5,
        )

    @property
    def passes(self) -> int:
        return len(self._trained)

    @property
    def _trained(self) -> list[tuple[int, float]]:
        pairs = zip(self.widths, self.loss_weights, strict=True)
        return [(width, weight) for width, weight in pairs if weight]

    def grid(self, bits: float | str, choices: tuple[float, ...] | None = None) -> Grid:
        return grid_for_bits(bits, (PARENT_BITS, FULL_PRECISION.bits), asymmetric=True)

    def prepare(self, model: Decoder, plan: Plan) -> Decoder:
        if plan.embedding_format.is_quantized:
            raise ValueError("--method matquant keeps embedding and head: leave --embedding-bits out")
        for name, linear in named_linears(model).items():
            if plan.of(name).is_quantized:
                replace_module(model, name, NestedLinear(linear.weight.detach(), self.nesting.extra))
        return model

    def select(self, model: Decoder, bits: int) -> None:
        for linear in named_linears(model).values():
            if isinstance(linear, NestedLinear):
                linear.bits = bits

    def loss(self, model: Decoder, tokens: Tensor, loss_of: LossOf, index: int = 0) -> Tensor:
        width, weight = self._trained[index]
        wanted = self._predictions(model, tokens, self.teachers[width]) if width in self.teachers else None
        self.select(model, width)
        return weight * loss_of(model, tokens, wanted, self.taught)

    def finish(self, model: Decoder) -> Decoder:
        for name, linear in named_linears(model).items():
            if isinstance(linear, NestedLinear):
                replace_module(model, name, QuantizedLinear(linear.quantized(), linear.grid))
        return model

    @torch.no_grad()
    def _predictions(self, model: Decoder, tokens: Tensor, width: int) -> Tensor:
        """Logits [B, T, V] of the slice of this width, for tokens int64 [B, T + 1]."""
        self.select(model, width)
        return model(tokens[:, :-1])


def _widths(text: str | None) -> tuple[int, ...]:
    return tuple(_each("--widths", text, int, "whole numbers")) if text else WIDTHS.widths


def _each(flag: str, text: str, kind: Callable[[str], Any], what: str) -> list[Any]:
    try:
        return [kind(word) for word in text.split(",")]
    except ValueError:
        raise ValueError(f"{flag} takes {what} with commas, not {text!r}") from None


def _nesting(widths: tuple[int, ...], extra: bool) -> Nesting:
    try:
        return Nesting(widths, extra)
    except ValueError as error:
        raise ValueError(f"--widths: {error}") from None


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


def _teachers(text: str | None) -> dict[int, int]:
    """Pairs as in ``8:2,8:4``, by the narrower width."""
    teachers: dict[int, int] = {}
    for pair in text.split(",") if text else ():
        teacher, colon, width = pair.partition(":")
        if not (colon and teacher.isdecimal() and width.isdecimal()):
            raise ValueError(f"--co-distill takes pairs of widths, as in 8:2,8:4, not {text!r}")
        if int(width) in teachers:
            raise ValueError(f"--co-distill gives {width} bits two teachers; one is enough")
        teachers[int(width)] = int(teacher)
    return teachers
