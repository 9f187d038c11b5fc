"""OmniQuant (arXiv 2308.13137): learn where a layer's ranges end, and an equivalent transform of it.

The ends of each range are its weights' least and greatest times sigmoid(u) and sigmoid(l), both learned. The
loss is that of the whole layer: the mean squared distance between the float layer behind float layers, and
the quantised one behind quantised layers. Below 3 bits the distance to the float layer on the quantised one's
inputs is added, as the reference scripts do. Weights themselves are not trained.

With ``slices`` the ranges are those of a parent of 8 bits, and the loss is the weighted sum over its slices:
MatQuant on the base of OmniQuant (arXiv 2502.06786). The next layer is fitted to what the parent gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.formats.slices import PARENT_BITS, slice_codes
from edge.quantizers.base import QuantizedLinear
from edge.quantizers.equivalent import Pair, away_from_zero, learned_pairs, starting_scales, transformed
from edge.quantizers.nested import WeightedSlices
from edge.quantizers.placement import Levels, Target, ranges, straight_through
from edge.quantizers.post_training import Block, PostTraining

#: sigmoid(4) = 0.982: ranges start almost whole.
START = 4.0


@dataclass(frozen=True)
class OmniQuant(PostTraining):
    """``--method omniquant``.

    Attributes:
        transforms: learn the equivalent transform too.
        epochs, low_epochs: passes over the calibration texts; ``low_epochs`` below 3 bits.
        clipping_rate, transform_rate: AdamW's learning rates, constant.
        slices: of a parent, which are trained together; None for a model of one width.
    """

    name: str = "omniquant"
    transforms: bool = True
    epochs: int = 20
    low_epochs: int = 40
    clipping_rate: float = 1e-2
    transform_rate: float = 5e-3
    compares: bool = True
    learns_ranges: bool = True
    slices: WeightedSlices | None = None

    def configured(self, options: Mapping[str, Any]) -> PostTraining:
        """Read the flags of ``WeightedSlices``, if this makes a parent."""
        return (
            super().configured(options)
            if self.slices is None
            else replace(self, slices=WeightedSlices.of(options))
        )

    def quantize(self, block: Block) -> None:
        extra = self.slices is not None and self.slices.nesting.extra
        learned = _Learned(block, learned_pairs(block.layer) if self.transforms else [], extra)
        trained = [(None, 1.0)] if self.slices is None else self.slices.trained
        widths = [target.grid.bits for target in block.targets.values()] + [
            bits for bits, _ in trained if bits
        ]
        is_low = min(widths) < 3
        rates = ((learned.clipping(), self.clipping_rate), (learned.scales, self.transform_rate))
        groups = [{"params": list(params), "lr": rate} for params, rate in rates if params]
        optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
        with torch.no_grad():
            expected = [block.run(block.layer, x) for x in block.float_inputs]
            again = [block.run(block.layer, x) for x in block.inputs] if is_low else []
        for _ in range(self.low_epochs if is_low else self.epochs):
            for index, x in enumerate(block.inputs):
                optimizer.zero_grad()
                for learned.bits, weight in trained:
                    found = block.run(learned, x)
                    loss = F.mse_loss(found, expected[index])
                    if is_low:
                        loss = loss + F.mse_loss(found, again[index])
                    if not bool(torch.isfinite(loss)):
                        raise ValueError(
                            f"{block.name}: activations are NaN or infinite on the calibration text"
                        )
                    (weight * loss).backward()
                optimizer.step()
        learned.fold(block)


class _Learned(nn.Module):
    """A layer that computes with transformed weights, rounded within learned ranges.

    Attributes:
        bits: of the slice that it computes with; None for the codes as they are.
        extra: slices have levels of Extra Precision.
    """

    bits: int | None = None

    def __init__(self, block: Block, pairs: Sequence[Pair], extra: bool) -> None:
        super().__init__()
        self.extra = extra
        self.call = partial(torch.func.functional_call, block.layer)
        self.targets, self.pairs = block.targets, pairs
        self.floats = {name: p.detach() for name, p in block.layer.named_parameters()}
        self.scales = nn.ParameterList(starting_scales(block, pair, block.float_inputs) for pair in pairs)
        self.ends = nn.ParameterDict()
        for name, target in self.targets.items():
            for index, part in enumerate(target.parts(block.weight(name))):
                start = torch.full((2, *part.shape[:-1], 1), START)  # of low and of high
                self.ends[_key(name, index)] = nn.Parameter(start)

    def clipping(self) -> list[nn.Parameter]:
        return list(self.ends.values())

    def forward(self, *args: Tensor | int) -> Tensor:
        weights = self.weights()
        for name, target in self.targets.items():
            placed = self.placed(name, target, weights)
            parts = [levels.values(self._sliced(levels.codes(part))).flatten(1) for part, levels in placed]
            weights[f"{name}.weight"] = torch.cat(parts, dim=1)
        result: Tensor = self.call(weights, args)
        return result

    def _sliced(self, codes: Tensor) -> Tensor:
        """Codes on the levels of the slice, still in the parent's steps; gradients pass unchanged."""
        if self.bits is None:
            return codes
        step = 2 ** (PARENT_BITS - self.bits)
        return straight_through(
            lambda values: slice_codes(values.to(torch.uint8), self.bits, self.extra).float() * step, codes
        )

    def weights(self) -> dict[str, Tensor]:
        """The layer's parameters, transformed and not rounded."""
        return transformed(self.floats, self.pairs, [away_from_zero(t) for t in self.scales])

    def placed(
        self, name: str, target: Target, weights: Mapping[str, Tensor]
    ) -> Iterator[tuple[Tensor, Levels]]:
        """Yield the parts of a linear's weight and their levels."""
        for index, part in enumerate(target.parts(weights[f"{name}.weight"])):
            low, high = ranges(part)
            shares = torch.sigmoid(self.ends[_key(name, index)])
            yield part, target.between(shares[0] * low, shares[1] * high)

    @torch.no_grad()
    def fold(self, block: Block) -> None:
        """Put what was learned into the layer: norms, biases and quantised linears."""
        weights = self.weights()
        placed = {name: list(self.placed(name, target, weights)) for name, target in self.targets.items()}
        block.layer.load_state_dict(weights, assign=True)
        for name, target in self.targets.items():
            codes = [levels.codes(part) for part, levels in placed[name]]
            stored = target.quantized(codes, [levels for _, levels in placed[name]])
            block.put(name, QuantizedLinear(stored, target.grid))


def _key(linear: str, part: int) -> str:
    """A name of a parameter, which may hold no dots."""
    return f"{linear.replace('.', '_')}_{part}"
