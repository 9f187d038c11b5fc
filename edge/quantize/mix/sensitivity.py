"""Measure what a narrow slice of one layer costs while the others stay at 8 bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.convert import build_model
from edge.checkpoints.slices import layer_of, mixed_slices
from edge.data import PackedBlocks
from edge.evaluation.language_model import EagerModel
from edge.evaluation.perplexity import perplexity
from edge.formats.slices import PARENT_BITS
from edge.model.decoder import Decoder, named_linears, replace_module


class SlicedModel:
    """Hold a parent in memory and run its layers at any widths.

    Args:
        blocks: of the text that losses are measured on.
    """

    def __init__(self, parent: Checkpoint, blocks: PackedBlocks, widths: Sequence[int]) -> None:
        self.layers = parent.config.n_layers
        self._blocks = blocks
        uniform = {width: build_model(mixed_slices(parent, [width] * self.layers)) for width in widths}
        self._linears = {width: named_linears(model) for width, model in uniform.items()}
        self._model: Decoder = uniform[max(widths)]

    def loss(self, widths: Sequence[int]) -> float:
        """Measure the mean cross entropy, in nats, with these widths of the layers."""
        for name in self._linears[max(self._linears)]:
            replace_module(self._model, name, self._linears[widths[layer_of(name)]][name])
        return math.log(perplexity(EagerModel(self._model), self._blocks)[0])


def layer_losses(
    model: SlicedModel, widths: Sequence[int], advance: Callable[[], None] = lambda: None
) -> list[dict[int, float]]:
    """Measure by how much the loss rises with one layer at each width, in nats; a list by layer.

    A fall counts as 0: it is noise of the text.
    """
    whole = [PARENT_BITS] * model.layers
    base, losses = model.loss(whole), []
    for layer in range(model.layers):
        found = {PARENT_BITS: 0.0}
        for width in (w for w in widths if w != PARENT_BITS):
            found[width] = max(model.loss([*whole[:layer], width, *whole[layer + 1 :]]) - base, 0.0)
            advance()
        losses.append(found)
    return losses
