"""``python -m export.to_pte --bits 1.58``: a checkpoint to a verified ExecuTorch program.

Writes a directory with model.pte, the tokenizer and manifest.json, after running the program against
eager PyTorch. Without --model it exports the small story model that comes with the package.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from rich.console import Console

from edge.checkpoints.convert import build_model, format_of, plan_of, prepare_qat
from edge.checkpoints.hugging_face import Checkpoint
from edge.checkpoints.packed import ASSETS, open_model, refuse_shadowed
from edge.cli import main_guard
from edge.formats import BITS_CHOICES, EMBEDDING_BITS_CHOICES, FULL_PRECISION, WeightFormat, format_for_bits
from edge.model.config import MOBILELLM, NAMED_MODELS, ModelConfig
from edge.model.decoder import Decoder
from edge.model.tokenizer import Tokenizer
from edge.quantizers.plan import MIXED, Plan
from edge.runtime.manifest import (
    MANIFEST_NAME,
    PROGRAM_NAME,
    KVCacheFormat,
    Manifest,
    Verification,
    Weights,
    record_file,
)
from export.metadata import (
    constant_methods,
    format_figures,
    option_figures,
    package_versions,
    program_figures,
)
from export.output import checked_output, staging
from export.program import to_program
from export.recipes import RECIPES, Options, Recipe, lower
from export.summary import print_summary
from export.verify import MAX_TOKENS, check_tables, eager_logits, perplexity, reference_models, verify

RANDOM_SEED = 0


@dataclass(frozen=True)
class Source:
    """A checkpoint ready for export, and what to say about it."""

    name: str
    where: str
    weights: Weights
    model: Decoder
    tokenizer: Tokenizer | None
    full_precision: Decoder | None = None  # before rounding, where the weights were rounded after training


def load_source(name: str, fmt: WeightFormat, recipe: Recipe, random_weights: bool) -> Source:
    """The model to export, on the grid it will run on where the recipe keeps grids.

    Raises:
        ValueError: no such model, or one that was trained at another bit width.
    """
    if random_weights:
        if name not in NAMED_MODELS:
            raise ValueError(f"--random-weights needs one of {', '.join(NAMED_MODELS)}, not {name}")
        random_model = Decoder(NAMED_MODELS[name]).reset_parameters(RANDOM_SEED).eval()
        return Source(name, "random weights", "random", _on_grid(random_model, fmt, recipe), None)
    if name in MOBILELLM:
        raise ValueError(
            f"no trained weights of MobileLLM {name} come with the package: give a directory or hub id, "
            "or add --random-weights to measure speed and size"
        )
    if name == "default":
        refuse_shadowed(name)
    checkpoint = open_model(_embedded(fmt, recipe) if name == "default" else name)
    tokenizer = _tokenizer_of(checkpoint)
    label = name if name == "default" else Path(name).resolve().name
    model = build_model(checkpoint)
    if checkpoint.plan.default is fmt:
        return Source(label, name, "trained", model, tokenizer)
    if checkpoint.plan.is_quantized:
        raise ValueError(
            f"{name} was trained at {checkpoint.plan}, and its learned grids are kept: "
            f"export it with --bits {checkpoint.plan.default.bits:g}"
        )
    full_precision = build_model(checkpoint)
    return Source(
        label, name, "rounded after training", _on_grid(model, fmt, recipe), tokenizer, full_precision
    )


def export_to(output: Path, source: Source, options: Options) -> Manifest:
    """Exports, verifies and writes ``output``, which appears whole or not at all."""
    model, max_seq_len = source.model, options.max_seq_len
    lowered = lower(model, options)
    buffer = to_program(lowered, options, constant_methods(model.config, max_seq_len))
    with staging(output) as directory:
        path = directory / PROGRAM_NAME
        path.write_bytes(buffer)
        del buffer
        proof = _verified(path, source, lowered, options)
        record = None
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
            embedding_learned=format_of(model.embed_tokens).is_quantized,
            **option_figures(options),
            **format_figures(lowered, options.fmt),
            **program_figures(lowered, record_file(path)),
        ).sealed()
        (directory / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2) + "\n")
    return manifest


def _verified(path: Path, source: Source, lowered: Decoder, options: Options) -> Verification:
    tokens, text = _verification_tokens(source, options.max_seq_len)
    tables = check_tables(source.model, lowered, path)
    proof = verify(path, reference_models(source.model, lowered, options), tables, tokens, text)
    if source.full_precision is None:
        return proof
    before = perplexity(eager_logits(source.full_precision, tokens), tokens)
    return proof.model_copy(update={"perplexity_full_precision": before})


def _embedded(fmt: WeightFormat, recipe: Recipe) -> str:
    bits = fmt.bits if recipe.keeps_grid else FULL_PRECISION.bits
    return f"default/{bits:g}bit"


def _on_grid(model: Decoder, fmt: WeightFormat, recipe: Recipe) -> Decoder:
    return prepare_qat(model, Plan(fmt)) if fmt.is_quantized and recipe.keeps_grid else model


def _tokenizer_of(checkpoint: Checkpoint) -> Tokenizer | None:
    return None if checkpoint.tokenizer is None else Tokenizer(checkpoint.tokenizer)


def _verification_tokens(source: Source, max_seq_len: int) -> tuple[list[int], str]:
    config = source.model.config
    count = min(MAX_TOKENS, max_seq_len)
    if source.tokenizer is None:
        import torch

        generator = torch.Generator().manual_seed(RANDOM_SEED)
        return torch.randint(config.vocab_size, (count,), generator=generator).tolist(), "random tokens"
    sample = (ASSETS / "sample.txt").read_text(encoding="utf-8")
    return [config.bos_id, *source.tokenizer.encode(sample)][:count], "edge/assets/sample.txt"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export.to_pte",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bits = ", ".join(f"{b:g}" for b in BITS_CHOICES)
    parser.add_argument(
        "--bits",
        required=True,
        help=f"bits per weight of the linears: {bits} (16 is half precision); of a trained checkpoint those "
        "it was trained with, linears that --mixed gave others included",
    )
    parser.add_argument(
        "--model",
        default="default",
        help="'default' (embedded), a Hugging Face or ParetoQ directory, or a hub id; "
        f"with --random-weights one of {', '.join(NAMED_MODELS)}",
    )
    parser.add_argument(
        "--recipe", default="lowbit", choices=tuple(RECIPES), help="what computes the linears"
    )
    parser.add_argument(
        "--embedding-bits",
        type=int,
        choices=EMBEDDING_BITS_CHOICES,
        help="bits of the token embedding and output head; default: those they were trained at, else "
        f"{Options.embedding_bits}",
    )
    parser.add_argument(
        "--max-seq-len", type=int, help="positions of the KV cache; default: the model's, at most 2048"
    )
    parser.add_argument(
        "--kv-cache",
        default=Options.kv_cache,
        choices=get_args(KVCacheFormat),
        help="how keys and values are held; int8 takes a quarter of the memory (default %(default)s)",
    )
    parser.add_argument(
        "--random-weights", action="store_true", help="export a shape without training, to measure speed"
    )
    parser.add_argument("--output", type=Path, help="directory to write; default: exported/MODEL-BITSbit")
    return parser


def _trained_embedding_bits(model: Decoder) -> int:
    """Those of the embedding's learned grid, or the default where it has none."""
    fmt = format_of(model.embed_tokens)
    return int(fmt.bits) if fmt.is_quantized else Options.embedding_bits


