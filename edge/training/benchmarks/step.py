"""``python -m edge.training.benchmarks.step``: a quantisation-aware step against a full-precision one.

Steps of all models take turns in one run, on random weights and random tokens: what a step costs does not
depend on either. A step is forward, backward and AdamW.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch
from torch import Tensor
from tqdm import tqdm

from edge.cli import main_guard
from edge.formats import BITS_CHOICES, FULL_PRECISION, format_for_bits
from edge.model.config import NAMED_MODELS
from edge.model.decoder import Decoder
from edge.quantizers.plan import Plan
from edge.quantizers.prepare import prepare_qat
from edge.training.loss import NextTokenLoss

#: A quantisation-aware step may take this many times a full-precision one.
WANTED = 1.25


class Trained:
    """A model and its optimiser."""

    def __init__(self, model: Decoder, compiled: bool, bf16: bool) -> None:
        module = NextTokenLoss(model.train())
        self.optimizer = torch.optim.AdamW(module.parameters(), lr=1e-5)
        # Each on its own: made to serve formats that differ in a constant, the graph cannot be traced.
        self.forward = torch.compile(module, dynamic=False) if compiled else module
        self.bf16 = bf16

    def step(self, tokens: Tensor) -> float:
        """Seconds of one step."""
        started = time.perf_counter()
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.bf16):
            loss = self.forward(tokens)["loss"]
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        loss.item()  # waits for a GPU
        return time.perf_counter() - started


def measure(models: dict[str, Trained], tokens: Tensor, rounds: int) -> dict[str, list[float]]:
    """Seconds per step, one figure of each model per round, after a warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for round_number in tqdm(range(rounds + 1), unit=" rounds", leave=False, disable=None):
        for name, model in models.items():
            taken = model.step(tokens)
            if round_number:
                seconds[name].append(taken)
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edge.training.benchmarks.step",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--shape", default="default", help=f"one of {', '.join(NAMED_MODELS)} (default: %(default)s)")
    low = ",".join(f"{bits:g}" for bits in BITS_CHOICES if bits != FULL_PRECISION.bits)
    add("--bits", default=low, help="bit widths (default: %(default)s)")
    add("--context", type=int, default=512, help="tokens per training example (default: %(default)s)")
    add("--batch-size", type=int, default=4, help="examples per step (default: %(default)s)")
    add("--rounds", type=int, default=9, help="timed rounds after one warm-up (default: %(default)s)")
    add("--compile", action="store_true", help="through torch.compile")
    add("--bf16", action="store_true", help="matrix products in bfloat16 (autocast)")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if min(args.context, args.batch_size, args.rounds) < 1:
        raise ValueError("--context, --batch-size and --rounds must be at least 1")
    if args.shape not in NAMED_MODELS:
        raise ValueError(f"unknown --shape {args.shape}; known are {', '.join(NAMED_MODELS)}")
    config = NAMED_MODELS[args.shape]
    if args.context > config.max_seq_len:
        raise ValueError(f"--context {args.context} is beyond the model's {config.max_seq_len} positions")
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    full = Decoder(config).reset_parameters(0).to(device)
    models = {FULL_PRECISION.name: Trained(copy.deepcopy(full), args.compile, args.bf16)}
    for bits in args.bits.split(","):
        fmt = format_for_bits(bits, BITS_CHOICES)
        models[fmt.name] = Trained(prepare_qat(copy.deepcopy(full), Plan(fmt)), args.compile, args.bf16)
    tokens = torch.randint(config.vocab_size, (args.batch_size, args.context + 1), device=device)
    seconds = measure(models, tokens, args.rounds)
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
    return 0


if __name__ == "__main__":
    main_guard(main)
