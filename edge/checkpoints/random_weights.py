"""Make checkpoints of random weights, which measure speed and size of a shape."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.lazy import Lazy, Rows, reader_of
from edge.formats.weight import QuantizedWeight
from edge.model.config import ModelConfig
from edge.model.decoder import Decoder, initial_std, named_linears
from edge.quantizers.minmax import quantize_min_max
from edge.quantizers.nested import PARENT
from edge.quantizers.plan import Plan

#: Rows that are drawn at once, from a seed of their own.
_ROWS = 1024


def random_checkpoint(config: ModelConfig, seed: int) -> Checkpoint:
    """Make a checkpoint whose matrices are drawn when they are asked for, with ``initial_std``."""
    with torch.device("meta"):
        parameters = dict(Decoder(config, positions=0).named_parameters())
    readers: dict[str, Rows[Tensor]] = {}
    for index, (name, parameter) in enumerate(parameters.items()):
        if parameter.dim() == 2:
            readers[name] = _drawn(parameter.shape, initial_std(config, name), (seed << 40) + (index << 20))
        else:
            readers[name] = _constant(parameter.shape, 0.0 if name.endswith("_bias") else 1.0)
    return Checkpoint(config, Lazy(readers))


def random_parent(config: ModelConfig, seed: int) -> Checkpoint:
    """Make a random checkpoint whose linears are rounded to 8 bits, a grid with its own zero for each row."""
    checkpoint = random_checkpoint(config, seed)
    with torch.device("meta"):
        names = list(named_linears(Decoder(config, positions=0)))
    codes = Lazy({name: _rounded(reader_of(checkpoint.weights, f"{name}.weight")) for name in names})
    return replace(checkpoint, plan=Plan(PARENT), quantized=codes)


def _rounded(weight: Rows[Tensor]) -> Rows[QuantizedWeight]:
    return lambda rows: quantize_min_max(weight(rows), PARENT)


def _drawn(shape: torch.Size, std: float, seed: int) -> Rows[Tensor]:
    def rows(wanted: slice) -> Tensor:
        first, stop, _ = wanted.indices(shape[0])
        result = torch.empty(stop - first, shape[1])
        for block in range(first // _ROWS, -(-stop // _ROWS)):
            generator = torch.Generator().manual_seed(seed + block)
            drawn = torch.empty(min(_ROWS, shape[0] - block * _ROWS), shape[1]).normal_(
                std=std, generator=generator
            )
            low, high = max(first, block * _ROWS), min(stop, block * _ROWS + len(drawn))
            result[low - first : high - first] = drawn[low - block * _ROWS : high - block * _ROWS]
        return result

    return rows


def _constant(shape: torch.Size, value: float) -> Rows[Tensor]:
    return lambda rows: torch.full(shape, value)[rows]
