"""The ops on elastic weights in eager PyTorch: make the slice's packed table, then call the plain op.

Slow, and written without the C++ that programs run, with which tests compare it.
"""

from __future__ import annotations

from torch import Tensor

from edge.formats.elastic import ELASTIC_WIDTHS, ElasticWeight, joined
from edge.formats.slices import PARENT_BITS, sliced
from edge.ops import native
from edge.ops.packing import pack, unpack


def elastic_linear(
    x: Tensor, base: Tensor, middle: Tensor, low: Tensor, widths: Tensor, layer: int, n: int
) -> Tensor:
    """Multiply x float32 [..., k] by a slice of the elastic weight [n, k]; ValueError as from ``linear``."""
    return native.linear(x, _slice(base, middle, low, widths, layer), n)


def elastic_norm_linear(
    x: Tensor,
    norm_weight: Tensor,
    eps: float,
    base: Tensor,
    middle: Tensor,
    low: Tensor,
    widths: Tensor,
    layer: int,
    n: int,
) -> Tensor:
    """Multiply RMSNorm(x) by a slice; ValueError as from ``norm_linear``."""
    return native.norm_linear(x, norm_weight, eps, _slice(base, middle, low, widths, layer), n)


def elastic_norm_gate_up(
    x: Tensor,
    norm_weight: Tensor,
    eps: float,
    base: Tensor,
    middle: Tensor,
    low: Tensor,
    widths: Tensor,
    layer: int,
    n: int,
    gelu: bool = False,
) -> Tensor:
    """Gate the halves of RMSNorm(x) times a slice [2n, k]; ValueError as from ``norm_gate_up``."""
    return native.norm_gate_up(x, norm_weight, eps, _slice(base, middle, low, widths, layer), n, gelu)


def elastic_linear_add(
    x: Tensor, base: Tensor, middle: Tensor, low: Tensor, widths: Tensor, layer: int, residual: Tensor
) -> Tensor:
    """Add x times a slice to the residual [..., n]; ValueError as from ``linear_add``."""
    return native.linear_add(x, _slice(base, middle, low, widths, layer), residual)


def _slice(base: Tensor, middle: Tensor, low: Tensor, widths: Tensor, layer: int) -> Tensor:
    """Pack the slice of the layer's width."""
    bits = int(widths[layer]) or PARENT_BITS
    if bits not in ELASTIC_WIDTHS:
        raise ValueError(f"an elastic weight has slices of 2 to 8 bits, not {bits}")
    return pack(sliced(joined(ElasticWeight(*map(unpack, (base, middle, low)))), bits))
