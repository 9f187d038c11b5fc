"""Compare the speed of the data loader with that of a training step.

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
from transformers import TrainingArguments

from edge.checkpoints.convert import build_model
from edge.checkpoints.packed import open_model
from edge.data import PackedBlocks, TokenStream
from edge.data.token_cache import TokenFile
from edge.training.benchmarks.step import Trained, refuse_long_context
from edge.training.loss import NextTokenLoss
from edge.training.trainer import BlockTrainer

TOKENS = 1 << 24
BATCHES_PER_ROUND = 100
#: The loader must be at least this much faster than the step, so that no run waits for it.
WANTED = 10


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="default", help="embedded model, directory or hub id")
    parser.add_argument("--batch-size", type=int, default=8, help="examples per step")


def run(args: argparse.Namespace) -> None:
    checkpoint = open_model(args.model)
    refuse_long_context(args.context, checkpoint.config.max_seq_len)
    model = build_model(checkpoint, args.context)
    with tempfile.TemporaryDirectory() as directory:
        stream = _random_tokens(Path(directory), model.config.vocab_size, TOKENS)
        arguments = TrainingArguments(
            output_dir=directory,
            per_device_train_batch_size=args.batch_size,
            dataloader_pin_memory=False,
            remove_unused_columns=False,
            report_to="none",
            max_steps=(args.rounds + 2) * BATCHES_PER_ROUND,
        )
        blocks = PackedBlocks(stream, args.context)
        trainer = BlockTrainer(NextTokenLoss(model), arguments, train_dataset=blocks)
        loading, steps = _measure(Trained(model), trainer, args.rounds)
    for name, speeds in (("loader", loading), ("step", steps)):
        print(f"{name}: {statistics.median(speeds):,.0f} tokens/s (slowest {min(speeds):,.0f})")
    ratio = statistics.median(a / b for a, b in zip(loading, steps, strict=True))
    where = f"{arguments.device}, {torch.get_num_threads()} threads, batch {args.batch_size} x {args.context}"
    print(f"the loader is {ratio:,.0f}x as fast as the step (at least {WANTED}x wanted); {where}")


def _random_tokens(directory: Path, vocab_size: int, count: int) -> TokenStream:
    ids = np.random.default_rng(0).integers(0, vocab_size, count).astype("<u4")
    path = directory / "random.ids"
    ids.tofile(path)
    return TokenStream([(TokenFile(path, "<u4", count, hashlib.sha256(ids.tobytes()).hexdigest()), count)])


def _measure(model: Trained, trainer: BlockTrainer, rounds: int) -> tuple[list[float], list[float]]:
    """Return tokens/s of loading and of steps, one figure each per round, taken in turn after a warm-up."""
    batches = iter(trainer.get_train_dataloader())
    tokens = next(batches)["tokens"][:, 1:].numel()  # predicted, per batch
    loading, steps = [], []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        for _ in range(BATCHES_PER_ROUND):
            batch = next(batches)
        loading.append(BATCHES_PER_ROUND * tokens / (time.perf_counter() - started))
        steps.append(tokens / model.step(batch["tokens"]))
    return loading[1:], steps[1:]
