"""``python -m edge.training.benchmarks.loader``: speed of loading blocks against a training step.

The loader is the one that training uses, over random ids in a token file; the file is in the system's cache.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import Trainer, TrainingArguments

from edge.checkpoints.convert import build_model
from edge.checkpoints.packed import open_model
from edge.cli import main_guard
from edge.data import PackedBlocks, TokenStream
from edge.data.token_cache import TokenFile
from edge.training.loss import NextTokenLoss
from edge.training.progress import ReportingTrainer

TOKENS = 1 << 24
BATCHES_PER_ROUND = 100
#: The loader must be at least this much faster than the step, so that it never is what a run waits for.
WANTED = 10


def random_tokens(directory: Path, vocab_size: int, count: int) -> TokenStream:
    """A stream of ``count`` random ids in a file of its own."""
    ids = np.random.default_rng(0).integers(0, vocab_size, count).astype("<u4")
    path = directory / "random.ids"
    ids.tofile(path)
    return TokenStream([(TokenFile(path, "<u4", count, hashlib.sha256(ids.tobytes()).hexdigest()), count)])


def measure(model: NextTokenLoss, trainer: Trainer, rounds: int) -> tuple[list[float], list[float]]:
    """Tokens/s of loading and of steps, one figure of each per round, taken in turn after a warm-up."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    batches = iter(trainer.get_train_dataloader())
    tokens = next(batches)["tokens"][:, 1:].numel()  # predicted, per batch
    loading, steps = [], []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        for _ in range(BATCHES_PER_ROUND):
            batch = next(batches)
        loaded = time.perf_counter()
        loss = model(**batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # waits for a GPU
        stepped = time.perf_counter()
        loading.append(BATCHES_PER_ROUND * tokens / (loaded - started))
        steps.append(tokens / (stepped - loaded))
    return loading[1:], steps[1:]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m edge.training.benchmarks.loader", description=__doc__)
    parser.add_argument("--model", default="default", help="embedded model, directory or hub id")
    parser.add_argument("--context", type=int, default=512, help="tokens per training example")
    parser.add_argument("--batch-size", type=int, default=8, help="examples per step")
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds after one warm-up")
    args = parser.parse_args(argv)
    if min(args.context, args.batch_size, args.rounds) < 1:
        raise ValueError("--context, --batch-size and --rounds must be at least 1")
    model = build_model(open_model(args.model)).train()
    if args.context > model.config.max_seq_len:
        raise ValueError(
            f"--context {args.context} is beyond the model's {model.config.max_seq_len} positions"
        )
    with tempfile.TemporaryDirectory() as directory:
        stream = random_tokens(Path(directory), model.config.vocab_size, TOKENS)
        arguments = TrainingArguments(
            output_dir=directory,
            per_device_train_batch_size=args.batch_size,
            dataloader_pin_memory=False,
            remove_unused_columns=False,
            report_to="none",
            max_steps=(args.rounds + 2) * BATCHES_PER_ROUND,
        )
        module = NextTokenLoss(model)
        trainer = ReportingTrainer(module, arguments, train_dataset=PackedBlocks(stream, args.context))
        loading, steps = measure(module, trainer, args.rounds)
    for name, speeds in (("loader", loading), ("step", steps)):
        print(f"{name}: {statistics.median(speeds):,.0f} tokens/s (slowest {min(speeds):,.0f})")
    ratio = statistics.median(a / b for a, b in zip(loading, steps, strict=True))
    where = f"{arguments.device}, {torch.get_num_threads()} threads, batch {args.batch_size} x {args.context}"
    print(f"the loader is {ratio:,.0f}x as fast as the step (at least {WANTED}x wanted); {where}")
    return 0


if __name__ == "__main__":
    main_guard(main)