def _checked_max_seq_len(wanted: int | None, config: ModelConfig) -> int:
    if wanted is None:
        return min(config.max_seq_len, 2048)
    if not 1 <= wanted <= config.max_seq_len:
        raise ValueError(f"--max-seq-len must lie in 1..{config.max_seq_len} for this model, not {wanted}")
    return wanted


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    fmt = format_for_bits(args.bits, BITS_CHOICES)
    recipe = RECIPES[args.recipe]
    if args.output is not None:
        checked_output(args.output)
    console = Console(stderr=True)
    with console.status(f"exporting {args.model} at {fmt.bits:g} bits"):
        source = load_source(args.model, fmt, recipe, args.random_weights)
        refusal = recipe.refuses(source.model, fmt)
        if refusal:
            raise ValueError(f"--recipe {recipe.name} {refusal}")
        max_seq_len = _checked_max_seq_len(args.max_seq_len, source.model.config)
        suffix = "" if recipe.name == "lowbit" else f"-{recipe.name}"
        width = MIXED if plan_of(source.model).others else f"{fmt.bits:g}bit"
        output = args.output or Path("exported") / f"{source.name}-{width}{suffix}"
        checked_output(output)  # again: the default path is known only now
        embedding_bits = args.embedding_bits or _trained_embedding_bits(source.model)
        options = Options(recipe, fmt, max_seq_len, embedding_bits, args.kv_cache)
        manifest = export_to(output, source, options)
    print_summary(output, manifest)
    return 0


if __name__ == "__main__":
    main_guard(main)
