"""The protocol of an export recipe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from edge.formats import Grid
from edge.model.decoder import Decoder
from export.lower import Options
from export.rounding import with_int8_inputs_of


class Recipe(ABC):
    """Turns a model into a program: ``prepare``, ``lower`` and ``emit`` are called once each, in this order.

    Recipes differ in their linears only: embedding, attention, norms and activation are the same ops in all,
    so that a comparison of two programs compares their linears and what is fused into them.

    Attributes:
        name: the word after ``--recipe``.
        output_suffix: added to the name of the default output directory.
        keeps_grid: the program runs on the format's own grid, so a checkpoint trained on it is used.
        exact_prefill: a prefill gives, bit for bit, the logits of running one token at a time.
    """

    name: str
    output_suffix: str
    keeps_grid: bool
    exact_prefill: bool

    @abstractmethod
    def prepare(self, model: Decoder, grid: Grid) -> Decoder:
        """The model on the grid it will run on; may change it in place.

        Raises:
            ValueError: the recipe cannot export this model or format.
        """

    @abstractmethod
    def lower(self, model: Decoder, options: Options) -> Decoder:
        """A copy of a prepared model whose parts are calls of the ops that the program will call."""

    @abstractmethod
    def emit(self, lowered: Decoder, options: Options, constant_methods: dict[str, Any]) -> bytes:
        """The bytes of a lowered model's ``.pte``.

        Raises:
            ValueError: the exported graph lacks an op that the recipe lowers to, or calls another product.
        """

    def with_int8_activations(self, float_model: Decoder, lowered: Decoder) -> Decoder:
        """A copy of the eager ``float_model`` that rounds activations to int8 where the program does."""
        return with_int8_inputs_of(float_model, lowered)
