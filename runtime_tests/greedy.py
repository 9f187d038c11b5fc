"""Greedy continuations as a list, for comparing runtimes."""

from __future__ import annotations

from edge.runtime.generate import generate, sampler
from edge.runtime.load import Program


def greedy_tokens(program: Program, prompt: list[int], count: int, eos: int | None = None) -> list[int]:
    tokens: list[int] = []
    ends = () if eos is None else (eos,)
    generate(program, prompt, count, sampler(0.0, 1, 0), ends, tokens.append)
    return tokens
