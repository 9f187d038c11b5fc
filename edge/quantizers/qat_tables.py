"""Token embedding and output head on a learned grid. ParetoQ keeps both; here a run may quantise them.

A tied head multiplies by the embedding's table, so both have one grid. A step rounds the whole table once, in
the head's product; a lookup rounds the rows that it reads.

AdamW moves every parameter by about the learning rate, however small its gradient. Alpha is small at many
bits: when it moves that far, the end of an 8-bit grid moves 128 times as far, and rows jump at learning rates
that suit the weights. So the trained parameter is the end of the grid, which moves as a weight does. It is
alpha times a power of two, so that converting one to the other rounds nothing; checkpoints hold alpha.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from edge.formats import Grid
from edge.quantizers.paretoq import LearnedGrid, fake_quantize_rows


class TableGrid(LearnedGrid):
    """Learned grid whose trained parameter ``grid_end`` [vocab, 1] is alpha times -(lowest level)."""

    def set_alpha(self, alpha: Tensor) -> None:
        self.grid_end = nn.Parameter(alpha * -self.grid.lowest)

    @property
    def alpha(self) -> Tensor:
        """Alpha, whose gradient goes to ``grid_end`` undivided, to stay far above AdamW's epsilon."""
        end = self.grid_end.detach()
        return (self.grid_end - end) + end / -self.grid.lowest


class QATEmbedding(TableGrid, nn.Embedding):
    """Rows of a table [vocab, dim] on a learned grid."""

    def __init__(self, weight: Tensor, grid: Grid, alpha: Tensor | None = None) -> None:
        vocab, dim = weight.shape
        nn.Embedding.__init__(self, vocab, dim, device="meta")
        self.set_grid(weight, grid, alpha)

    def forward(self, tokens: Tensor) -> Tensor:
        rows, alpha = F.embedding(tokens, self.weight), F.embedding(tokens, self.alpha)
        read = fake_quantize_rows(rows.flatten(0, -2), alpha.flatten(0, -2), self.grid, self.weight.numel())
        return read.view_as(rows)


class QATHead(TableGrid, nn.Module):
    """The output head with a table of its own, [vocab, dim]."""

    def __init__(self, weight: Tensor, grid: Grid, alpha: Tensor | None = None) -> None:
        nn.Module.__init__(self)
        self.set_grid(weight, grid, alpha)

    def forward(self, x: Tensor, embedding: nn.Embedding) -> Tensor:
        return self.multiply(x)


class TiedQATHead(nn.Module):
    """The output head that multiplies by the embedding's table, on the embedding's grid."""

    weight = None

    def forward(self, x: Tensor, embedding: QATEmbedding) -> Tensor:
        return embedding.multiply(x)
