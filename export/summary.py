"""What the exporter prints: files, sizes, what was proven, speed, and a piece of text."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge.manifest import MANIFEST_NAME, Manifest
from edge.program import open_program
from edge.training.generate import generate, sampler

SAMPLE_PROMPT = "Once upon a time"
SAMPLE_TOKENS = 80


def print_summary(output: Path, manifest: Manifest) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(_files(output, manifest))
    console.print(_sizes(manifest))
    _print_verification(console, manifest)
    _print_warnings(console, manifest)
    _print_sample(console, output, manifest)


def _files(output: Path, manifest: Manifest) -> Table:
    table = Table("file", "bytes", title=f"{manifest.model}, {manifest.format} ({manifest.bits:g} bits), {manifest.weights} weights")
    table.columns[1].justify = "right"
    names = [manifest.program.name, *([manifest.tokenizer.name] if manifest.tokenizer else []), MANIFEST_NAME]
    for name in names:
        table.add_row(str(output / name), f"{(output / name).stat().st_size:,}")
    return table


def _sizes(manifest: Manifest) -> str:
    parts = ", ".join(f"{part} {size:,}" for part, size in manifest.part_bytes.items() if size)
    linears = manifest.linear_bits_per_weight
    per_weight = "" if linears is None else f"linears at {linears:.2f} bits per weight, "
    return f"in the program: {parts} bytes; {per_weight}all of it {manifest.effective_bits_per_weight:.2f} bits per parameter"


def _print_verification(console: Console, manifest: Manifest) -> None:
    v = manifest.verification
    console.print(
        f"verified on {v.tokens} tokens of {v.text}: {v.exact_tables} packed tables equal to the model's weights, bit for bit; "
        f"logits off by {v.program_rms:.2g} rms (bound {v.program_rms_bound:.2g}, logits {v.logit_rms:.2g}); "
        f"prefill against token by token {v.prefill_rms:.2g}; "
        f"perplexity {v.perplexity_program:.3f}, eager PyTorch {v.perplexity_eager:.3f}"
    )


def _print_warnings(console: Console, manifest: Manifest) -> None:
    before = manifest.verification.perplexity_full_precision
    if before is not None and manifest.bits < 16:
        console.print(
            f"[bold yellow]warning:[/] this checkpoint was not trained at {manifest.bits:g} bits; its weights were rounded "
            f"after training, which took perplexity on that text from {before:.3f} to {manifest.verification.perplexity_program:.3f}. "
            f"Train it: python -m edge.training.train --bits {manifest.bits:g} --model {manifest.source}"
        )
    if manifest.weights == "random":
        console.print("[bold yellow]warning:[/] random weights: this program measures speed and size, its text means nothing")


def _print_sample(console: Console, output: Path, manifest: Manifest) -> None:
    _, program, tokenizer = open_program(output)
    config = manifest.config
    if tokenizer is None:
        prompt = list(range(min(16, config["vocab_size"], max(1, program.max_seq_len // 2))))
    else:
        prompt = [config["bos_id"], *tokenizer.encode(SAMPLE_PROMPT)][: program.max_seq_len]
    tokens: list[int] = []
    speed = generate(program, prompt, SAMPLE_TOKENS, sampler(0.0, 1, 0), tuple(config["eos_ids"]), tokens.append)
    console.print(f"speed here, one run: {speed}")
    if tokenizer is not None:
        console.print(f"sample: {tokenizer.decode(prompt + tokens)}", markup=False)
