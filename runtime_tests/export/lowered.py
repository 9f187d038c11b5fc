"""Programs of tiny models, exported once per session. Do not change what they return."""

from __future__ import annotations

import functools
from typing import Any

from edge.checkpoints.convert import build_model
from edge.model.decoder import Decoder
from export.lower import Options
from export.metadata import constant_methods
from export.recipes import RECIPES, Recipe
from runtime_tests.tiny import tiny_checkpoint

LOWBIT = RECIPES["lowbit"]


def lower_and_emit(model: Decoder, options: Options, recipe: Recipe = LOWBIT) -> tuple[Decoder, bytes]:
    """The lowered model and the program of a model that is prepared for the recipe."""
    lowered = recipe.lower(model, options)
    constants = constant_methods(model.config, options.max_seq_len)
    return lowered, recipe.emit(lowered, options, constants)


def program_of(options: Options, **changes: Any) -> tuple[Decoder, bytes]:
    """The lowered tiny model of a format, and its program; ``changes`` are those of its shape."""
    return _program_of(options, tuple(sorted(changes.items())))


@functools.cache
def _program_of(options: Options, changes: tuple[tuple[str, Any], ...]) -> tuple[Decoder, bytes]:
    return lower_and_emit(build_model(tiny_checkpoint(options.grid, **dict(changes))), options)
