"""Score texts with a model in eager PyTorch or with an exported program."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from edge.model.decoder import Decoder
from edge.model.tokenizer import Tokenizer
from edge.runtime.load import Program

#: Tokens, padding included, that eager PyTorch takes at a time.
BATCH_TOKENS = 4096
#: Rows of logits at a time; with a vocabulary of 128,000 these take 128 MiB.
HEAD_ROWS = 256


class Continuation(NamedTuple):
    """Tokens to score, after a context of at least one token."""

    context: list[int]
    tokens: list[int]

    @property
    def fed(self) -> list[int]:
        """Return the tokens that a model must read: all but the last."""
        return [*self.context, *self.tokens][:-1] if self.tokens else self.context


class Score(NamedTuple):
    """Score of a continuation.

    Attributes:
        log_probabilities: float64 [len(tokens)], natural logarithms, each given all tokens before it.
        is_greedy: every token is the most probable one.
    """

    log_probabilities: Tensor
    is_greedy: bool

    @property
    def total(self) -> float:
        return float(self.log_probabilities.sum())


class LanguageModel(ABC):
    """A model that gives probabilities to tokens.

    Attributes:
        positions: the most tokens it can read at once.
    """

    positions: int

    @abstractmethod
    def scores(self, continuations: Iterable[Continuation]) -> Iterator[Score]:
        """Score each in order; none may be longer than ``positions``."""


class EagerModel(LanguageModel):
    """A model in eager PyTorch, on the accelerator where there is one; its RoPE tables grow as texts ask."""

    def __init__(self, model: Decoder) -> None:
        self.positions = model.config.max_seq_len
        self.device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
        self.model = model.eval().to(self.device)

    def scores(self, continuations: Iterable[Continuation]) -> Iterator[Score]:
        for batch in _batches(continuations):
            yield from self._score(batch)

    @torch.no_grad()
    def _score(self, batch: list[Continuation]) -> list[Score]:
        # Padding comes last, so a causal model does not see it.
        tokens = pad_sequence([torch.tensor(each.fed) for each in batch], batch_first=True)  # [B, T]
        self.model.reach(tokens.shape[1])
        hidden = self.model.hidden(tokens.to(self.device))  # [B, T, dim]
        return [self._predict(row, each) for row, each in zip(hidden, batch, strict=True)]

    def _predict(self, hidden: Tensor, continuation: Continuation) -> Score:
        """Apply the head only to the rows of hidden [T, dim] that predict the tokens."""
        first, count = len(continuation.context) - 1, len(continuation.tokens)
        parts = []
        for rows, tokens in zip(
            hidden[first : first + count].split(HEAD_ROWS),
            torch.tensor(continuation.tokens, dtype=torch.int64, device=self.device).split(HEAD_ROWS),
            strict=True,
        ):
            parts.append(
                _judge(self.model.capped(self.model.lm_head(rows, self.model.embed_tokens)).float(), tokens)
            )
        return _joined(parts)


class ProgramModel(LanguageModel):
    """An exported program, run as on a device: the context in one prefill, then token by token.

    A prefix shared with the previous context stays in the KV cache and is not read again.
    """

    def __init__(self, program: Program) -> None:
        self.positions = program.max_seq_len
        self.program = program
        self._cached: list[int] = []

    def scores(self, continuations: Iterable[Continuation]) -> Iterator[Score]:
        for continuation in continuations:
            yield self._score(continuation)

    def _score(self, continuation: Continuation) -> Score:
        context, tokens = continuation
        # The last context token is always read: its logits predict the first of the tokens.
        start = shared_length(self._cached, context[:-1])
        self._cached = []  # unknown, should the program fail
        logits = self.program.forward(context[start:], start)  # [V]
        parts = []
        for position, token in enumerate(tokens, start=len(context)):
            parts.append(_judge(logits[None], torch.tensor([token])))
            if len(parts) < len(tokens):
                logits = self.program.forward([token], position)
        self._cached = continuation.fed
        return _joined(parts)


def continuation(tokenizer: Tokenizer, bos_id: int, context: str, text: str) -> Continuation:
    """Tokenise a context and a text together, and split the tokens between them as lm-eval does.

    White space at the end of the context belongs to the text, since tokens begin with it. A token that covers
    the seam belongs to the text.
    """
    before = context.rstrip()
    whole = tokenizer.encode(context + text)
    kept = shared_length(tokenizer.encode(before), whole)
    return Continuation([bos_id, *whole[:kept]], whole[kept:])


def fitted(long: Continuation, positions: int) -> Continuation:
    """Shorten the context to fit the model's positions: keep its first token, the begin token, and its end.

    Raises:
        ValueError: the tokens alone do not fit.
    """
    context, tokens = long
    room = positions - max(len(tokens) - 1, 0)  # the last token is predicted, not read
    if room < 1:
        raise ValueError(f"a text of {len(tokens)} tokens does not fit the model's {positions} positions")
    if len(context) <= room:
        return long
    return Continuation([*context[:1], *context[len(context) - room + 1 :]], tokens)


def shared_length(a: list[int], b: list[int]) -> int:
    """Count the tokens that two lists begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _batches(continuations: Iterable[Continuation]) -> Iterator[list[Continuation]]:
    """Group consecutive continuations of at most BATCH_TOKENS, padding included; at least one each."""
    batch: list[Continuation] = []
    longest = 0
    for each in continuations:
        longest = max(longest, len(each.fed))
        if batch and longest * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch, longest = [], len(each.fed)
        batch.append(each)
    if batch:
        yield batch


def _judge(logits: Tensor, tokens: Tensor) -> Score:
    """Score tokens int64 [n] by the logits float32 [n, V] that predict them."""
    chosen = logits.log_softmax(dim=-1).gather(1, tokens[:, None])[:, 0]  # [n]
    return Score(chosen.cpu().double(), bool((logits.argmax(dim=-1) == tokens).all()))


def _joined(parts: list[Score]) -> Score:
    if not parts:
        return Score(torch.zeros(0, dtype=torch.float64), True)
    return Score(torch.cat([p.log_probabilities for p in parts]), all(p.is_greedy for p in parts))
