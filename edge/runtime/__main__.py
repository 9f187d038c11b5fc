"""Generate text from an exported program, or talk with it, and print its speed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from edge.cli import flag, main_guard, parse_flags
from edge.runtime.chat import Chat
from edge.runtime.generate import TextStream, generate, sampler
from edge.runtime.load import chat_template_of, open_program


@dataclass(frozen=True)
class GenerateFlags:
    """Flags of ``python -m edge.runtime``."""

    program: Path = flag("directory that export.to_pte wrote")
    prompt: str = flag("text to continue", default="Once upon a time")
    chat: bool = flag("talk with the model: each line of standard input is a message", default=False)
    system: str | None = flag("with --chat, what the model is told first", default=None)
    max_new_tokens: int = flag("stop after this many tokens", default=200)
    temperature: float = flag("0 is greedy; 0.8 is livelier", default=0.0)
    top_k: int = flag("sample among this many best tokens", default=40)
    seed: int = flag("seed of the sampling", default=0)
    threads: int | None = flag("threads of the runtime; default: every core", default=None)
    width: str | None = flag(
        "bits of an elastic program, 2 to 8, or one number for each layer with commas; default: 8",
        default=None,
    )

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.top_k < 1:
            raise ValueError("--max-new-tokens and --top-k must be at least 1")
        if not self.temperature >= 0:
            raise ValueError(f"--temperature must be 0 or more, not {self.temperature}")
        if self.system is not None and not self.chat:
            raise ValueError("--system is for --chat")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"--seed must lie in 0..2^63 - 1, not {self.seed}")


def main(argv: list[str] | None = None) -> int:
    args = parse_flags(GenerateFlags, argv, "edge.runtime", __doc__)
    manifest, program, tokenizer = open_program(args.program, args.threads)
    if args.width is not None:
        program.set_width(_widths(args.width))
    if tokenizer is None:
        raise ValueError(
            f"{args.program} has no tokenizer (its weights are {manifest.weights}); it cannot read a prompt"
        )
    pick = sampler(args.temperature, args.top_k, args.seed)
    if args.chat:
        template = chat_template_of(args.program, manifest)
        _talk(Chat(program, manifest, tokenizer, template, pick, args.system), args.max_new_tokens)
        return 0
    prompt = [manifest.config.bos_id, *tokenizer.encode(args.prompt)]
    if len(prompt) > program.max_seq_len:
        raise ValueError(f"the prompt has {len(prompt)} tokens, the program takes {program.max_seq_len}")
    stream = TextStream(tokenizer, prompt)
    print(args.prompt, end="", flush=True)
    speed = generate(
        program,
        prompt,
        args.max_new_tokens,
        pick,
        manifest.config.eos_ids,
        lambda token: print(stream.add(token), end="", flush=True),
    )
    print()
    print(f"{speed}; single run", file=sys.stderr)
    return 0


def _widths(text: str) -> int | list[int]:
    """Read one number, or several with commas."""
    words = text.split(",")
    if not all(word.isdecimal() for word in words):
        raise ValueError(f"--width takes whole numbers with commas, not {text!r}")
    return int(text) if len(words) == 1 else [int(word) for word in words]


def _talk(chat: Chat, max_new_tokens: int) -> None:
    """Answer each line of standard input, until it ends."""
    asks = sys.stdin.isatty()
    while True:
        if asks:
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if not line.strip():
            continue
        speed = chat.say(line.rstrip("\n"), max_new_tokens, lambda piece: print(piece, end="", flush=True))
        print()
        print(f"{speed}; {len(chat.cached)} of {chat.program.max_seq_len} positions in use", file=sys.stderr)


if __name__ == "__main__":
    main_guard(main)
