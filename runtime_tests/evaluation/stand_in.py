"""Stand-ins for models, so that tests can say what a model answers or see what it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from edge.evaluation.candidate import Candidate, Facts
from edge.evaluation.language_model import Continuation, LanguageModel, Score
from edge.model.tokenizer import Tokenizer
from runtime_tests.tiny import tiny_config, tiny_tokenizer


class ScriptedModel(LanguageModel):
    """Gives every token of a continuation the log-probability that ``script`` has for its text."""

    def __init__(self, script: Callable[[str], float], positions: int = 64) -> None:
        self.positions = positions
        self.script = script
        self.asked: list[Continuation] = []
        self.tokenizer = Tokenizer(tiny_tokenizer())

    def scores(self, continuations: Iterable[Continuation]) -> Iterator[Score]:
        for each in continuations:
            assert len(each.fed) <= self.positions
            self.asked.append(each)
            count = len(each.tokens)
            total = self.script(self.tokenizer.decode(each.tokens))
            yield Score(torch.full((count,), total / count, dtype=torch.float64), False)


class CountingProgram:
    """Logits that depend on every token read so far, through a cache like a program's."""

    def __init__(self, vocab_size: int = 50, max_seq_len: int = 32) -> None:
        self.vocab_size, self.max_seq_len = vocab_size, max_seq_len
        self.cache: list[int] = []
        self.read: list[int] = []  # tokens of each call

    def forward(self, tokens: list[int], position: int) -> Tensor:
        assert tokens
        assert 0 <= position <= len(self.cache)
        self.cache[position:] = tokens
        self.read.append(len(tokens))
        return self.logits_after(self.cache)

    def logits_after(self, tokens: list[int]) -> Tensor:
        generator = torch.Generator().manual_seed(hash(tuple(tokens)) & 0xFFFFFFFF)
        return torch.randn(self.vocab_size, generator=generator)


def candidate_of(model: LanguageModel, **changes) -> Candidate:
    facts = Facts("stand-in", "checkpoint", 16.0, 0, model.positions)
    return Candidate(facts, tiny_config(**changes), Tokenizer(tiny_tokenizer()), model)
