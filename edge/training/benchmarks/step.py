"""Compare a quantisation-aware step with a full-precision one.

Steps of all models take turns in one run, on random weights and random tokens: neither changes what a step
costs. A step is forward, backward and AdamW.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch
from torch import Tensor
from tqdm import tqdm

from edge.formats import BITS_CHOICES, FULL_PRECISION, grid_for_bits
from edge.model.config import NAMED_MODELS
from edge.model.decoder import Decoder
from edge.quantizers.plan import Plan
from edge.quantizers.prepare import prepare_qat
from edge.training.loss import NextTokenLoss

#: A quantisation-aware step may take this many times as long as a full-precision one.
WANTED = 1.25


def add_flags(parser: argparse.ArgumentParser) -> None:
    low = ",".join(f"{bits:g}" for bits in BITS_CHOICES if bits != FULL_PRECISION.bits)
    parser.add_argument("--shape", default="default", help=f"one of {', '.join(NAMED_MODELS)}")
    parser.add_argument("--bits", default=low, help="bit widths")
    parser.add_argument("--batch-size", type=int, default=4, help="examples per step")
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    parser.add_argument("--bf16", action="store_true", help="matrix products in bfloat16 (autocast)")


def run(args: argparse.Namespace) -> None:
    if args.shape not in NAMED_MODELS:
        raise ValueError(f"unknown --shape {args.shape}; known are {', '.join(NAMED_MODELS)}")
    config = NAMED_MODELS[args.shape]
    refuse_long_context(args.context, config.max_seq_len)
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    full = Decoder(config, args.context).reset_parameters(0).to(device)
    models = {FULL_PRECISION.name: Trained(copy.deepcopy(full), args.compile, args.bf16)}
    for bits in args.bits.split(","):
        grid = grid_for_bits(bits, BITS_CHOICES)
        models[grid.name] = Trained(prepare_qat(copy.deepcopy(full), Plan(grid)), args.compile, args.bf16)
    tokens = torch.randint(config.vocab_size, (args.batch_size, args.context + 1), device=device)
    seconds = _measure(models, tokens, args.rounds)
    base = seconds[FULL_PRECISION.name]
    for name, taken in seconds.items():
        ratios = [one / full_step for one, full_step in zip(taken, base, strict=True)]
        print(
            f"{name:8} {statistics.median(taken):7.3f} s a step ({min(taken):.3f} to {max(taken):.3f}), "
            f"{statistics.median(ratios):.2f}x full precision ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    how = ", compiled" * args.compile + ", bfloat16" * args.bf16
    print(
        f"at most {WANTED}x wanted; {args.shape}, batch {args.batch_size} x {args.context}, {device.type}, "
        f"{torch.get_num_threads()} threads{how}, {args.rounds} rounds, random weights"
    )


class Trained:
    """A model with its optimiser.

    Args:
        compiled: through torch.compile, a graph for each model: formats differ in constants.
        bf16: matrix products in bfloat16 (autocast).
    """

    def __init__(self, model: Decoder, compiled: bool = False, bf16: bool = False) -> None:
        module = NextTokenLoss(model.train())
        self.optimizer = torch.optim.AdamW(module.parameters(), lr=1e-5)
        self.module = torch.compile(module, dynamic=False) if compiled else module
        self.bf16 = bf16

    def step(self, tokens: Tensor) -> float:
        """Take a step on tokens [B, context + 1] int64; return its seconds."""
        started = time.perf_counter()
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.bf16):
            loss = self.module(tokens)["loss"]
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        loss.item()  # waits for a GPU
        return time.perf_counter() - started


def refuse_long_context(context: int, positions: int) -> None:
    """Raise a ValueError if the model has too few positions."""
    if context > positions:
        raise ValueError(f"--context {context} is beyond the model's {positions} positions")


def _measure(models: dict[str, Trained], tokens: Tensor, rounds: int) -> dict[str, list[float]]:
    """Return seconds per step, one figure per model and round, after a warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in tqdm(range(rounds + 1), unit=" rounds", leave=False, disable=None):
        for name, model in models.items():
            seconds[name].append(model.step(tokens))
    return {name: taken[1:] for name, taken in seconds.items()}
