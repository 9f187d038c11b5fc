"""Token embedding and output head on a learned grid. ParetoQ keeps both; here a run may quantise them.

A tied head multiplies by the embedding's table, so both have one grid. A step rounds the whole table once, in
the head's product; a lookup rounds the rows that it reads.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from edge.formats import WeightFormat
from edge.quantizers.paretoq import LearnedGrid, fake_quantize_rows


class QATEmbedding(LearnedGrid, nn.Embedding):
    """Rows of a table [vocab, dim] on a learned grid."""

    def __init__(self, weight: Tensor, fmt: WeightFormat, alpha: Tensor | None = None) -> None:
        vocab, dim = weight.shape
        nn.Embedding.__init__(self, vocab, dim, device="meta")
        self.set_grid(weight, fmt, alpha)

    def forward(self, tokens: Tensor) -> Tensor:
        rows, alpha = F.embedding(tokens, self.weight), F.embedding(tokens, self.weight_clip_val)
        read = fake_quantize_rows(rows.flatten(0, -2), alpha.flatten(0, -2), self.fmt, self.weight.numel())
        return read.view_as(rows)


class QATHead(LearnedGrid, nn.Module):
    """The output head with a table of its own, [vocab, dim]."""

    def __init__(self, weight: Tensor, fmt: WeightFormat, alpha: Tensor | None = None) -> None:
        nn.Module.__init__(self)
        self.set_grid(weight, fmt, alpha)

    def forward(self, x: Tensor, embedding: nn.Embedding) -> Tensor:
        return self.multiply(x)


class TiedQATHead(nn.Module):
    """The output head that multiplies by the embedding's table, on the embedding's grid."""

    weight = None

    def forward(self, x: Tensor, embedding: QATEmbedding) -> Tensor:
        return embedding.multiply(x)
