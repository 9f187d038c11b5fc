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
from edge.formats.elastic import ELASTIC_WIDTHS
from edge.formats.slices import PARENT_BITS
from edge.model.chat_template import TEMPLATE_NAME
from edge.model.decoder import Decoder
from edge.model.shapes import SHAPE_WORDS
from edge.ops.kv_layout import head_multiple
from edge.quantizers.embedding import LARGE_VOCABULARY, default_table_bits
from edge.quantizers.nested import PARENT, WIDTHS
from edge.quantizers.plan import MIXED
from edge.runtime.manifest import (
    ELASTIC,
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


@dataclass(frozen=True)
class ExportFlags:
    """Flags of ``python -m export.to_pte``."""

    bits: str = flag(
        f"bits per weight of the linears: {', '.join(f'{b:g}' for b in ALL_BITS)} (16 is half "
        f"precision) or {ELASTIC}, a parent of {PARENT_BITS} bits that runs at any width from 2 on; of a "
        "trained checkpoint those it was trained with, linears that --mixed gave others "
        "included; of one that another project quantised those of its codes"
    )
    model: str = flag(
        "'default' (embedded), a directory of Hugging Face, ParetoQ, GPTQ, AWQ or compressed-tensors, or a "
        "hub id; "
        f"with --random-weights {SHAPE_WORDS}, or a directory with a config.json",
        default="default",
    )
    recipe: str = flag("what computes the linears", default=next(iter(RECIPES)), choices=tuple(RECIPES))
    embedding_bits: int | None = flag(
        "bits of the token embedding and output head; 4 bits have a scale for 32 columns each. Default: "
        f"what they were trained at, else 4 for {LARGE_VOCABULARY} entries or more, which are half of such a "
        "model's bytes, and 8 for fewer",
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
    all_logits: bool = flag(
        "give logits of every token, for edge.runtime.speculation; prefill is slower", default=False
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
                export, (lowered, proofs) = self, self._program(path)
            except CacheTooCoarse as error:
                if not self.falls_back:
                    raise
                export = replace(self, options=replace(self.options, kv_cache="fp32"))
                lowered, proofs = export._program(path)
                proofs = [proof.model_copy(update={"cache_refused": error.cost}) for proof in proofs]
            manifest = export._manifest(directory, lowered, proofs)
            (directory / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2) + "\n")
        return manifest

    def _program(self, path: Path) -> tuple[Decoder, list[Verification]]:
        """Write the program and verify it, at each width if it is elastic; returns the lowered model too."""
        model, options, steps = self.source.model, self.options, self.steps
        weights = ModelWeights(self.source.checkpoint, self.source.plan, options.table_grids)
        with steps.step("building the program's graph"):
            lowered = self.recipe.lower(model, weights, options)
            self.recipe.emit(lowered, options, constant_methods(model.config, options.max_seq_len), path)
        program = ProgramFile(path, lowered)
        with steps.weights("packing weights") as advance:
            program.fill(weights, advance)
        with steps.weights("comparing weights") as advance:
            tables = program.check(weights, advance)
        return lowered, [self._verified(program, weights, lowered, tables, bits) for bits in options.widths]

    def _verified(
        self, program: ProgramFile, weights: ModelWeights, lowered: Decoder, tables: int, bits: int | None
    ) -> Verification:
        """Run the program and the models that it is compared with; ``bits`` is the width if it is elastic."""
        source, steps = self.source, self.steps
        tokens, text = source.verification_tokens()
        at = "" if bits is None else f" at {bits} bits"
        with steps.layers(f"running PyTorch's model{at}") as done:
            expected = references(
                source.model, program, lowered, self.recipe, self.options, tokens, done, bits
            )
        with steps.step(f"running the program{at}"):
            proof = verify(program.path, expected, tables, tokens, text, bits)
        gc.collect()  # the runtime's program is in a cycle: lets go of its memory before models run again
        if self._rounds_tables_to_4_bits:
            with steps.layers("running the model with its embedding unrounded") as done:
                logits = full_table_logits(source.model, program, weights, tokens, done, bits)
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

    def _manifest(self, directory: Path, lowered: Decoder, proofs: list[Verification]) -> Manifest:
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
            verification=proofs[0],
            slices={
                str(bits): proof for bits, proof in zip(self.options.widths[1:], proofs[1:], strict=True)
            },
            versions=package_versions(),
            embedding_learned=self._has_learned_tables,
            **option_figures(self.recipe, self.options),
            **format_figures(source.model, source.plan, self.options.grid, self.options.is_elastic),
            **program_figures(lowered, record_file(directory / PROGRAM_NAME)),
        ).sealed()


def _default_embedding_bits(checkpoint: Checkpoint) -> int:
    grid = checkpoint.plan.embedding_format
    if grid.is_quantized:
        return int(grid.bits)
    return default_table_bits(checkpoint.config.vocab_size)


def _default_head_bits(checkpoint: Checkpoint) -> int | None:
    grid = checkpoint.plan.head_format
    return None if grid is None else int(grid.bits)


def _default_output(source: Source, recipe: Recipe, options: Options) -> Path:
    width = MIXED if source.plan.others else f"{options.grid.bits:g}bit"
    width = ELASTIC if options.is_elastic else width
    return Path("exported") / f"{source.name}-{width}{recipe.output_suffix}"


def _verified_widths(parent: Checkpoint) -> tuple[int, ...]:
    """The widths at which an elastic program is verified: the paper's, and those that it was trained at."""
    trained = () if parent.nesting is None else parent.nesting.widths
    return tuple(sorted({*WIDTHS.widths, *trained} & {*ELASTIC_WIDTHS}, reverse=True))


def main(argv: list[str] | None = None) -> int:
    flags = parse_flags(ExportFlags, argv, "export.to_pte", __doc__)
    recipe, elastic = RECIPES[flags.recipe], flags.bits == ELASTIC
    grid = PARENT if elastic else grid_for_bits(flags.bits, ALL_BITS)
    if elastic and not recipe.has_elastic_ops:
        raise ValueError(f"--bits {ELASTIC} is for --recipe lowbit, whose ops choose a slice when they run")
    if flags.all_logits and not recipe.has_elastic_ops:
        raise ValueError("--all-logits is for --recipe lowbit")
    if flags.output is not None:
        checked_output(flags.output)
    source = load_source(flags.model, grid, recipe, flags.random_weights, flags.max_seq_len, elastic)
    embedding_bits = flags.embedding_bits or _default_embedding_bits(source.checkpoint)
    head_bits = flags.head_bits or _default_head_bits(source.checkpoint)
    kv_cache: KVCacheFormat = "int8" if flags.kv_cache == "auto" else flags.kv_cache
    falls_back = flags.kv_cache == "auto"
    if falls_back and (recipe.name == "fp32" or source.checkpoint.config.head_dim % head_multiple(8)):
        kv_cache = "fp32"  # nothing of this recipe is rounded, or int8 keys do not lie evenly in memory
    widths = _verified_widths(source.checkpoint) if elastic else (None,)
    options = Options(grid, source.max_seq_len, embedding_bits, head_bits, kv_cache, flags.all_logits, widths)
    output = flags.output or _default_output(source, recipe, options)
    checked_output(output)  # again: the default path is known only now
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
