"""Export a checkpoint to a verified ExecuTorch program: ``python -m export.to_pte --bits 1.58``.

Writes a directory with model.pte, the tokenizer and manifest.json, after running the program against
eager PyTorch. Without --model it exports the small story model that comes with the package.
"""

from __future__ import annotations

import gc
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rich.console import Console

from edge.checkpoints.checkpoint import Checkpoint
from edge.cli import flag, main_guard, parse_flags
from edge.files import replace_directory
from edge.formats import ALL_BITS, EMBEDDING_BITS_CHOICES, grid_for_bits
from edge.model.chat_template import TEMPLATE_NAME
from edge.model.config import NAMED_MODELS
from edge.model.decoder import Decoder
from edge.ops.kv_layout import head_multiple
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
from export.references import full_precision_logits, full_table_logits, perplexity, references
from export.source import LONGEST_DEFAULT, Source, load_source
from export.summary import print_summary
from export.verify import CacheTooCoarse, verify
from export.weights import ModelWeights

#: Entries of a vocabulary whose embedding and head are 4 bits unless the user says otherwise.
LARGE_VOCABULARY = 65536


@dataclass(frozen=True)
class ExportFlags:
    """Flags of ``python -m export.to_pte``."""

    bits: str = flag(
        f"bits per weight of the linears: {', '.join(f'{b:g}' for b in ALL_BITS)} (16 is half "
        "precision); of a trained checkpoint those it was trained with, linears that --mixed gave others "
        "included; of one that another project quantised those of its codes"
    )
    model: str = flag(
        "'default' (embedded), a directory of Hugging Face, ParetoQ, GPTQ, AWQ or compressed-tensors, or a "
        "hub id; "
        f"with --random-weights one of {', '.join(NAMED_MODELS)}, or a directory with a config.json",
        default="default",
    )
    recipe: str = flag("what computes the linears", default=next(iter(RECIPES)), choices=tuple(RECIPES))
    embedding_bits: int | None = flag(
        "bits of the token embedding and output head; 4 bits have a scale for 32 columns each. Default: "
        f"what they were trained at, else 4 for {LARGE_VOCABULARY} entries or more, which are half of such a "
        f"model's bytes, and {Options.embedding_bits} for fewer",
        default=None,
        choices=EMBEDDING_BITS_CHOICES,
    )
    head_bits: int | None = flag(
        "bits of the output head, if others than the embedding's; then a head that shares the embedding's "
        "weights gets a table of its own; one that another project quantised keeps its codes",
        default=None,
        choices=EMBEDDING_BITS_CHOICES,
    )
    max_seq_len: int | None = flag(
        f"positions of the KV cache; default: the model's, at most {LONGEST_DEFAULT}", default=None
    )
    kv_cache: Literal["auto", "int4", "int8", "fp32"] = flag(
        "how keys and values are held: int8 takes a quarter of the memory and is faster; auto (the default) "
        "is int8 unless that would change the model's logits more than int8 activations do; int4 takes half "
        "of int8's memory, is faster in long contexts, and may cost 1 %% of perplexity",
        default="auto",
    )
    random_weights: bool = flag("export a shape without training, to measure speed", default=False)
    output: Path | None = flag("directory to write; default: exported/MODEL-BITSbit", default=None)


