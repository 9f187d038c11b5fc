"""Linears and embeddings that ``quantize_`` puts into a model: on a learned grid to train, then packed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edge.formats import Grid
from edge.formats.slices import PARENT_BITS, sliced
from edge.formats.weight import QuantizedWeight
from edge.integrations.torchao.tensor import LowBitTensor
from edge.quantizers.base import OnGrid
from edge.quantizers.matquant import NestedLinear
from edge.quantizers.minmax import quantize_min_max
from edge.quantizers.paretoq import QATLinear, quantize_in
from edge.quantizers.qat_tables import QATEmbedding


class PreparedLinear(QATLinear):
    """A linear on ParetoQ's learned grid, with the bias that it had."""

    def __init__(self, linear: nn.Linear, grid: Grid) -> None:
        super().__init__(linear.weight.detach(), grid)
        self.requires_grad_(linear.weight.requires_grad)
        self.bias = linear.bias

    def quantized(self) -> QuantizedWeight:
        """Quantise the weight as the forward pass does, in the same dtype as there."""
        dtype = torch.result_type(self.weight, self.alpha)
        if dtype == torch.float32:
            return super().quantized()
        return quantize_in(self.weight, self.alpha, self.grid, dtype)

    def forward(self, x: Tensor) -> Tensor:
        out = self.multiply(x)
        return out if self.bias is None else out + self.bias


class PreparedNested(NestedLinear):
    """A linear of MatQuant's parent that computes with the slice of ``bits``, with the bias that it had."""

    def __init__(self, linear: nn.Linear, extra: bool) -> None:
        super().__init__(linear.weight.detach(), extra)
        self.requires_grad_(linear.weight.requires_grad)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out if self.bias is None else out + self.bias


class PreparedEmbedding(QATEmbedding):
    """A token embedding on a learned grid."""

    def __init__(self, embedding: nn.Embedding, grid: Grid) -> None:
        super().__init__(embedding.weight.detach(), grid)
        self.requires_grad_(embedding.weight.requires_grad)
        self.padding_idx = embedding.padding_idx

    def forward(self, input: Tensor) -> Tensor:
        rows = super().forward(input)
        if self.padding_idx is None:
            return rows
        return torch.where((input == self.padding_idx)[..., None], rows.detach(), rows)  # it has no gradient


def packed_linear(weight: QuantizedWeight, like: nn.Linear) -> nn.Linear:
    """Make a linear whose weight is packed, with the bias and the dtype of another."""
    made = nn.Linear(like.in_features, like.out_features, bias=False, device="meta")
    made.weight = packed_parameter(weight, like.weight)
    made.bias = like.bias
    return made


def packed_embedding(weight: QuantizedWeight, like: nn.Embedding) -> nn.Embedding:
    """Make an embedding whose table is packed, of the dtype of another's."""
    made = nn.Embedding(like.num_embeddings, like.embedding_dim, device="meta")
    made.weight = packed_parameter(weight, like.weight)
    return made


def packed_parameter(weight: QuantizedWeight, like: Tensor) -> nn.Parameter:
    return nn.Parameter(LowBitTensor.of(weight, like.dtype, like.device), requires_grad=False)


def converted(module: nn.Module, bits: int | None = None) -> nn.Module:
    """Pack a prepared module, or one whose weight is on a grid already.

    Args:
        bits: of the slice of a nested linear; None is the parent.

    Raises:
        ValueError: the module is on no grid.
    """
    if not isinstance(module, OnGrid):
        name = type(module).__name__
        raise ValueError(f"this {name} was not prepared: call quantize_ with step='prepare' first, and train")
    weight = module.quantized()
    weight = (
        weight
        if bits is None or bits == PARENT_BITS
        else sliced(weight, bits, getattr(module, "extra", False))
    )
    if isinstance(module, nn.Embedding):
        return packed_embedding(_on_cpu(weight), module)
    assert isinstance(module, nn.Linear)
    return packed_linear(_on_cpu(weight), module)


def rounded(linear: nn.Linear, grid: Grid) -> nn.Linear:
    """Round a plain linear to a min-max grid, and pack it."""
    return packed_linear(_on_cpu(quantize_min_max(linear.weight, grid)), linear)


def _on_cpu(weight: QuantizedWeight) -> QuantizedWeight:
    zero = weight.zero.cpu() if isinstance(weight.zero, torch.Tensor) else weight.zero
    return QuantizedWeight(
        weight.codes.cpu(), weight.scale.cpu(), zero, weight.encoding, weight.group_size, weight.order,
        weight.scale_dtype,
    )  # fmt: skip
