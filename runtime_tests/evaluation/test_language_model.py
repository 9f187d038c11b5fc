"""Scores of continuations: the same whatever is batched, cached or split."""

from __future__ import annotations

import pytest
import torch

from edge.evaluation import language_model
from edge.evaluation.language_model import (
    Continuation,
    EagerModel,
    ProgramModel,
    continuation,
    fitted,
)
from edge.model.tokenizer import Tokenizer
from runtime_tests.evaluation.stand_in import CountingProgram
from runtime_tests.tiny import tiny_model, tiny_tokenizer

CONTINUATIONS = [
    Continuation([1], [40, 41, 42, 43, 44, 45, 46]),
    Continuation([1, 7, 9, 200, 30], [5]),
    Continuation([1, 7, 9, 200, 31], [5, 6]),
    Continuation([1, 7], [9]),
    Continuation([1, 7, 9], []),
    Continuation([1, *range(3, 40)], [300, 17]),
]


@pytest.mark.parametrize("batch_tokens", [1, 20, 4096])
@pytest.mark.parametrize("head_rows", [1, 3, 256])
def test_eager_scores_are_those_of_one_token_at_a_time(monkeypatch, batch_tokens, head_rows):
    monkeypatch.setattr(language_model, "BATCH_TOKENS", batch_tokens)
    monkeypatch.setattr(language_model, "HEAD_ROWS", head_rows)
    model = tiny_model()
    scores = list(EagerModel(model).scores(iter(CONTINUATIONS)))
    assert len(scores) == len(CONTINUATIONS)
    for (context, tokens), score in zip(CONTINUATIONS, scores, strict=True):
        expected, best = [], []
        for position, token in enumerate(tokens):
            logits = model(torch.tensor([context + tokens[:position]]))[0, -1].detach().double()
            expected.append(torch.log_softmax(logits, dim=0)[token].item())
            best.append(int(logits.argmax()) == token)
        assert score.log_probabilities.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert score.is_greedy == all(best)


def test_what_a_model_would_say_itself_is_greedy():
    model = EagerModel(tiny_model())
    context, tokens = [1, 40], []
    for _ in range(4):
        tokens.append(int(model.model(torch.tensor([context + tokens]))[0, -1].argmax()))
    other = [*tokens[:-1], (tokens[-1] + 1) % 304]
    first, second = model.scores([Continuation(context, tokens), Continuation(context, other)])
    assert (first.is_greedy, second.is_greedy) == (True, False)


def test_a_program_reads_a_shared_context_once():
    program = CountingProgram()
    model = ProgramModel(program)
    context = [1, 5, 6, 7, 8]
    continuations = [
        Continuation(context, [20, 21, 22]),  # reads 5 in one piece, then 20 and 21
        Continuation(context, [30]),  # reads 8 again, for its logits
        Continuation([1, 5, 9], [20, 21]),  # reads 9, then 20
        Continuation([1, 5, 9, 20, 21], [4]),  # 20 is still there; reads 21
        Continuation([2], [3, 4]),  # nothing is shared
    ]
    for scored, each in zip(model.scores(continuations), continuations, strict=True):
        expected = [
            torch.log_softmax(program.logits_after(each.context + each.tokens[:i]), 0)[token].item()
            for i, token in enumerate(each.tokens)
        ]
        assert scored.log_probabilities.tolist() == pytest.approx(expected, rel=1e-6)
    assert program.read == [5, 1, 1, 1, 1, 1, 1, 1, 1]


def test_a_program_that_failed_is_fed_anew():
    program = CountingProgram()
    model = ProgramModel(program)
    right = program.forward
    next(model.scores([Continuation([1, 2, 3], [4])]))

    def fails(tokens, position):
        program.cache[position:] = [0] * len(tokens)
        raise ValueError("it failed")

    program.forward = fails
    with pytest.raises(ValueError, match="it failed"):
        next(model.scores([Continuation([1, 9, 3], [4])]))
    program.forward = right
    score = next(model.scores([Continuation([1, 2, 3], [4])]))
    assert program.read[-1] == 3
    expected = torch.log_softmax(program.logits_after([1, 2, 3]), 0)[4].item()
    assert score.total == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("context", "text"), [("The cat sat", " on the cake"), ("The cat ", "sat"), ("", "ants"), ("a\n", " b")]
)
def test_a_continuation_is_the_end_of_the_whole_text(context, text):
    tokenizer = Tokenizer(tiny_tokenizer())
    found = continuation(tokenizer, 1, context, text)
    assert found.context[0] == 1
    assert found.context[1:] + found.tokens == tokenizer.encode(context + text)
    assert found.context[1:] == tokenizer.encode(context.rstrip())  # white space belongs to what follows it


def test_a_token_across_the_seam_is_the_texts():
    tokenizer = Tokenizer(tiny_tokenizer())
    whole = tokenizer.encode("mouse")
    assert len(whole) < len(tokenizer.encode("mou")) + len(tokenizer.encode("se"))  # or this tests nothing
    found = continuation(tokenizer, 1, "mou", "se")
    assert found.context[1:] + found.tokens == whole
    assert tokenizer.decode(found.context[1:]) in ("", "m", "mo", "mou")


def test_a_context_too_long_keeps_its_begin_token_and_its_end():
    long = Continuation([1, 10, 11, 12, 13], [20, 21, 22])
    assert fitted(long, 7) == long  # the last token is predicted, not read
    assert fitted(long, 6) == Continuation([1, 11, 12, 13], [20, 21, 22])
    assert fitted(long, 4) == Continuation([1, 13], [20, 21, 22])
    assert fitted(long, 3) == Continuation([1], [20, 21, 22])
    with pytest.raises(ValueError, match="3 tokens does not fit the model's 2 positions"):
        fitted(long, 2)