@dataclass(frozen=True)
class Export:
    """Makes one program of a model, by a recipe and the user's options.

    Attributes:
        falls_back: a program whose int8 KV cache would cost too much gets a float32 one instead.
    """

    source: Source
    recipe: Recipe
    options: Options
    steps: Steps
    falls_back: bool = False

    def write(self, output: Path) -> Manifest:
        """Export, verify and write ``output``, which appears whole or not at all.

        Raises:
            ValueError: the model cannot be exported so, or ``output`` cannot be written.
            VerificationError: the program is not the model.
        """
        with replace_directory(checked_output(output), wait=False) as directory:
            path = directory / PROGRAM_NAME
            try:
                export, (lowered, proof) = self, self._program(path)
            except CacheTooCoarse as error:
                if not self.falls_back:
                    raise
                export = replace(self, options=replace(self.options, kv_cache="fp32"))
                lowered, proof = export._program(path)
                proof = proof.model_copy(update={"cache_refused": error.cost})
            manifest = export._manifest(directory, lowered, proof)
            (directory / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2) + "\n")
        return manifest

    def _program(self, path: Path) -> tuple[Decoder, Verification]:
        """Write the program and verify it; returns the lowered model too."""
        model, options, steps = self.source.model, self.options, self.steps
        weights = ModelWeights(self.source.checkpoint, self.source.plan, options.table_grids)
        with steps.step("building the program's graph"):
            lowered = self.recipe.lower(model, weights, options)
            self.recipe.emit(lowered, options, constant_methods(model.config, options.max_seq_len), path)
        program = ProgramFile(path, lowered)
        with steps.weights("packing weights") as advance:
            program.fill(weights, advance)
        return lowered, self._verified(program, weights, lowered)

    def _verified(self, program: ProgramFile, weights: ModelWeights, lowered: Decoder) -> Verification:
        source, steps = self.source, self.steps
        tokens, text = source.verification_tokens()
        with steps.weights("comparing weights") as advance:
            tables = program.check(weights, advance)
        with steps.layers("running PyTorch's model") as done:
            expected = references(source.model, program, lowered, self.recipe, self.options, tokens, done)
        with steps.step("running the program"):
            proof = verify(program.path, expected, tables, tokens, text)
        gc.collect()  # the runtime's program is in a cycle: lets go of its memory before models run again
        if self._rounds_tables_to_4_bits:
            with steps.layers("running the model with its embedding unrounded") as done:
                logits = full_table_logits(source.model, program, weights, tokens, done)
            proof = proof.model_copy(update={"perplexity_tables": perplexity(logits, tokens)})
        if not source.is_rounded:
            return proof
        with steps.layers("running the model before rounding") as done:
            unsliced = replace(weights, checkpoint=source.unsliced)
            before = perplexity(full_precision_logits(source.model, unsliced, tokens, done), tokens)
        return proof.model_copy(update={"perplexity_full_precision": before})

    @property
    def _rounds_tables_to_4_bits(self) -> bool:
        plan, grids = self.source.checkpoint.plan, self.options.table_grids
        return any(grid.bits == 4 and not plan.of_table(name).is_quantized for name, grid in grids.items())

    @property
    def _has_learned_tables(self) -> bool:
        return self.source.checkpoint.plan.embedding_format.is_quantized

    def _manifest(self, directory: Path, lowered: Decoder, proof: Verification) -> Manifest:
        """Copy the tokenizer and the chat template to the directory, and describe all that is there."""
        source, tokenizer, template = self.source, None, None
        if source.tokenizer is not None:
            shutil.copyfile(source.tokenizer.path, directory / source.tokenizer.path.name)
            tokenizer = record_file(directory / source.tokenizer.path.name)
        if source.chat_template is not None:
            (directory / TEMPLATE_NAME).write_text(source.chat_template.text, encoding="utf-8")
            template = record_file(directory / TEMPLATE_NAME)
        return Manifest(
            model=source.name,
            source=source.where,
            weights=source.weights,
            tokenizer=tokenizer,
            chat_template=template,
            markers=source.chat_template.markers if source.chat_template else {},
            verification=proof,
            versions=package_versions(),
            embedding_learned=self._has_learned_tables,
            **option_figures(self.recipe, self.options),
            **format_figures(source.model, source.plan, self.options.grid),
            **program_figures(lowered, record_file(directory / PROGRAM_NAME)),
        ).sealed()


def _default_embedding_bits(checkpoint: Checkpoint) -> int:
    grid = checkpoint.plan.embedding_format
    if grid.is_quantized:
        return int(grid.bits)
    return 4 if checkpoint.config.vocab_size >= LARGE_VOCABULARY else Options.embedding_bits


def _default_head_bits(checkpoint: Checkpoint) -> int | None:
    grid = checkpoint.plan.head_format
    return None if grid is None else int(grid.bits)


def _default_output(source: Source, recipe: Recipe, bits: float) -> Path:
    width = MIXED if source.plan.others else f"{bits:g}bit"
    return Path("exported") / f"{source.name}-{width}{recipe.output_suffix}"


def main(argv: list[str] | None = None) -> int:
    flags = parse_flags(ExportFlags, argv, "export.to_pte", __doc__)
    grid, recipe = grid_for_bits(flags.bits, ALL_BITS), RECIPES[flags.recipe]
    if flags.output is not None:
        checked_output(flags.output)
    source = load_source(flags.model, grid, recipe, flags.random_weights, flags.max_seq_len)
    output = flags.output or _default_output(source, recipe, grid.bits)
    checked_output(output)  # again: the default path is known only now
    embedding_bits = flags.embedding_bits or _default_embedding_bits(source.checkpoint)
    head_bits = flags.head_bits or _default_head_bits(source.checkpoint)
    kv_cache: KVCacheFormat = "int8" if flags.kv_cache == "auto" else flags.kv_cache
    falls_back = flags.kv_cache == "auto"
    if falls_back and (recipe.name == "fp32" or source.checkpoint.config.head_dim % head_multiple(8)):
        kv_cache = "fp32"  # nothing of this recipe is rounded, or int8 keys do not lie evenly in memory
    options = Options(grid, source.max_seq_len, embedding_bits, head_bits, kv_cache)
    with Steps(source.checkpoint.config, Console(stderr=True)) as steps:
        manifest = Export(source, recipe, options, steps, falls_back).write(output)
    print_summary(output, manifest, source.faults)
    return 0


def _command() -> int:
    """Run ``main`` without the collector, which would look at the graph's million objects again and again."""
    gc.disable()
    try:
        return main()
    finally:
        gc.freeze()  # nor does it at the exit, which takes another second


if __name__ == "__main__":
    main_guard(_command)
