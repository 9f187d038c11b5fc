"""Export a checkpoint to a verified ExecuTorch program: ``python -m export.to_pte --bits 1.58``.

Writes a directory with model.pte, the tokenizer and manifest.json, after running the program against
eager PyTorch. Without --model it exports the small story model that comes with the package.
"""

from __future__ import annotations

import gc
import shutil
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from edge.checkpoints.checkpoint import Checkpoint
from edge.cli import flag, main_guard, parse_flags
from edge.files import replace_directory
from edge.formats import BITS_CHOICES, EMBEDDING_BITS_CHOICES, grid_for_bits
from edge.model.config import NAMED_MODELS
from edge.model.decoder import Decoder
from edge.quantizers.plan import MIXED
from edge.runtime.manifest import (
    MANIFEST_NAME,
    PROGRAM_NAME,
    KVCacheFormat,
    Manifest,
    Verification,
    record_file,
)
from export.lower import Options
from export.metadata import (
    constant_methods,
    format_figures,
    option_figures,
    package_versions,
    program_figures,
)
from export.output import checked_output
from export.program_file import ProgramFile
from export.progress import Steps
from export.recipes import RECIPES, Recipe
from export.references import full_precision_logits, perplexity, references
from export.source import LONGEST_DEFAULT, Source, load_source
from export.summary import print_summary
from export.verify import verify
from export.weights import ModelWeights


@dataclass(frozen=True)
class ExportFlags:
    """Flags of ``python -m export.to_pte``."""

    bits: str = flag(
        f"bits per weight of the linears: {', '.join(f'{b:g}' for b in BITS_CHOICES)} (16 is half "
        "precision); of a trained checkpoint those it was trained with, linears that --mixed gave others "
        "included"
    )
    model: str = flag(
        "'default' (embedded), a Hugging Face or ParetoQ directory, or a hub id; "
        f"with --random-weights one of {', '.join(NAMED_MODELS)}, or a directory with a config.json",
        default="default",
    )
    recipe: str = flag("what computes the linears", default=next(iter(RECIPES)), choices=tuple(RECIPES))
    embedding_bits: int | None = flag(
        "bits of the token embedding and output head; default: those they were trained at, else "
        f"{Options.embedding_bits}",
        default=None,
        choices=EMBEDDING_BITS_CHOICES,
    )
    max_seq_len: int | None = flag(
        f"positions of the KV cache; default: the model's, at most {LONGEST_DEFAULT}", default=None
    )
    kv_cache: KVCacheFormat = flag(
        "how keys and values are held; int8 takes a quarter of the memory (default %(default)s)",
        default=Options.kv_cache,
    )
    random_weights: bool = flag("export a shape without training, to measure speed", default=False)
    output: Path | None = flag("directory to write; default: exported/MODEL-BITSbit", default=None)


def export_to(
    output: Path, source: Source, recipe: Recipe, options: Options, steps: Steps | None = None
) -> Manifest:
    """Export, verify and write ``output``, which appears whole or not at all."""
    model, steps = source.model, steps or Steps(source.checkpoint.config)
    weights = ModelWeights(source.checkpoint, source.plan, grid_for_bits(options.embedding_bits))
    with replace_directory(checked_output(output), wait=False) as directory:
        path = directory / PROGRAM_NAME
        with steps.step("building the program's graph"):
            lowered = recipe.lower(model, weights, options)
            recipe.emit(lowered, options, constant_methods(model.config, options.max_seq_len), path)
        program = ProgramFile(path, lowered)
        with steps.weights("packing weights") as advance:
            program.fill(weights, advance)
        proof = _verified(program, source, weights, lowered, recipe, options, steps)
        written, record = record_file(path), None
        if source.tokenizer is not None:
            shutil.copyfile(source.tokenizer.path, directory / source.tokenizer.path.name)
            record = record_file(directory / source.tokenizer.path.name)
        manifest = Manifest(
            model=source.name,
            source=source.where,
            weights=source.weights,
            tokenizer=record,
            verification=proof,
            versions=package_versions(),
            embedding_learned=source.checkpoint.plan.embedding_format.is_quantized,
            **option_figures(recipe, options),
            **format_figures(model, source.plan, options.grid),
            **program_figures(lowered, written),
        ).sealed()
        (directory / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2) + "\n")
    return manifest


def _verified(
    program: ProgramFile,
    source: Source,
    weights: ModelWeights,
    lowered: Decoder,
    recipe: Recipe,
    options: Options,
    steps: Steps,
) -> Verification:
    tokens, text = source.verification_tokens()
    with steps.weights("comparing weights") as advance:
        tables = program.check(weights, advance)
    with steps.layers("running PyTorch's model") as done:
        expected = references(source.model, program, lowered, recipe, options, tokens, done)
    with steps.step("running the program"):
        proof = verify(program.path, expected, tables, tokens, text)
    if not source.is_rounded:
        return proof
    with steps.layers("running the model before rounding") as done:
        before = perplexity(full_precision_logits(source.model, weights, tokens, done), tokens)
    return proof.model_copy(update={"perplexity_full_precision": before})


def _default_embedding_bits(checkpoint: Checkpoint) -> int:
    grid = checkpoint.plan.embedding_format
    return int(grid.bits) if grid.is_quantized else Options.embedding_bits


def _default_output(source: Source, recipe: Recipe, bits: float) -> Path:
    width = MIXED if source.plan.others else f"{bits:g}bit"
    return Path("exported") / f"{source.name}-{width}{recipe.output_suffix}"


def main(argv: list[str] | None = None) -> int:
    flags = parse_flags(ExportFlags, argv, "export.to_pte", __doc__)
    gc.disable()  # it would look at the graph's million objects again and again, a second for 125M
    grid, recipe = grid_for_bits(flags.bits, BITS_CHOICES), RECIPES[flags.recipe]
    if flags.output is not None:
        checked_output(flags.output)
    source = load_source(flags.model, grid, recipe, flags.random_weights, flags.max_seq_len)
    output = flags.output or _default_output(source, recipe, grid.bits)
    checked_output(output)  # again: the default path is known only now
    embedding_bits = flags.embedding_bits or _default_embedding_bits(source.checkpoint)
    options = Options(grid, source.max_seq_len, embedding_bits, flags.kv_cache)
    with Steps(source.checkpoint.config, Console(stderr=True)) as steps:
        manifest = export_to(output, source, recipe, options, steps)
    print_summary(output, manifest)
    gc.freeze()  # nothing is collected at the exit either, which takes another second
    return 0


if __name__ == "__main__":
    main_guard(main)
