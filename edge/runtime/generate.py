"""Generate text from a loaded program: sampling, streaming and speed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from edge.model.tokenizer import Tokenizer
from edge.runtime.load import Program


@dataclass(frozen=True)
class Speed:
    """The speed of one generation; a single run is no benchmark."""

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
    """Make a function that picks a token of logits [vocab]: the best at temperature 0, else of ``top_k``."""
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
    start: int = 0,
) -> Speed:
    """Prefill the prompt, then decode until an end token, ``max_new_tokens``, or the end of the cache.

    Args:
        start: tokens in front of the prompt that the KV cache holds already.
    """
    started = time.perf_counter()
    logits = program.forward(prompt, start)
    prefilled = time.perf_counter()
    decoded, end = 0, start + len(prompt)
    for position in range(end, end + max_new_tokens):
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
    """Turn tokens into text piece by piece; bytes of an incomplete character wait for the rest."""

    def __init__(self, tokenizer: Tokenizer, prompt: list[int]) -> None:
        self.tokenizer = tokenizer
        self.tokens = list(prompt)
        self.shown = len(tokenizer.decode(prompt))

    def add(self, token: int) -> str:
        """The text that a token adds."""
        self.tokens.append(token)
        text = self.tokenizer.decode(self.tokens)
        if text.endswith("\ufffd"):
            return ""
        piece, self.shown = text[self.shown :], len(text)
        return piece
