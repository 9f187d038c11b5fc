"""``python -m export.compare``: the embedded model at every bit width, side by side, as a Markdown table.

Exports each program, verifies it, then decodes with all of them in turn, round after round, so that a
change of the machine's speed meets every row alike. Held-out perplexity is that of the fake-quantised
model in eager PyTorch, which the exporter has just shown the program to follow.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.progress import track

from edge.cli import main_guard
from edge.formats import BITS_CHOICES, format_for_bits
from edge.manifest import Manifest
from edge.program import Program, set_threads
from edge.training.data import Source, load_blocks
from edge.training.evaluate.language_model import EagerModel
from edge.training.evaluate.perplexity import perplexity
from export.recipes import RECIPES, Options
from export.to_pte import export_to, load_source

PROMPT_TOKENS = 16
#: The last row is the opponent: ExecuTorch's own 4-bit with the same embedding, head and attention.
ROWS = [(bits, "lowbit") for bits in sorted(BITS_CHOICES, reverse=True)] + [(4, "xnnpack-8da4w")]


@dataclass
class Row:
    """One program and what was measured of it; perplexities by data file."""

    manifest: Manifest
    program: Program
    perplexities: list[float]
    decode_tokens_per_second: list[float] = field(default_factory=list)


def prepare(bits: float, recipe_name: str, data: list[str], directory: Path) -> Row:
    """Exports one row's program into ``directory`` and evaluates its model on every data file."""
    fmt, recipe = format_for_bits(bits), RECIPES[recipe_name]
    source = load_source("default", fmt, recipe, random_weights=False)
    output = directory / f"{bits:g}-{recipe_name}"
    config = source.model.config
    manifest = export_to(output, source, Options(recipe, fmt, config.max_seq_len))
    perplexities = []
    if recipe.keeps_grid and source.tokenizer is not None:
        for name in data:
            blocks = load_blocks([Source.parse(name)], source.tokenizer, config, config.max_seq_len)
            perplexities.append(perplexity(EagerModel(source.model), blocks)[0])
    return Row(manifest, Program(output / manifest.program.name), perplexities)


def time_decode(row: Row, tokens: int) -> None:
    """Adds one timing of greedy decoding ``tokens`` tokens after a short prompt."""
    logits = row.program.forward(list(range(3, 3 + PROMPT_TOKENS)), 0)
    started = time.perf_counter()
    for position in range(PROMPT_TOKENS, PROMPT_TOKENS + tokens):
        logits = row.program.forward([int(logits.argmax())], position)
    row.decode_tokens_per_second.append(tokens / (time.perf_counter() - started))


def markdown(rows: list[Row], data: list[str]) -> str:
    four_bit = next(row for row in rows if row.manifest.bits == 4 and row.manifest.recipe == "lowbit")
    names = [f"perplexity, {Path(name).parent.name} {Path(name).stem}" for name in data]
    head = [
        "bits",
        *names,
        "program bytes",
        "bytes / 4-bit",
        "bits per weight",
        "decode tok/s",
        "speed / 4-bit",
    ]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        lines.append("| " + " | ".join(_cells(row, four_bit, len(data))) + " |")
    return "\n".join(lines)


def _cells(row: Row, four_bit: Row, files: int) -> list[str]:
    manifest, base = row.manifest, four_bit.manifest
    ratios = [
        a / b for a, b in zip(row.decode_tokens_per_second, four_bit.decode_tokens_per_second, strict=True)
    ]
    speeds = row.decode_tokens_per_second
    stored = manifest.linear_bits_per_weight
    return [
        f"{manifest.bits:g}" if manifest.recipe == "lowbit" else f"{manifest.bits:g} ({manifest.recipe})",
        *([f"{p:.2f}" for p in row.perplexities] or ["-"] * files),
        f"{manifest.program.bytes:,}",
        f"{manifest.program.bytes / base.program.bytes:.2f}x",
        "-" if stored is None else f"{stored:.2f}",
        f"{statistics.median(speeds):.0f} ({min(speeds):.0f}-{max(speeds):.0f})",
        f"{statistics.median(ratios):.2f}x",
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export.compare", description=__doc__)
    parser.add_argument("--data", nargs="*", default=[], help="held-out text files for perplexity")
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds after one warm-up")
    parser.add_argument("--tokens", type=int, default=200, help="tokens decoded per round")
    parser.add_argument("--threads", type=int, default=1, help="threads of the runtime")
    parser.add_argument("--output", type=Path, help="file for the table; default: standard output only")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if args.rounds < 1 or args.tokens < 1 or args.threads < 1:
        raise ValueError("--rounds, --tokens and --threads must be at least 1")
    with tempfile.TemporaryDirectory() as directory:
        rows = [
            prepare(bits, recipe, args.data, Path(directory))
            for bits, recipe in track(ROWS, "exporting", transient=True)
        ]
        set_threads(args.threads)
        for index in track(range(args.rounds + 1), "timing", transient=True):
            for row in rows:
                time_decode(row, args.tokens)
                if index == 0:
                    row.decode_tokens_per_second.clear()  # warm-up
    table = markdown(rows, args.data) + (
        f"\n\nDecode at context {PROMPT_TOKENS}-{PROMPT_TOKENS + args.tokens}, {args.threads} thread(s): "
        f"median of {args.rounds} interleaved rounds (least-most)."
    )
    print(table)
    if args.output is not None:
        args.output.write_text(table + "\n")
    return 0


if __name__ == "__main__":
    main_guard(main)
