"""Decode with a draft of the same program: an experiment in self-speculation with elastic programs.

A narrow slice drafts some tokens, and the parent of 8 bits reads them all in one prefill. It keeps those that
it would have chosen itself and adds one of its own, so the text is that of greedy decoding at 8 bits. Prints
speed against plain decoding at 8 bits, which takes turns with it, and how many drafted tokens were kept.

    python -m export.to_pte --bits elastic --all-logits --model PARENT --output elastic
    python -m edge.runtime.speculation --program elastic
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.cli import flag, main_guard, parse_flags
from edge.formats.slices import PARENT_BITS
from edge.runtime.load import Program, open_program


@dataclass(frozen=True)
class SpeculationFlags:
    """Flags of ``python -m edge.runtime.speculation``."""

    program: Path = flag("elastic program with logits of every token: --bits elastic --all-logits")
    prompt: str = flag("text to continue", default="Once upon a time")
    new_tokens: int = flag("tokens to decode in a run", default=128)
    drafts: str = flag("bits of the drafts, with commas", default="2,3,4")
    lengths: str = flag("tokens of a draft, with commas", default="1,2,4")
    rounds: int = flag("runs of each, in turns; the median counts", default=5)
    threads: int = flag("threads of the runtime", default=1)


@dataclass(frozen=True)
class Drafted:
    """Hold a text that was decoded with drafts.

    Attributes:
        tokens: new ones.
        drafted, kept: tokens that were drafted, and those of them that the parent would have chosen.
    """

    tokens: list[int]
    drafted: int
    kept: int


def greedy(program: Program, prompt: Sequence[int], count: int) -> list[int]:
    """Decode ``count`` tokens behind the prompt, the likeliest each, at the program's width of the moment."""
    tokens = [int(program.forward(list(prompt), 0).argmax())]
    for position in range(len(prompt), len(prompt) + count - 1):
        tokens.append(int(program.forward([tokens[-1]], position).argmax()))
    return tokens


def speculate(program: Program, prompt: Sequence[int], count: int, bits: int, length: int) -> Drafted:
    """Decode the tokens of ``greedy`` at 8 bits with drafts of ``length`` tokens at ``bits``.

    Raises:
        ValueError: the program is not elastic, or gives only the last token's logits.
    """
    program.set_width(PARENT_BITS, keep=True)
    tokens = [int(program.forward(list(prompt), 0).argmax())]
    drafted = kept = 0
    while len(tokens) < count:
        position = len(prompt) + len(tokens) - 1
        wanted = min(length, count - len(tokens) - 1)
        draft = _draft(program, tokens[-1], position, wanted, bits)
        program.set_width(PARENT_BITS, keep=True)
        # The parent's own keys and values replace those of the draft.
        chosen = program.forward_all([tokens[-1], *draft], position).argmax(dim=1).tolist()
        right = next((i for i, token in enumerate(draft) if token != chosen[i]), len(draft))
        tokens += chosen[: right + 1]
        drafted, kept = drafted + len(draft), kept + right
    return Drafted(tokens, drafted, kept)


def _draft(program: Program, token: int, position: int, count: int, bits: int) -> list[int]:
    if count == 0:
        return []
    program.set_width(bits, keep=True)
    draft = [token]
    for at in range(position, position + count):
        draft.append(int(program.forward([draft[-1]], at).argmax()))
    return draft[1:]


def main(argv: list[str] | None = None) -> int:
    flags = parse_flags(SpeculationFlags, argv, "edge.runtime.speculation", str(__doc__))
    manifest, program, tokenizer = open_program(flags.program, flags.threads)
    if tokenizer is None:
        raise ValueError(f"{flags.program} has no tokenizer; it cannot read a prompt")
    prompt = [manifest.config.bos_id, *tokenizer.encode(flags.prompt)]
    if not 2 <= flags.new_tokens <= program.max_seq_len - len(prompt) or flags.rounds < 1:
        raise ValueError(
            f"--new-tokens must lie in 2..{program.max_seq_len - len(prompt)}, and --rounds be at least 1"
        )
    drafts, lengths = _numbers("--drafts", flags.drafts), _numbers("--lengths", flags.lengths)
    print(f"{flags.new_tokens} tokens, medians of {flags.rounds} runs in turns, {flags.threads} threads")
    print("draft bits  draft tokens  kept  tok/s  plain 8 bits  ratio")
    for bits, length in itertools.product(drafts, lengths):
        plain, fast = [], []
        for _ in range(flags.rounds):
            program.set_width(PARENT_BITS, keep=True)
            started = time.perf_counter()
            expected = greedy(program, prompt, flags.new_tokens)
            plain.append(time.perf_counter() - started)
            started = time.perf_counter()
            found = speculate(program, prompt, flags.new_tokens, bits, length)
            fast.append(time.perf_counter() - started)
            if found.tokens != expected:
                raise ValueError("the speculated text is not that of greedy decoding; this is a bug")
        speeds = [flags.new_tokens / statistics.median(times) for times in (fast, plain)]
        share = found.kept / max(found.drafted, 1)
        ratio = speeds[0] / speeds[1]
        print(f"{bits:10}  {length:12}  {share:4.0%}  {speeds[0]:5.0f}  {speeds[1]:12.0f}  {ratio:.2f}")
    return 0


def _numbers(name: str, text: str) -> list[int]:
    words = text.split(",")
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise ValueError(f"{name} takes whole numbers with commas, not {text!r}")
    return [int(word) for word in words]


if __name__ == "__main__":
    main_guard(main)
