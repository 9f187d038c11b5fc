"""``python -m edge.training.generate --program DIR``: text from an exported program, and tokens/s."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from edge.cli import main_guard
from edge.model.tokenizer import Tokenizer
from edge.program import Program, open_program


@dataclass(frozen=True)
class Speed:
    """One generation, timed; a single run, so a first impression and not a benchmark."""

    prompt_tokens: int
    prefill_seconds: float
    decoded_tokens: int
    decode_seconds: float

    @property
    def prefill_tokens_per_second(self) -> float:
        return self.prompt_tokens / self.prefill_seconds

    @property
    def decode_tokens_per_second(self) -> float:
        return self.decoded_tokens / self.decode_seconds

    def __str__(self) -> str:
        text = f"prefill {self.prefill_tokens_per_second:.0f} tok/s ({self.prompt_tokens} tokens)"
        if self.decoded_tokens:
            text += f", decode {self.decode_tokens_per_second:.0f} tok/s ({self.decoded_tokens} tokens)"
        return text


def sampler(temperature: float, top_k: int, seed: int) -> Callable[[Tensor], int]:
    """Picks a token from logits [vocab]: the best at temperature 0, else by chance of the ``top_k`` best."""
    if temperature == 0:
        return lambda logits: int(logits.argmax())
    generator = torch.Generator().manual_seed(seed)

    def sample(logits: Tensor) -> int:
        best = logits.topk(min(top_k, logits.numel()))
        below = best.values.double() - best.values.max()  # at most 0, so that no temperature overflows
        probabilities = (below / temperature).softmax(dim=0)
        return int(best.indices[torch.multinomial(probabilities, 1, generator=generator)])

    return sample


def generate(
    program: Program,
    prompt: list[int],
    max_new_tokens: int,
    pick: Callable[[Tensor], int],
    eos_ids: tuple[int, ...],
    on_token: Callable[[int], None],
) -> Speed:
    """Prefills the prompt, then decodes until an end token, ``max_new_tokens``, or the end of the cache."""
    started = time.perf_counter()
    logits = program.forward(prompt, 0)
    prefilled = time.perf_counter()
    decoded = 0
    for position in range(len(prompt), len(prompt) + max_new_tokens):
        token = pick(logits)
        if token in eos_ids:
            break
        on_token(token)
        if position >= program.max_seq_len:
            break
        logits = program.forward([token], position)
        decoded += 1
    return Speed(len(prompt), prefilled - started, decoded, time.perf_counter() - prefilled)


class TextStream:
    """Turns tokens into text piece by piece; holds back bytes of a character that is not complete yet."""

    def __init__(self, tokenizer: Tokenizer, prompt: list[int]) -> None:
        self.tokenizer = tokenizer
        self.tokens = list(prompt)
        self.shown = len(tokenizer.decode(prompt))

    def add(self, token: int) -> str:
        self.tokens.append(token)
        text = self.tokenizer.decode(self.tokens)
        if text.endswith("\ufffd"):
            return ""
        piece, self.shown = text[self.shown :], len(text)
        return piece


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m edge.training.generate", description=__doc__)
    parser.add_argument("--program", type=Path, required=True, help="directory that export.to_pte wrote")
    parser.add_argument("--prompt", default="Once upon a time", help="text to continue")
    parser.add_argument("--max-new-tokens", type=int, default=200, help="stop after this many tokens")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy; 0.8 is livelier")
    parser.add_argument("--top-k", type=int, default=40, help="sample among this many best tokens")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sampling")
    parser.add_argument("--threads", type=int, help="threads of the runtime; default: every core")
    return parser


def _checked(args: argparse.Namespace) -> argparse.Namespace:
    if args.max_new_tokens < 1 or args.top_k < 1:
        raise ValueError("--max-new-tokens and --top-k must be at least 1")
    if not args.temperature >= 0:
        raise ValueError(f"--temperature must be 0 or more, not {args.temperature}")
    if not 0 <= args.seed < 2**63:
        raise ValueError(f"--seed must lie in 0..2^63 - 1, not {args.seed}")
    return args


def main(argv: list[str] | None = None) -> int:
    args = _checked(_parser().parse_args(argv))
    manifest, program, tokenizer = open_program(args.program, args.threads)
    if tokenizer is None:
        raise ValueError(
            f"{args.program} has no tokenizer (its weights are {manifest.weights}); it cannot read a prompt"
        )
    prompt = [manifest.config["bos_id"], *tokenizer.encode(args.prompt)]
    if len(prompt) > program.max_seq_len:
        raise ValueError(f"the prompt has {len(prompt)} tokens, the program takes {program.max_seq_len}")
    stream = TextStream(tokenizer, prompt)
    print(args.prompt, end="", flush=True)
    speed = generate(
        program,
        prompt,
        args.max_new_tokens,
        sampler(args.temperature, args.top_k, args.seed),
        tuple(manifest.config["eos_ids"]),
        lambda token: print(stream.add(token), end="", flush=True),
    )
    print()
    print(f"{speed}; single run", file=sys.stderr)
    return 0


if __name__ == "__main__":
    main_guard(main)
