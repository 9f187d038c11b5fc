"""Generate text from an exported program and print its speed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge.cli import main_guard
from edge.runtime.generate import TextStream, generate, sampler
from edge.runtime.load import open_program


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m edge.runtime", description=__doc__)
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
