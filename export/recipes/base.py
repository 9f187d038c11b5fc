"""The protocol of an export recipe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from edge.checkpoints.checkpoint import Checkpoint
from edge.formats import Grid
from edge.model.decoder import Decoder, Layer
from edge.quantizers.plan import Plan
from export.fuse import FusedLayer
from export.lower import Options
from export.rounding import with_int8_inputs_of
from export.weights import ModelWeights


class Recipe(ABC):
    """Turns a model into a program: ``plan``, ``lower`` and ``emit`` are called once each, in this order.

    Recipes differ in their linears only: embedding, attention, norms and activation are the same ops in all,
    so that a comparison of two programs compares their linears and what is fused into them.

    Attributes:
        name: the word after ``--recipe``.
        output_suffix: added to the name of the default output directory.
        keeps_grid: the program runs on the format's own grid, so a checkpoint trained on it is used.
        has_elastic_ops: a program can be sliced when it runs.
        exact_prefill: a prefill gives, bit for bit, the logits of running one token at a time.
    """

    name: str
    output_suffix: str
    keeps_grid: bool
    exact_prefill: bool
    has_elastic_ops: bool = False

    @abstractmethod
    def plan(self, checkpoint: Checkpoint, grid: Grid) -> Plan:
        """The grids of the linears in the program.

        Raises:
            ValueError: the recipe cannot export this model or format.
        """

    @abstractmethod
    def lower(self, model: Decoder, weights: ModelWeights, options: Options) -> Decoder:
        """A copy of a model whose parts are calls of the ops that the program will call."""

    @abstractmethod
    def emit(self, lowered: Decoder, options: Options, constant_methods: dict[str, Any], path: Path) -> None:
        """Write a lowered model's ``.pte``; its packed tables are filled later.

        Raises:
            ValueError: the exported graph lacks an op that the recipe lowers to, or calls another product.
        """

    def with_int8_activations(self, layer: Layer, name: str, fused: FusedLayer) -> Layer:
        """A copy of an eager layer that rounds activations to int8 where the lowered one does.

        Args:
            name: of the layer, ``layers.0``.
        """
        return with_int8_inputs_of(layer, name, fused)
