"""Print the summary of an export: files, sizes, verification, speed, and a sample of text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge.runtime.generate import generate, sampler
from edge.runtime.load import open_program
from edge.runtime.manifest import MANIFEST_NAME, Manifest

SAMPLE_PROMPT = "Once upon a time"
SAMPLE_TOKENS = 80
#: Share of perplexity that int8 activations may cost without a warning.
ACTIVATIONS_MARGIN = 0.01


def print_summary(output: Path, manifest: Manifest, faults: Sequence[str] = ()) -> None:
    """Print the summary to standard output.

    Args:
        faults: what was wrong with the model's files and left out.
    """
    speed, sample = _try_out(output, manifest)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")  # a long path stays whole, to be copied
    rows = [
        (
            "model",
            f"{manifest.model}, {manifest.bits:g} bits ({manifest.format}), {manifest.weights} weights",
        ),
        *_file_rows(output, manifest),
        (
            "in the program",
            ", ".join(f"{part} {size:,}" for part, size in manifest.part_bytes.items() if size),
        ),
        ("stored bits", _stored_bits(manifest)),
        ("embedding", _embedding(manifest)),
        ("activations", _activations(manifest)),
        ("KV cache", _kv_cache(manifest)),
        ("verified", _verification(manifest)),
        ("speed here", f"{speed}; one run"),
    ]
    for name, text in rows:
        grid.add_row(name, Text(text))
    console = Console(highlight=False, soft_wrap=True)
    console.print(grid)
    for warning in (*_warnings(manifest), *faults):
        console.print(Text.assemble(("warning: ", "bold yellow"), warning))
    if sample:
        console.print(Text(f"\n{sample}"))


def _file_rows(output: Path, manifest: Manifest) -> list[tuple[str, str]]:
    files = {"program": manifest.program.name}
    if manifest.tokenizer is not None:
        files["tokenizer"] = manifest.tokenizer.name
    files["manifest"] = MANIFEST_NAME
    return [
        (what, f"{output / name}  {(output / name).stat().st_size:,} bytes") for what, name in files.items()
    ]


def _stored_bits(manifest: Manifest) -> str:
    linears = manifest.linear_bits_per_weight
    in_linears = "" if linears is None else f"{linears:.2f} per weight of the linears, "
    return f"{in_linears}{manifest.effective_bits_per_weight:.2f} per parameter of the model, all included"


def _embedding(manifest: Manifest) -> str:
    bits, head = manifest.embedding_bits, manifest.head_bits
    text = f"{bits} bits" if bits == head else f"{bits} bits, head {head} bits"
    before, v = manifest.verification.perplexity_tables, manifest.verification
    if before is None:
        return text
    return f"{text}; rounding it took perplexity there from {before:.3f} to {v.perplexity_eager:.3f}"


def _activations(manifest: Manifest) -> str:
    cost = manifest.verification.activations
    if cost is None or cost.rms == 0:
        return "float32"
    return (
        f"int8; by itself it moves logits by rms {cost.rms:.2g} and perplexity from "
        f"{manifest.verification.perplexity_eager:.3f} to {cost.perplexity:.3f}"
    )


def _kv_cache(manifest: Manifest) -> str:
    size = f"{manifest.kv_cache}, {manifest.kv_cache_bytes:,} bytes for {manifest.max_seq_len} positions"
    cost, refused = manifest.verification.cache, manifest.verification.cache_refused
    if refused is not None:
        return (
            f"{size}; int8 would move logits by rms {refused.rms:.2g} (int8 activations: "
            f"{refused.rms_bound:.2g}) and perplexity to {refused.perplexity:.3f}"
        )
    if cost is None:
        return size
    return (
        f"{size}; by itself it moves logits by rms {cost.rms:.2g} (bound {cost.rms_bound:.2g}) and "
        f"perplexity to {cost.perplexity:.3f}"
    )


def _verification(manifest: Manifest) -> str:
    v = manifest.verification
    return (
        f"{v.exact_tables} packed tables equal to the model's weights, bit for bit\n"
        f"logits on {v.tokens} tokens of {v.text}: rms {v.logit_rms:.3g}, off by {v.program_rms:.2g} "
        f"(bound {v.program_rms_bound:.2g}); prefill against token by token {v.prefill_rms:.2g}\n"
        f"perplexity there {v.perplexity_program:.3f}, eager PyTorch {v.perplexity_eager:.3f}"
    )


def _warnings(manifest: Manifest) -> list[str]:
    warnings = []
    before, after = manifest.verification.perplexity_full_precision, manifest.verification.perplexity_program
    if before is not None and manifest.weights == "sliced":
        warnings.append(
            f"{manifest.bits:g} bits are a slice of 8 that was not trained; it took perplexity there from "
            f"{before:.3f} to {after:.3f}. Training at several widths: --method matquant of edge.training"
        )
    elif before is not None:
        warnings.append(
            f"this checkpoint was not trained at {manifest.bits:g} bits; rounding it took perplexity there "
            f"from {before:.3f} to {after:.3f}. Training at that width: python -m edge.training --help"
        )
    cost = manifest.verification.activations
    if cost is not None and cost.perplexity_ratio > 1 + ACTIVATIONS_MARGIN and manifest.weights != "random":
        warnings.append(
            f"int8 activations alone raise perplexity there by {cost.perplexity_ratio - 1:.1%}; smooth the "
            "full-precision model before its weights are rounded: python -m edge.quantize --smooth"
        )
    if manifest.weights == "random":
        warnings.append("random weights: this program measures speed and size, its text means nothing")
    return warnings


def _try_out(output: Path, manifest: Manifest) -> tuple[str, str]:
    """Speed of one greedy generation, and its text if there is a tokenizer."""
    _, program, tokenizer = open_program(output)
    config = manifest.config
    if tokenizer is None:
        prompt = list(range(min(16, config.vocab_size)))
    else:
        prompt = [config.bos_id, *tokenizer.encode(SAMPLE_PROMPT)]
    prompt = prompt[: program.max_seq_len]
    tokens: list[int] = []
    speed = generate(program, prompt, SAMPLE_TOKENS, sampler(0.0, 1, 0), config.eos_ids, tokens.append)
    return str(speed), "" if tokenizer is None else tokenizer.decode(prompt + tokens)
