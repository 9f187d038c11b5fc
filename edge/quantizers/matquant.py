"""MatQuant (arXiv 2502.06786): train one parent of 8 bits whose slices are good models too.

A linear rounds its weight to the min-max grid of 8 bits and slices the codes to the width whose turn it is
(``edge/formats/slices.py``); gradients pass straight through both. The loss of a batch is the weighted sum of
the cross entropy at each width, with one backward pass for each. With co-distillation a width also learns
from the predictions of a wider one, which no gradient reaches.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from edge.quantizers.nested import PARENT, WeightedSlices
from edge.quantizers.placement import StraightThrough
from edge.quantizers.plan import Plan


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
        slices: what is trained. Weights (0, 0, 1) are the paper's Single Precision.
        teachers: the wider width that a width learns from, by the narrower one.
        taught: share of such a width's loss that is the distance to its teacher; the rest is cross entropy.
    """

    name: str = "matquant"
    default_bits: float = PARENT_BITS
    slices: WeightedSlices = field(default_factory=WeightedSlices)
    teachers: Mapping[int, int] = field(default_factory=dict)
    taught: float = 0.5

    def __post_init__(self) -> None:
        widths = self.widths
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
        teachers = _teachers(options.get("co_distill"))
        if "co_distill_share" in options and not teachers:
            raise ValueError(
                "--co-distill-share is for --co-distill: name pairs of widths with it, as in 8:2"
            )
        taught = options.get("co_distill_share", self.taught)
        return MatQuant(slices=WeightedSlices.of(options), teachers=teachers, taught=taught)

    @property
    def nesting(self) -> Nesting:
        return self.slices.nesting

    @property
    def passes(self) -> int:
        return len(self.slices.trained)

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
        width, weight = self.slices.trained[index]
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
