"""``python -m edge.training.evaluate``: a table of held-out perplexity, one row per model."""

from __future__ import annotations

import argparse
import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from edge.cli import main_guard
from edge.formats import WeightFormat
from edge.model.mobilellm import MobileLLM
from edge.model.tokenizer import Tokenizer
from edge.quantizers.convert import build_model
from edge.quantizers.packed_checkpoint import open_model
from edge.training.data import PackedBlocks, Source, load_blocks


@dataclass(frozen=True)
class Row:
    """One model's line of the table.

    Attributes:
        perplexities: one per data file, in the order of the command line.
        tokens: predicted tokens, over all files.
        weight_bytes: what the model's weight files take on disk.
    """

    name: str
    fmt: WeightFormat
    perplexities: list[float]
    tokens: int
    weight_bytes: int


@torch.no_grad()
def perplexity(model: MobileLLM, blocks: PackedBlocks, batch_size: int = 8) -> tuple[float, int]:
    """exp of the mean cross entropy (nats) over every predicted token of the blocks, and how many those are.

    Each block predicts all of its tokens but the first, each from those before it in the block.
    """
    total = torch.zeros((), dtype=torch.float64)
    for start in range(0, len(blocks), batch_size):
        tokens = torch.from_numpy(
            blocks.blocks[start : start + batch_size].astype("int64")
        )  # [B, context + 1]
        logits = model(tokens[:, :-1]).float()  # [B, context, V]
        total += F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum").double()
    return math.exp(total.item() / blocks.predicted), blocks.predicted


def evaluate(name: str, data: list[str], context: int | None) -> Row:
    """Perplexity of one model on every file.

    Raises:
        ValueError: the model or a file cannot be read, or the context is beyond the model's positions.
    """
    checkpoint = open_model(name)
    if checkpoint.tokenizer is None:
        raise ValueError(f"{name} has no tokenizer")
    model, tokenizer = build_model(checkpoint), Tokenizer(checkpoint.tokenizer)
    positions = model.config.max_seq_len
    if context is not None and not 1 <= context <= positions:
        raise ValueError(f"--context must lie in 1..{positions} for {name}, not {context}")
    results = [
        perplexity(model, load_blocks([Source.parse(file)], tokenizer, model.config, context or positions))
        for file in data
    ]
    files = checkpoint.tokenizer.parent.glob("*.safetensors")  # the tokenizer lies beside the weights
    size = sum(file.stat().st_size for file in files)
    return Row(name, checkpoint.fmt, [p for p, _ in results], sum(n for _, n in results), size)


def table(rows: list[Row], data: list[str]) -> str:
    """The rows as a Markdown table, with one column per data file."""
    names = ["/".join(Path(Source.parse(name).name).parts[-2:]) for name in data]
    head = ["model", "bits", *(f"perplexity {name}" for name in names), "tokens", "weight bytes"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for row in rows:
        values = [f"{p:.3f}" for p in row.perplexities]
        lines.append([row.name, f"{row.fmt.bits:g}", *values, f"{row.tokens:,}", f"{row.weight_bytes:,}"])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m edge.training.evaluate", description=__doc__)
    parser.add_argument(
        "--model", nargs="+", required=True, help="embedded models, directories or hub ids, a row each"
    )
    parser.add_argument("--data", nargs="+", required=True, help="held-out files, a column each")
    parser.add_argument("--context", type=int, help="tokens per block (default: the model's positions)")
    parser.add_argument("--output", type=Path, help="file for the table, which is printed anyway")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if args.output is not None and not args.output.absolute().parent.is_dir():
        raise ValueError(f"--output {args.output}: there is no directory {args.output.parent}")
    rows = []
    for name in args.model:
        rows.append(evaluate(name, args.data, args.context))
        print(f"{name}: {', '.join(f'{p:.3f}' for p in rows[-1].perplexities)}", flush=True)
    text = table(rows, args.data)
    print("\n" + text, end="")
    if args.output is not None:
        partial = args.output.with_name(args.output.name + ".partial")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, args.output)
    return 0


if __name__ == "__main__":
    main_guard(main)
