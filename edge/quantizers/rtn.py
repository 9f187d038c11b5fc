"""Round to nearest: every weight to the level next to it, without data."""

from __future__ import annotations

from torch import Tensor

from edge.formats.weight import QuantizedWeight, concatenate
from edge.quantizers.base import QuantizedLinear
from edge.quantizers.placement import Target
from edge.quantizers.post_training import Block, PostTraining

#: Weights at a time, few enough that the temporaries of a search stay in the cache.
_WEIGHTS = 1 << 18


class RTN(PostTraining):
    """``--method rtn``."""

    name = "rtn"
    needs_calibration = False

    def quantize(self, block: Block) -> None:
        for name, target in block.targets.items():
            try:
                stored = round_to_nearest(block.weight(name), target)
            except ValueError as error:
                raise ValueError(f"{block.name}.{name}: {error}") from error
            block.put(name, QuantizedLinear(stored, target.grid))


def round_to_nearest(weight: Tensor, target: Target) -> QuantizedWeight:
    """Round weight [n, k] float32 on the levels that the target fits to each row or group.

    Raises:
        ValueError: see ``Target.quantized``.
    """
    rows = max(1, _WEIGHTS // weight.shape[1])
    return concatenate([_round(some, target) for some in weight.split(rows)])


def _round(weight: Tensor, target: Target) -> QuantizedWeight:
    parts = target.parts(weight)
    levels = [target.fit(part) for part in parts]
    codes = [level.codes(part) for level, part in zip(levels, parts, strict=True)]
    return target.quantized(codes, levels)
