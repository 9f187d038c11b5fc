"""Programs of tiny models, exported once per session. Do not change what they return."""

from __future__ import annotations

import copy
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

from torch import nn

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.convert import build_model, to_checkpoint
from edge.formats import FULL_PRECISION
from edge.model.decoder import Decoder
from edge.runtime.manifest import Verification
from export.lower import Options
from export.metadata import constant_methods
from export.program_file import ProgramFile
from export.recipes import RECIPES, Recipe
from export.references import References, references
from export.tables import packed_tables
from export.verify import verify
from export.weights import ModelWeights, skeleton
from runtime_tests.tiny import tiny_checkpoint

LOWBIT = RECIPES["lowbit"]


def weights_of(model: Decoder, options: Options, recipe: Recipe = LOWBIT) -> ModelWeights:
    """The weights of a model as they are now, on the grids of its program."""
    checkpoint = to_checkpoint(model, None, options.grid)
    grid = options.grid if checkpoint.plan.is_quantized else FULL_PRECISION
    plan = recipe.plan(checkpoint, grid)
    return ModelWeights(checkpoint, plan, options.table_grids)


def lower(model: Decoder, options: Options, recipe: Recipe = LOWBIT) -> Decoder:
    """The lowered model; its packed tables are not filled."""
    return recipe.lower(model, weights_of(model, options, recipe), options)


def fill(lowered: nn.Module, weights: ModelWeights) -> None:
    """Put the packed tables of a lowered model, or of a part of it, where the ops read them."""
    for table in packed_tables(lowered).values():
        table.packed = weights.packed(list(table.rows))


def write(
    model: Decoder, options: Options, path: Path, recipe: Recipe = LOWBIT
) -> tuple[Decoder, ProgramFile]:
    """Write a model's program, its tables filled; returns the lowered model too, whose tables are as well."""
    weights = weights_of(model, options, recipe)
    lowered = recipe.lower(model, weights, options)
    recipe.emit(lowered, options, constant_methods(model.config, options.max_seq_len), path)
    program = ProgramFile(path, lowered)
    program.fill(weights)
    fill(lowered, weights)
    return lowered, program


def write_checkpoint(
    checkpoint: Checkpoint, options: Options, path: Path, recipe: Recipe = LOWBIT
) -> tuple[ProgramFile, ModelWeights]:
    """Write a checkpoint's program, its tables filled; returns the weights too that it was filled with."""
    model = skeleton(checkpoint, options.max_seq_len)
    weights = ModelWeights(checkpoint, recipe.plan(checkpoint, options.grid), options.table_grids)
    lowered = recipe.lower(model, weights, options)
    recipe.emit(lowered, options, constant_methods(model.config, options.max_seq_len), path)
    program = ProgramFile(path, lowered)
    program.fill(weights)
    return program, weights


def references_of(
    model: Decoder, lowered: Decoder, program: ProgramFile, tokens: list[int], options: Options
) -> References:
    """The references of a model's program; the model may have changed since it was written."""
    return references(model, program, lowered, LOWBIT, options, tokens)


def verified(
    model: Decoder, lowered: Decoder, program: ProgramFile, tokens: list[int], options: Options
) -> Verification:
    """Compare a program with a model in every way that an export does."""
    count = program.check(weights_of(model, options))
    expected = references_of(model, lowered, program, tokens, options)
    return verify(program.path, expected, count, tokens, "test tokens")


def copied(program: ProgramFile, path: Path) -> ProgramFile:
    """The same program in another file, which a test may damage."""
    shutil.copyfile(program.path, path)
    result = copy.copy(program)
    result.path = path
    return result


def program_of(options: Options, **changes: Any) -> tuple[Decoder, ProgramFile]:
    """The lowered tiny model of a format, and its program; ``changes`` are those of its shape."""
    return _program_of(options, tuple(sorted(changes.items())))


@functools.cache
def _program_of(options: Options, changes: tuple[tuple[str, Any], ...]) -> tuple[Decoder, ProgramFile]:
    path = Path(tempfile.mkdtemp(prefix="tiny-program-")) / "model.pte"
    return write(build_model(tiny_checkpoint(options.grid, **dict(changes))), options, path)
